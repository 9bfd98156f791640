"""Sums over samples, so that parts of a data set add up to the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustsnn.errors import UserError


@dataclass(frozen=True)
class Tally:
    """n values, one per sample, by their sum and the sum of their squares. Counts stay exact integers."""

    n: int
    total: float
    squares: float

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        return self.total / self.n

    def interval(self) -> tuple[float, float] | None:
        """95 % t-interval of the mean over samples; None for a single one."""
        if self.n < 2:
            return None
        from scipy.stats import t

        variance = max(0.0, self.squares - self.total * self.total / self.n) / (self.n - 1)
        half = float(t.ppf(0.975, self.n - 1)) * math.sqrt(variance / self.n)
        return self.mean - half, self.mean + half

    def to_dict(self, per: int = 1) -> dict[str, Any]:
        """Sums as they are; mean and interval divided by `per`."""
        ends = self.interval()
        shown = {"mean": self.mean / per, "interval": None if ends is None else [end / per for end in ends]}
        return {"n": self.n, "total": self.total, "squares": self.squares, **shown}

    @staticmethod
    def of(value: Any) -> Tally:
        """What `to_dict` wrote."""
        return Tally(value["n"], value["total"], value["squares"])


def finite(value: float | Tensor, what: str) -> None:
    """UserError if any of it is NaN or infinite."""
    if not torch.isfinite(torch.as_tensor(value)).all():
        raise UserError(
            f"{what} is not finite (NaN or infinity), so there is no trail; check the weights of the network, and the "
            f"loss and the attack if it is not the network"
        )


@dataclass(frozen=True)
class Side:
    """The gradient at one side of an operation: entries per sample, zeros among them, norms per sample."""

    entries: int
    zeros: Tally
    l1: Tally
    l2: Tally

    @property
    def sparsity(self) -> float:
        """Share of entries that are exactly zero."""
        return self.zeros.mean / self.entries

    def __add__(self, other: Side) -> Side:
        if self.entries != other.entries:
            raise UserError(f"gradients of {self.entries} and {other.entries} entries: these are different networks")
        return Side(self.entries, self.zeros + other.zeros, self.l1 + other.l1, self.l2 + other.l2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the mean of zeros is a share."""
        norms = {"l1": self.l1.to_dict(), "l2": self.l2.to_dict()}
        return {"entries": self.entries, "zeros": self.zeros.to_dict(self.entries), **norms}

    @staticmethod
    def of(value: Any) -> Side:
        """What `to_dict` wrote."""
        return Side(value["entries"], *(Tally.of(value[name]) for name in ("zeros", "l1", "l2")))
