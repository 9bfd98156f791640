"""Activity and energy as a study."""

from __future__ import annotations

from robustsnn.studies.energy.record import Energy, read
from robustsnn.studies.energy.show import blocks
from robustsnn.studies.study import Study, Task


def _measure(task: Task) -> Energy:
    from robustsnn.studies.energy.measure import energy

    return task.ask(energy, task.some(2.5, 8), mac=task.mac, ac=task.ac)


STUDY = Study("Activity and energy", _measure, blocks, read)
