"""Sums over samples, so that parts of a data set add up to the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustsnn.ground.errors import UserError
from robustsnn.records.typed import Positive, Size
from robustsnn.reporting.figures import ShownQuantity

if TYPE_CHECKING:  # it is read where there is no torch
    from torch import Tensor


@dataclass(frozen=True)
class Tally:
    """n values v, one per sample, by their sum and their scatter n sum (v - mean)^2.

    Of integers all three are exact integers, so that parts add up to the very tally of the whole. Of other numbers the
    scatter is a sum of terms >= 0, in parts as in the whole (Chan, Golub and LeVeque 1983): the difference of squares
    n sum v^2 - (sum v)^2, which it is equal to, would lose all digits where the values differ by little.
    """

    n: Positive
    total: float
    scatter: Size

    @staticmethod
    def over(values: Tensor | np.ndarray | Sequence[float]) -> Tally:
        """Of one value per sample."""
        whole = list(values) if isinstance(values, Sequence) else values.tolist()
        n = len(whole)
        if all(isinstance(value, int) for value in whole):
            return Tally(n, sum(whole), n * sum(v * v for v in whole) - sum(whole) ** 2)
        found: Any = (
            np.asarray(values, dtype=np.float64) if isinstance(values, Sequence | np.ndarray) else values.cpu().double()
        )
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


def _ratio(value: float, by: int) -> float:
    """An integer where both are; the division is then known to leave no rest."""
    return value // by if isinstance(value, int) else value / by


def found(tally: Tally, per: float = 1) -> ShownQuantity:
    """The mean of what was summed, in units of so many, as it is shown."""
    ends = tally.interval()
    return ShownQuantity(None if ends is None else (ends[0] / per, ends[1] / per), tally.n, tally.mean / per)


@dataclass(frozen=True)
class Side:
    """The gradient at one side of an operation: entries per sample, zeros among them, norms per sample."""

    entries: Positive
    zeros: Tally
    l1: Tally
    l2: Tally

    def __post_init__(self) -> None:
        if not 0 <= self.zeros.total <= self.zeros.n * self.entries or self.l2.total < 0:
            zeros, norms = self.zeros.total, self.l2.total
            raise ValueError(f"{zeros} zeros of {self.entries} entries, and l2 norms of {norms} in all")

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
        return {**vars(self), "zeros": self.zeros.to_dict(self.entries)}
