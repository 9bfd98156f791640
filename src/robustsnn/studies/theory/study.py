"""Theorems beside measurements, as a study."""

from __future__ import annotations

from typing import Any

from robustsnn.reporting.analysis_file import read_analysis
from robustsnn.studies.study import Study, Task
from robustsnn.studies.theory.show import blocks


def _measure(task: Task) -> dict[str, Any]:
    from robustsnn.studies.theory.measure import theory

    return theory(task)


STUDY = Study("Theorems beside measurements", _measure, blocks, read_analysis, weight=4)
