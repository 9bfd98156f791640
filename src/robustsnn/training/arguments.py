"""Checks of what `fit` is handed, and what it says of a training that did not learn."""

from __future__ import annotations

import math
from typing import Any

import torch

from robustsnn.ground.door import check_callable, check_kind, check_model
from robustsnn.objectives.schedule import Changing
from robustsnn.training.epoch import Updating
from robustsnn.training.step import TrainingStep

_ABSURD = 1e4
"""No loss of a training that goes well; a cross-entropy begins at the logarithm of the number of classes."""


def check_arguments(model: Any, optimiser: Any, objective: Any, schedule: Any, step: Any) -> None:
    """UserError where an argument of `fit` is of another kind than its annotation."""
    check_model(model)
    check_kind("optimiser", optimiser, torch.optim.Optimizer, "torch.optim.SGD(model.parameters(), lr=0.1)")
    if not isinstance(objective, Updating | Changing):
        check_callable("objective", objective, "robustsnn.objectives.Natural()")
    check_callable("schedule", schedule, "robustsnn.training.fit.cosine")
    check_kind("step", step, TrainingStep, "robustsnn.training.TrainingStep(augment=Augment(crop=1))")


def learned(history: list[dict[str, Any]], chance: float, images: int, updates: int) -> str:
    """What to say of a training that ended as if it had guessed: "" for others, and for very short ones.

    However short, a loss beyond `_ABSURD` is said. `chance` is the share of the commonest class.
    """
    found = history[-1]["train"].get("accuracy")
    noise = 3 * math.sqrt(chance * (1 - chance) / images)
    loss = history[-1]["train"].get("loss", 0.0)
    if found is None or (updates < 30 and loss < _ABSURD) or found > chance + noise:
        return ""
    return (
        f"training ended at {100 * found:.1f} % of the training images, as a guess does ({100 * chance:.1f} %), and a "
        f"loss of {loss:.3g}: "
        "nothing was learned; lower the learning rate (train.lr), or train for more epochs"
    )
