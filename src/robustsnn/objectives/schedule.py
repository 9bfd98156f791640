"""Schedules of a regulariser's weight lambda over the epochs.

A schedule gives the factor on lambda for an epoch, from the epochs before it and nothing else, so that
training resumes bit-identically without any state of its own. Published: lambda from small to its full
value along a cosine (TGO, arXiv:2602.20548).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Count, Share, Within
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.objectives.natural import Objective, Terms

Past = Sequence[Mapping[str, Any]]
"""The entries of `fit`'s history, of all epochs before."""


@runtime_checkable
class Changing(Protocol):
    """An objective that may differ from epoch to epoch; `fit` asks for each epoch's.

    With an attribute `needs_robust_validation` that is true, `fit` insists on a validation attack.
    """

    def at(self, epoch: int, epochs: int, history: Past) -> Objective:
        """The objective of `epoch`, counted from 0."""
        ...


class LamSchedule(Protocol):
    """The factor on lambda, >= 0."""

    needs_robust_validation: ClassVar[bool]
    """It reads `validation.robust` of the history."""

    def factor(self, epoch: int, epochs: int, history: Past) -> float: ...


@dataclass(frozen=True)
class Scheduled:
    """An objective whose `lam` is multiplied by a schedule. Called directly, it is the objective itself.

    Args:
        objective: a dataclass with a field `lam`, such as `SparsityRegularised`.
        schedule: see this module.
    """

    objective: Objective
    schedule: LamSchedule

    def __post_init__(self) -> None:
        check_fields(self)
        has = is_dataclass(self.objective) and any(f.name == "lam" for f in fields(self.objective))
        if not has:
            raise UserError(f"Scheduled({self.objective!r}): it has no weight `lam`; schedule a regularised objective")

    @property
    def needs_robust_validation(self) -> bool:
        """That of the schedule."""
        return self.schedule.needs_robust_validation

    def at(self, epoch: int, epochs: int, history: Past) -> Objective:
        """The objective with lam times the schedule's factor at `epoch`, counted from 0."""
        lam = self.objective.lam * self.schedule.factor(epoch, epochs, history)  # type: ignore[attr-defined]
        return replace(self.objective, lam=lam)  # type: ignore[type-var]

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        return self.objective(model, x, y, generator=generator)


@dataclass(frozen=True)
class Constant:
    """1."""

    needs_robust_validation: ClassVar[bool] = False

    def factor(self, epoch: int, epochs: int, history: Past) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class WarmUp:
    """min(1, epoch / n): from 0 in the first epoch along a line to 1 after n epochs.

    Args: one of the two.
        epochs: n >= 1.
        share: n = share times all epochs, in (0, 1].
    """

    epochs: Count | None = None
    share: Share | None = None

    needs_robust_validation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.epochs is None) == (self.share is None):
            raise UserError(f"{self!r}: give either epochs or share")

    def factor(self, epoch: int, epochs: int, history: Past) -> float:
        """min(1, epoch / n)."""
        length = self.epochs if self.share is None else self.share * epochs
        assert length is not None
        return min(1.0, epoch / length)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine wave over all epochs: "up" from 0 in the first to 1 in the last, "down" from 1 to 0.

        up: (1 - cos(pi epoch / (epochs - 1))) / 2,    down: 1 - up

    One epoch alone is the last.
    """

    direction: Literal["up", "down"] = "up"

    needs_robust_validation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)

    def factor(self, epoch: int, epochs: int, history: Past) -> float:
        """(1 -+ cos(pi epoch / (epochs - 1))) / 2."""
        passed = epoch / (epochs - 1) if epochs > 1 else 1.0
        sign = -1 if self.direction == "up" else 1
        return (1 + sign * math.cos(math.pi * passed)) / 2


@dataclass(frozen=True)
class ByValidation:
    """As much lambda as the clean accuracy bears, judged on validation images after each epoch.

    The factor begins at 1. After an epoch with clean accuracy a and robust accuracy r it is

        divided by `rate`     if a < (best a so far) - drop        (too much: clean accuracy suffers),
        multiplied by `rate`  else if r > (best r of the epochs before)   (it pays: robustness still rises),
        left as it is         else,

    and stays in [least, most]. The first epoch counts as a rise. Annealing lambda is an outlook of the paper on
    gradient sparsity regularisation (ICML 2024), which states no rule; this one is ours.

    Args:
        rate: > 1.
        drop: share of the images, in [0, 1).
        least, most: bounds of the factor, 0 < least <= 1 <= most.
    """

    rate: Annotated[float, Within(above=1)] = 1.25
    drop: Annotated[float, Within(least=0, below=1)] = 0.02
    least: Share = 1 / 16
    most: Annotated[float, Within(least=1)] = 16.0

    needs_robust_validation: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)

    def factor(self, epoch: int, epochs: int, history: Past) -> float:
        """The rule, applied to each entry in turn."""
        factor, clean, robust = 1.0, 0.0, -1.0
        for entry in history:
            now = entry.get("validation", {})
            if "robust" not in now:
                raise UserError(
                    "ByValidation needs the robust accuracy of each epoch; give fit a validation with an attack"
                )
            clean = max(clean, now["accuracy"])
            if now["accuracy"] < clean - self.drop:
                factor /= self.rate
            elif now["robust"] > robust:
                factor *= self.rate
            factor = min(max(factor, self.least), self.most)
            robust = max(robust, now["robust"])
        return factor
