"""Input gradients as a study."""

from __future__ import annotations

from robustsnn.studies.gradients.record import Gradients, read
from robustsnn.studies.gradients.show import blocks
from robustsnn.studies.study import Study, Task


def _measure(task: Task) -> Gradients:
    from robustsnn.attacks.published import PAPER_RULES
    from robustsnn.studies.gradients.measure import gradients

    asked = () if task.rule is None else (task.rule,)
    rules = {"own": None, **{rule.label: rule for rule in (*asked, *PAPER_RULES)}}
    return task.ask(gradients, task.some(4 * len(rules), 8), rules=rules)


STUDY = Study("Input gradients", _measure, blocks, read, arrays=Gradients.heatmaps, weight=3)
