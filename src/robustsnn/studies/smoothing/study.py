"""Randomised smoothing as a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustsnn.reporting.analysis_file import read_analysis
from robustsnn.studies.smoothing.show import blocks
from robustsnn.studies.study import Study, Task

if TYPE_CHECKING:
    from robustsnn.studies.smoothing.record import Smoothing


def _measure(task: Task) -> Smoothing:
    from robustsnn.studies.smoothing.measure import smoothing

    images = task.some(len(task.sigma) * (4.8 * task.draws + 375), 2)
    return smoothing(
        task.model,
        images,
        sigma=task.sigma,
        draws=task.draws,
        batch_size=task.batch_size,
        seed=task.seed,
        progress=task.progress,
    )


STUDY = Study(
    "Randomised smoothing",
    _measure,
    blocks,
    read_analysis,
    weight=5,
)
