"""Intervals of paired differences and of further hits, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import betabinom

from robustsnn.statistics.binomial import further_hits
from robustsnn.statistics.paired import paired_interval


def test_a_paired_interval_is_the_normal_one_of_the_mean():
    differences = np.array([1.0, 0, 0, -1, 1, 1, 0, 1])  # mean 3/8, variance (5 - 9/8) / 7
    half = 1.96 * math.sqrt((5 - 9 / 8) / 7 / 8)
    assert paired_interval(differences, step=1) == pytest.approx((3 / 8 - half, 3 / 8 + half))


@pytest.mark.parametrize("n", [2, 50])
@pytest.mark.parametrize("step", [1, 100])
def test_equal_differences_are_known_to_one_step_in_n(n, step):
    assert paired_interval(np.full(n, 3.0), step) == pytest.approx((3 - step / n, 3 + step / n))


@pytest.mark.parametrize(("hits", "n", "further"), [(0, 5, 9), (3, 5, 9), (5, 5, 1), (0, 0, 4), (40, 200, 160)])
def test_further_hits_leave_a_fortieth_at_each_side(hits, n, further):
    low, high = further_hits(hits, n, further)
    number = betabinom(further, hits + 0.5, n - hits + 0.5)
    assert 0 <= low <= high <= further
    assert number.cdf(low - 1) < 0.025 <= number.cdf(low)
    assert number.cdf(high - 1) < 0.975 <= number.cdf(high)


def test_no_further_trial_has_no_hit():
    assert further_hits(3, 5, 0) == (0, 0)
