"""Checks of what `fit` is handed, and what it says of a training that did not learn."""

from __future__ import annotations

import math
from typing import Any

import torch

from robustsnn.data.augment import Augment
from robustsnn.ground.door import check_among, check_callable, check_kind, check_list, check_model
from robustsnn.ground.errors import UserError
from robustsnn.objectives.schedule import Changing
from robustsnn.training.epoch import Updating

_ABSURD = 1e4
"""No loss of a training that goes well; a cross-entropy begins at the logarithm of the number of classes."""


def check_arguments(
    model: Any,
    optimiser: Any,
    objective: Any,
    schedule: Any,
    autocast: Any,
    augment: Any,
    constraints: Any,
    attack: Any,
) -> None:
    """UserError where an argument of `fit` is of another kind than its annotation."""
    check_model(model)
    check_kind("optimiser", optimiser, torch.optim.Optimizer, "torch.optim.SGD(model.parameters(), lr=0.1)")
    if not isinstance(objective, Updating | Changing):
        check_callable("objective", objective, "robustsnn.objectives.Natural()")
    check_callable("schedule", schedule, "robustsnn.training.fit.cosine")
    if augment is not None:
        check_kind("augment", augment, Augment, "robustsnn.data.augment.Augment(crop=1), or None")
    check_list("constraints", constraints, "constraints, see robustsnn.objectives.constraints,")
    for constraint in constraints:
        check_callable("constraints", constraint, "robustsnn.objectives.constraints.ConvexShortcuts()")
    if attack is not None and not callable(getattr(attack, "run", None)):
        raise UserError(
            f"validation_attack={attack!r:.60}: an attack is needed, such as robustsnn.attacks.pgd(0.03, 7)"
        )
    check_among("autocast", autocast, ("float32", "bfloat16"))


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
