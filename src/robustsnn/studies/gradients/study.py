"""Input gradients as a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustsnn.reporting.analysis_file import read_analysis
from robustsnn.studies.gradients.show import blocks
from robustsnn.studies.study import Study, Task

if TYPE_CHECKING:
    from robustsnn.studies.gradients.measure import Gradients


def _measure(task: Task) -> Gradients:
    from robustsnn.attacks.published import PAPER_RULES
    from robustsnn.studies.gradients.measure import gradients

    asked = () if task.rule is None else (task.rule,)
    rules = {"own": None, **{rule.label: rule for rule in (*asked, *PAPER_RULES)}}
    return task.ask(gradients, task.some(4 * len(rules), 8), rules=rules)


STUDY = Study("Input gradients", _measure, blocks, read_analysis, arrays=lambda found: found.heatmaps(), weight=3)
