"""Sums over samples, so that parts of a data set add up to the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustsnn.ground.errors import UserError


@dataclass(frozen=True)
class Tally:
    """n values v, one per sample, by their sum and their scatter n sum (v - mean)^2.

    Of integers all three are exact integers, so that parts add up to the very tally of the whole. Of other numbers the
    scatter is a sum of terms >= 0, in parts as in the whole (Chan, Golub and LeVeque 1983): the difference of squares
    n sum v^2 - (sum v)^2, which it is equal to, would lose all digits where the values differ by little.
    """

    n: int
    total: float
    scatter: float

    @staticmethod
    def over(values: Tensor | np.ndarray | Sequence[float]) -> Tally:
        """Of one value per sample."""
        whole = list(values) if isinstance(values, Sequence) else values.tolist()
        n = len(whole)
        if all(isinstance(value, int) for value in whole):
            return Tally(n, sum(whole), n * sum(v * v for v in whole) - sum(whole) ** 2)
        found = values.double() if isinstance(values, Tensor) else np.asarray(values, dtype=np.float64)
        total = float(found.sum())
        return Tally(n, total, n * float(((found - total / n) ** 2).sum()))

    def __add__(self, other: Tally) -> Tally:
        if not (self.n and other.n):
            return self if self.n else other
        n, m = self.n, other.n
        apart = n * other.total - m * self.total
        scatter = (n + m) * (m * self.scatter + n * other.scatter) + apart * apart
        return Tally(n + m, self.total + other.total, _ratio(scatter, n * m))

    @property
    def mean(self) -> float:
        return self.total / self.n

    def interval(self) -> tuple[float, float] | None:
        """95 % t-interval of the mean over samples; None for a single one."""
        if self.n < 2:
            return None
        from scipy.stats import t

        variance = self.scatter / (self.n * (self.n - 1))
        half = float(t.ppf(0.975, self.n - 1)) * math.sqrt(variance / self.n)
        return self.mean - half, self.mean + half

    def to_dict(self, per: int = 1) -> dict[str, Any]:
        """Sums as they are; mean and interval divided by `per`."""
        ends = self.interval()
        shown = {"mean": self.mean / per, "interval": None if ends is None else [end / per for end in ends]}
        return {"n": self.n, "total": self.total, "scatter": self.scatter, **shown}

    @staticmethod
    def of(value: Any) -> Tally:
        """What `to_dict` wrote; older files have the sum of squares."""
        n, total = value["n"], value["total"]
        return Tally(n, total, value["scatter"] if "scatter" in value else max(0, n * value["squares"] - total * total))


def _ratio(value: float, by: int) -> float:
    """An integer where both are; the division is then known to leave no rest."""
    return value // by if isinstance(value, int) else value / by


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
