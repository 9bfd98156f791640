"""Accuracy on validation images, clean and under attack, and the choice of an epoch by it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from robustsnn.attacks import Attacker
from robustsnn.attacks.streams import Streams
from robustsnn.data.batches import ImageSet, batches
from robustsnn.data.given import Data, image_set
from robustsnn.ground.distributed import ALONE, Processes
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import evaluating
from robustsnn.ground.ranges import Count
from robustsnn.ground.seeds import generator, seeded
from robustsnn.losses import correct
from robustsnn.training.log import History

Select: TypeAlias = Literal["last", "validation", "validation-robust"]
"""Which epoch's weights training ends with."""
_NO_ATTACK = "needs the robust accuracy on validation images; give validation_attack, in Python Validation(attack=...)"


@dataclass(frozen=True)
class Validation:
    """What a network is judged by after each epoch. Test data has no place here.

    Args:
        data: images in memory, as `fit` takes them for training. The clean accuracy is logged.
        attack: the robust accuracy against it is logged too.
        attacked: how many of the images it gets, the first ones; None is all.
        select: end with the weights of the last epoch, or of the epoch with the best accuracy on these images, clean
            or robust (the first of equals).
    """

    data: Data
    attack: Attacker | None = None
    attacked: Count | None = None
    select: Select = "last"

    def __post_init__(self) -> None:
        most = len(self.images)
        check_fields(self)
        if self.attacked is not None and (self.attack is None or self.attacked > most):
            raise UserError(f"attacked={self.attacked}: with a validation attack, 1 to {most} validation images")
        if self.attack is None and self.select == "validation-robust":
            raise UserError(f"select={self.select!r} {_NO_ATTACK}")

    @cached_property
    def images(self) -> ImageSet:
        """The data as a set, read once."""
        return image_set(self.data, "validation")


def check_watched(objective: Any, validation: Validation | None) -> None:
    """UserError for an objective that goes by the robust accuracy of each epoch, where there is none."""
    if getattr(objective, "needs_robust_validation", False) and (validation is None or validation.attack is None):
        raise UserError(f"{objective!r} {_NO_ATTACK}")


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageSet, batch_size: int = 256, processes: Processes = ALONE) -> float:
    """Share of `data` that the model classifies correctly, in eval mode; each process looks at its part of the batches.

    For a model that draws no random numbers it does not depend on the processes.
    """
    device = next(model.parameters()).device
    hits = torch.zeros(1, dtype=torch.int64, device=device)
    with evaluating(model):
        for number, (x, y) in enumerate(batches(data, batch_size, device=device)):
            if number % processes.count == processes.rank:
                hits += correct(model(x), y).sum()
    return int(processes.sum(hits)) / len(data)


def robust_accuracy(
    model: nn.Module,
    data: ImageSet,
    attack: Attacker,
    generator: torch.Generator,
    batch_size: int = 256,
    processes: Processes = ALONE,
) -> float:
    """Share of `data` classified correctly both as it is and attacked, in eval mode; processes as in `accuracy`."""
    device = next(model.parameters()).device
    hits = torch.zeros(1, dtype=torch.int64, device=device)
    with evaluating(model):
        for number, (x, y) in enumerate(batches(data, batch_size, device=device)):
            streams = Streams.of(generator, x)  # for batches of others too, so that each batch gets its own
            if number % processes.count != processes.rank:
                continue
            attacked = attack.run(model, x, y, generator=streams).images
            with torch.no_grad():
                hits += (correct(model(x), y) & correct(model(attacked), y)).sum()
    return int(processes.sum(hits)) / len(data)


def validate(
    model: nn.Module, by: Validation, batch_size: int, seed: int, epoch: int, processes: Processes = ALONE
) -> dict[str, dict[str, Any]]:
    """What an epoch's entry says of validation.

    All random numbers, those of a stochastic model too, derive from (seed, epoch).
    """
    data, attack = by.images, by.attack
    with seeded(seed, "validation", epoch):
        found: dict[str, Any] = {"accuracy": accuracy(model, data, batch_size, processes), "n": len(data)}
        if attack is None:
            return {"validation": found}
        given = data.take(len(data) if by.attacked is None else by.attacked)
        draws = generator(seed, "validation-attack", epoch)
        found["robust"] = robust_accuracy(model, given, attack, draws, batch_size, processes)
    made_by = {"attack": attack.label, "threat": repr(attack.threat), "n": len(given)}
    return {"validation": found, "validation_attack": made_by}


def best_epoch(history: History, select: Select) -> int:
    """The number, from 1, of the epoch to end with: the last, or the best (the first of equals).

    Best is the clean validation accuracy, or the robust one and, among equals, the clean one.
    """
    if select == "last":
        return len(history)
    names = ("accuracy",) if select == "validation" else ("robust", "accuracy")
    return max(history, key=lambda e: (*(e["validation"][name] for name in names), -e["epoch"]))["epoch"]
