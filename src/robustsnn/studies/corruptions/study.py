"""Corruptions as a study."""

from __future__ import annotations

from robustsnn.studies.corruptions.record import Corruptions, read
from robustsnn.studies.corruptions.show import blocks
from robustsnn.studies.study import Study, Task


def _measure(task: Task) -> Corruptions:
    from robustsnn.studies.corruptions.measure import corruptions

    return task.ask(corruptions, task.some(80, 8)).record()


STUDY = Study("Common corruptions", _measure, blocks, read, arrays=lambda found: {"pictures": found.pictures}, weight=2)
