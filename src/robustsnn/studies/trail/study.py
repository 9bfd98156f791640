"""The gradient trail as a study."""

from __future__ import annotations

from pathlib import Path

from robustsnn.records.typed import read_record
from robustsnn.studies.study import Study, Task
from robustsnn.studies.trail.record import SCHEMA, Trail
from robustsnn.studies.trail.show import blocks, card


def _measure(task: Task) -> Trail:
    from robustsnn.studies.trail.measure import trail

    how = {"loss": task.loss, "attack": task.attack, "rule": task.rule, "statistics": task.statistics}
    return task.ask(trail, task.some(25, 8), **how)


def _read(path: Path) -> Trail:
    return read_record(Trail, path, SCHEMA)


STUDY = Study(
    "Where the gradient becomes sparse",
    _measure,
    blocks,
    _read,
    card,
    brief="Sparse gradients",
    weight=4,
)
