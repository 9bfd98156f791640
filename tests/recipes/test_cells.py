"""Figures with intervals, and verdicts, from outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from robustsnn.recipes.cells import accuracy, difference, mean_interval, more, together
from robustsnn.recipes.recipe import Found, Look
from robustsnn.statistics.binomial import clopper_pearson
from robustsnn_papers.networks import Network

A, B = Network("CIFAR-10", "VGG-11", "SR*"), Network("CIFAR-10", "VGG-11", "AT")
LOOK = Look("quick", 8)


def found(*seeds: list[bool]) -> list[Found]:
    return [Found(clean, {LOOK.label: {"FGSM": clean}}, {}) for clean in seeds]


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_one_seed_has_the_exact_interval_over_images(hits):
    cell = accuracy(found(hits), "FGSM", LOOK, 12.5)
    low, high = clopper_pearson(sum(hits), len(hits))
    assert cell.ours == pytest.approx(100 * np.mean(hits))
    assert cell.interval == pytest.approx((100 * low, 100 * high))
    assert (cell.n, cell.published) == (len(hits), 12.5)


def test_several_seeds_have_the_t_interval_over_seeds():
    values = [0.2, 0.5, 0.8]
    mean, interval = mean_interval(values)
    half = t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert mean == pytest.approx(0.5)
    assert interval == pytest.approx((0.5 - half, 0.5 + half))
    cell = accuracy(found([True] * 4, [True, True, False, False], [False] * 4), "clean")
    assert cell.interval == (0.0, 100.0)  # cut to what an accuracy can be
    assert mean_interval([0.3]) == (0.3, None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=50))
def test_differences_are_paired_and_antisymmetric(pairs):
    first, second = ([pair[i] for pair in pairs] for i in (0, 1))
    results = {A: found(first), B: found(second)}
    mean, (low, high) = difference(results, A, B, "FGSM", LOOK)
    back, (low_back, high_back) = difference(results, B, A, "FGSM", LOOK)
    assert mean == pytest.approx(100 * (np.mean(first) - np.mean(second)))
    assert (back, low_back, high_back) == pytest.approx((-mean, -high, -low))
    assert low <= mean <= high
    # Images on which both agree narrow the interval; unpaired, they would not.
    both = {A: found(first + [True] * 200), B: found(second + [True] * 200)}
    wide = high - low
    narrow = np.diff(difference(both, A, B, "FGSM", LOOK)[1])[0]
    assert narrow < wide


def test_a_clear_gap_decides_and_a_small_one_does_not():
    n = 100
    better, worse = [True] * 80 + [False] * 20, [True] * 40 + [False] * 60
    even = [True] * 41 + [False] * 59
    results = {A: found(better), B: found(worse)}
    assert more(results, "", [(A, B)], ["FGSM"], LOOK).verdict == "holds"
    assert more(results, "", [(B, A)], ["FGSM"], LOOK).verdict == "does not hold"
    close = more({A: found(even), B: found(worse)}, "text", [(A, B)], ["FGSM"], LOOK)
    assert close.verdict == "undecided"
    assert "SR* VGG-11 against AT VGG-11, FGSM: +1.0 [" in close.because
    assert close.because.endswith("points.")
    assert len(better) == len(worse) == n
    # All alike: nothing is decided, though the differences have no variance.
    assert more({A: found(better), B: found(better)}, "", [(A, B)], ["clean"]).verdict == "undecided"


def test_a_claim_about_several_networks_needs_all_of_them():
    assert together(["holds", "holds"]) == "holds"
    assert together(["holds", "undecided"]) == "undecided"
    assert together(["holds", "does not hold", "undecided"]) == "does not hold"
    assert together([]) == "undecided"
