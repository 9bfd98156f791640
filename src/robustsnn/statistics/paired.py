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
