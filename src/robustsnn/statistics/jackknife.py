"""Intervals for what is no mean: the jackknife, which leaves out one sample after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A statistic of n samples.

    Args:
        value: the statistic itself; None where it is not defined (0/0).
        corrected: without its bias of order 1/n, n value - (n - 1) mean_i value_i with value_i that of all samples
            but i. May lie outside of what the statistic can be: an estimate of something small may be negative.
        interval: 95 %, corrected -+ t(n - 1) se,  se^2 = (n - 1)/n sum_i (value_i - mean)^2.

    The last two are None below 3 samples, and where the statistic is undefined without one of them.
    """

    n: int
    value: float | None
    corrected: float | None
    interval: tuple[float, float] | None


def jackknife(value: float | None, without: Sequence[float | None]) -> Estimate:
    """An `Estimate` from the statistic of all samples and those without sample 1 .. n."""
    from scipy.stats import t

    n = len(without)
    known = [v for v in without if v is not None]
    if value is None or n < 3 or len(known) < n:
        return Estimate(n, value, None, None)
    mean = sum(known) / n
    corrected = n * value - (n - 1) * mean
    half = float(t.ppf(0.975, n - 1)) * math.sqrt((n - 1) / n * sum((v - mean) ** 2 for v in known))
    return Estimate(n, value, corrected, (corrected - half, corrected + half))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """mean(above) / mean(below) of paired samples; None where the second mean is 0."""
    a, b = sum(above), sum(below)

    def divided(x: float, y: float) -> float | None:
        return x / y if y else None

    # From integers or shares: what is left of a sum without its only non-zero part is exactly that.
    rest = [(math.fsum(above[:i]) + math.fsum(above[i + 1 :]), math.fsum(below[:i]) + math.fsum(below[i + 1 :]))
            for i in range(len(above))]  # fmt: skip
    return jackknife(divided(a, b), [divided(x, y) for x, y in rest])
