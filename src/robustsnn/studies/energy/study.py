"""Activity and energy as a study."""

from __future__ import annotations

from robustsnn.studies.energy.record import Energy, read
from robustsnn.studies.energy.show import blocks
from robustsnn.studies.study import Study, Task


def _measure(task: Task) -> Energy:
    from robustsnn.studies.energy.measure import energy

    return energy(
        task.model,
        task.some(2.5, 8),
        mac=task.mac,
        ac=task.ac,
        batch_size=task.batch_size,
        seed=task.seed,
        progress=task.progress,
    )


STUDY = Study(
    "Activity and energy",
    _measure,
    blocks,
    read,
)
