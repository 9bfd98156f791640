"""Corruptions as a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustsnn.reporting.analysis_file import read_analysis
from robustsnn.studies.corruptions.show import blocks
from robustsnn.studies.study import Study, Task

if TYPE_CHECKING:
    from robustsnn.studies.corruptions.measure import Corrupted


def _measure(task: Task) -> Corrupted:
    from robustsnn.studies.corruptions.measure import corruptions

    images = task.some(80, 8)
    return corruptions(task.model, images, batch_size=task.batch_size, seed=task.seed, progress=task.progress)


STUDY = Study(
    "Common corruptions",
    _measure,
    blocks,
    read_analysis,
    arrays=lambda found: {"pictures": found.pictures},
    weight=2,
)
