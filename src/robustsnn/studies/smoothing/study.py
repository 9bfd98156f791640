"""Randomised smoothing as a study."""

from __future__ import annotations

from functools import partial

from robustsnn.records.typed import read_record
from robustsnn.studies.smoothing.record import Smoothing
from robustsnn.studies.smoothing.show import blocks
from robustsnn.studies.study import Study, Task


def _measure(task: Task) -> Smoothing:
    from robustsnn.studies.smoothing.measure import smoothing

    images = task.some(len(task.sigma) * (4.8 * task.draws + 375), 2)
    return task.ask(smoothing, images, sigma=task.sigma, draws=task.draws).record()


STUDY = Study("Randomised smoothing", _measure, blocks, partial(read_record, Smoothing), weight=5)
