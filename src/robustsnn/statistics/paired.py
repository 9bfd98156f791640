"""Differences of two measurements of the same samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def paired_interval(differences: NDArray[np.float64], step: float) -> tuple[float, float]:
    """95 % normal interval of the mean of n differences, one per sample: mean -+ max(1.96 s, step / sqrt n) / sqrt n.

    Args:
        step: between the values that a difference may have, 1 for hits. One sample that differs by it is the least
            that could be seen, also where all differences are equal and their deviation s is zero.
    """
    n, mean = len(differences), float(differences.mean())
    half = max(1.96 * float(differences.std(ddof=1)), step / math.sqrt(n)) / math.sqrt(n)
    return mean - half, mean + half


def mcnemar(a_alone: int, b_alone: int) -> float:
    """Two-sided exact p-value that two tests of the same samples have equal chances (McNemar 1947, binomial form).

        p = min(1, 2 P[X <= min(a, b)]),   X ~ Binomial(a + b, 1/2)

    Args:
        a_alone, b_alone: how many samples only one of them got right; those that both or neither did say nothing.
    """
    from scipy.stats import binom  # here: it takes a while to load

    return min(1.0, 2 * float(binom.cdf(min(a_alone, b_alone), a_alone + b_alone, 0.5)))
