"""Theorems beside measurements, as a study."""

from __future__ import annotations

from functools import partial

from robustsnn.records.typed import read_record
from robustsnn.studies.study import Study, Task
from robustsnn.studies.theory.record import Theory
from robustsnn.studies.theory.show import blocks


def _measure(task: Task) -> Theory:
    from robustsnn.studies.theory.measure import theory

    return theory(task)


STUDY = Study("Theorems beside measurements", _measure, blocks, partial(read_record, Theory), weight=4)
