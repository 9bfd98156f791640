"""Correlations with an interval, and None where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Correlation:
    """A correlation of n pairs and its 95 % interval by Fisher's z, tanh(atanh r -+ 1.96 se).

    se^2 = 1/(n - 3) for Pearson's, (1 + r^2/2)/(n - 3) for Spearman's (Bonett and Wright 2000). The interval is
    None below 4 pairs and where |r| = 1.
    """

    n: int
    value: float
    interval: tuple[float, float] | None


def pearson(a: Sequence[float], b: Sequence[float]) -> Correlation | None:
    """Of values; None where one of the two never varies, or there are fewer than 2 pairs."""
    value = _correlation(a, b)
    return None if value is None else _with_interval(value, len(a), 1.0)


def spearman(a: Sequence[float], b: Sequence[float]) -> Correlation | None:
    """Of ranks, equal values sharing their mean rank; None where one of the two never varies."""
    from scipy.stats import rankdata

    value = _correlation(rankdata(a).tolist(), rankdata(b).tolist())
    return None if value is None else _with_interval(value, len(a), 1 + value * value / 2)


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    if len(a) < 2 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    da, db = [v - mean_a for v in a], [v - mean_b for v in b]
    spread = math.sqrt(math.fsum(v * v for v in da) * math.fsum(v * v for v in db))
    if not spread:
        return None  # the variance underflows
    return max(-1.0, min(1.0, math.fsum(x * y for x, y in zip(da, db, strict=True)) / spread))


def _with_interval(value: float, n: int, scale: float) -> Correlation:
    if n < 4 or abs(value) > 1 - 1e-12:
        return Correlation(n, value, None)
    half = 1.959963984540054 * math.sqrt(scale / (n - 3))
    return Correlation(n, value, (math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)))
