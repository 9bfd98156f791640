"""How a training step is made, beside loss and optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from robustsnn.data.augment import Augment
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Within
from robustsnn.objectives.constraints import Constraint


@dataclass(frozen=True)
class TrainingStep:
    """What `fit` does with each batch, beside loss and optimiser.

    Args:
        augment: drawn anew for each batch.
        precision: of convolutions and matrix products; bfloat16 is autocast.
        constraints: applied to the weights after each optimiser step, in this order.
        graphs: record steps as CUDA graphs, see `training.graphs`: the same weights, in half of the time where a GPU
            waits for its CPU. On a CPU nothing is recorded.
        average: decay per step of a moving average of the weights, see `training.average`: validation and the end of
            training take the averaged network, with batch statistics of its own; None is none.
    """

    augment: Augment | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    constraints: Sequence[Constraint] = ()
    graphs: bool = False
    average: Annotated[float, Within(least=0, below=1)] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


PLAIN = TrainingStep()
"""The images as they are, in float32; loss and optimiser do the rest."""
