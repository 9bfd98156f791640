"""The gradient trail as a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustsnn.reporting.wording import function_text, percent
from robustsnn.studies.study import Named, Study, Task
from robustsnn.studies.trail.record import TrailFile, read_trail
from robustsnn.studies.trail.said import lines
from robustsnn.studies.trail.show import trails

if TYPE_CHECKING:
    from robustsnn.studies.trail.values import Trail


def _measure(task: Task) -> Trail:
    from robustsnn.studies.trail.measure import trail

    return trail(
        task.model,
        task.some(25, 8),
        loss=task.loss,
        attack=task.attack,
        rule=task.rule,
        batch_size=task.batch_size,
        seed=task.seed,
        progress=task.progress,
    )


def _card(network: Named, found: TrailFile) -> tuple[str, list[str]]:
    """What was differentiated where, and how much of it is zero at the pixels."""
    where = f"attacked by {found.attack}" if found.attack else "clean"
    how = f"gradient rule {found.rule}" if found.rule else "each layer's own gradient rule"
    said = (
        f"Of the gradient of {function_text(found.loss)} at the pixels, {percent(found.pixels.zeros.mean)} is "
        f"exactly zero, mean over {found.n} test images ({where}; {how})."
    )
    return "Where the gradient is zero", [said]


STUDY = Study(
    "Where the gradient becomes sparse",
    _measure,
    read=read_trail,
    lines=lines,
    card=_card,
    view=trails,
    template="studies/trail/page.html.j2",
    brief="Sparse gradients",
    weight=4,
)
