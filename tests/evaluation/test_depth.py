"""How deep an evaluation went: the curve and the next doubling in closed form, by simulation and on real outcomes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from robustsnn.evaluation.depth import TOLERATED, BreakTimes, depth, survivors
from robustsnn.records.outcome import Outcomes
from robustsnn.statistics.binomial import clopper_pearson


def effort(passes, standing, budget):
    """Images that fell after so many passes, and so many that stand at the budget."""
    fell = np.array([True] * len(passes) + [False] * standing, dtype=bool)
    return BreakTimes(np.array([*passes, *[budget] * standing], dtype=np.int64), fell, np.array([budget]))


def outcomes(broken_at, costs, correct=None, survivors_only=True):
    """Images that fall to the attack of that number (-1: to none), where each attack costs so many passes."""
    n = len(broken_at)
    found = Outcomes.empty(len(costs), n)
    found.clean_margin[:] = np.where(np.ones(n, bool) if correct is None else correct, -2.0, 1.0)
    for row, (forwards, backwards) in enumerate(costs):
        met = found.standing(list(range(row)) if survivors_only else []) if row else found.correct
        found.attacked[row] = met
        found.forwards[row, met], found.backwards[row, met] = forwards, backwards
        found.broken[row] = met & (np.array(broken_at) == row)
        found.margin[row, met] = -1.0
    return found


def test_a_break_time_is_the_sum_of_all_passes_up_to_the_attack_that_broke_the_image():
    found = outcomes([0, 1, -1, 2], [(2, 1), (11, 10), (100, 0)], correct=[True, True, True, False])
    made = BreakTimes.of(found, found.correct)
    assert made.passes.tolist() == [1 + 3, 1 + 3 + 21, 1 + 3 + 21 + 100]
    assert made.fell.tolist() == [True, True, False]
    assert made.ends.tolist() == [4, 25, 125]
    assert made.budget == 125


def test_columns_that_start_anew_count_what_they_spent_and_break_an_image_once():
    found = outcomes([0, 2, -1], [(2, 1), (5, 5), (5, 5)], survivors_only=False)
    found.broken[2, 0] = True  # again, by another column
    made = BreakTimes.of(found, found.correct)
    assert made.passes.tolist() == [4, 24, 24]
    assert made.ends.tolist() == [4, 14, 24]


def test_the_curve_falls_from_the_clean_accuracy_to_the_worst_case_and_has_every_attack():
    found = outcomes([0, 0, 1, 3, -1, -1, 0], [(1, 1), (10, 9), (30, 30), (200, 0)], correct=[True] * 6 + [False])
    entry = depth(found, found.standing(), [])
    points = {point["passes"]: point for point in entry["points"]}
    assert list(points) == sorted(points)
    assert {passes: round(7 * points[passes]["accuracy"]) for passes in (1, 3, 22, 82, 282)} == {
        1: 6, 3: 4, 22: 3, 82: 3, 282: 2,
    }  # fmt: skip
    for point in entry["points"]:
        assert point["interval"] == list(clopper_pearson(round(7 * point["accuracy"]), 7))
        assert point["n"] == 7
    assert {282 // 2, 282 // 4, 282 // 8} < set(points)
    assert entry["points"][-1]["accuracy"] == found.standing().mean()


def test_an_image_that_fell_at_a_smaller_radius_alone_is_left_out_of_the_curve():
    found = outcomes([0, -1, -1], [(1, 1)])
    standing = np.array([False, False, True])
    entry = depth(found, standing, [])
    assert [round(3 * point["accuracy"]) for point in entry["points"]] == [2, 1]
    assert entry["survivors"]["n"] == entry["next_doubling"]["standing"] == 1


def test_the_next_doubling_in_closed_form():
    """3 of 10 images fall in (50, 100], and none of the 10 before: 7 stand, and 7 x 3 / 10 are expected to fall."""
    found = effort([51, 80, 100], 7, 100).next_doubling()
    assert (found["doublings"], found["fell"], found["of"], found["standing"]) == (1, 3, 10, 7)
    assert found["broken"] == pytest.approx(2.1)
    assert found["passes"] == [100, 200]
    low, high = found["interval"]
    law = betabinom(7, 3.5, 7.5)
    assert law.cdf(high) >= 0.975 > law.cdf(high - 1)
    assert law.cdf(low) >= 0.025
    assert low == 0 or law.cdf(low - 1) < 0.025


def test_two_doublings_count_where_they_lost_a_larger_share():
    """1 of 9 in the last, 4 of 13 in the one before: 5 of 22 together."""
    found = effort([26, 30, 40, 50, 90], 8, 100).next_doubling()
    assert (found["doublings"], found["fell"], found["of"]) == (2, 5, 22)
    assert found["broken"] == pytest.approx(8 * 5 / 22)


@pytest.mark.parametrize(("fallen", "standing"), [([], 0), ([3, 9], 0), ([], 5)])
def test_nothing_more_is_expected_where_nothing_stands_or_nothing_fell(fallen, standing):
    found = effort(fallen, standing, 16).next_doubling()
    assert found["broken"] == 0
    assert found["interval"][0] == 0
    assert found["interval"][1] <= standing
    if not standing:
        assert found["interval"] == [0, 0]


@given(st.lists(st.integers(2, 400), max_size=30), st.integers(0, 20), st.integers(1, 500))
def test_the_estimate_lies_within_its_interval_and_within_what_stands(fallen, standing, budget):
    made = effort(fallen, standing, 400).until(budget)
    found = made.next_doubling()
    low, high = found["interval"]
    assert 0 <= low <= high <= found["standing"] == made.standing(budget)
    assert low - 1 < found["broken"] < high + 1


def test_until_is_the_same_evaluation_stopped_earlier():
    whole = effort([2, 10, 40, 99], 3, 100)
    half = whole.until(50)
    assert half.fell.tolist() == [True, True, True, False, False, False, False]
    assert half.budget == 50
    assert [half.standing(p) for p in (1, 2, 30, 50)] == [whole.standing(p) for p in (1, 2, 30, 50)]


def drawn(hazards, n, draws):
    """Break times of n images, of which each doubling breaks a share given by `hazards`, and their fate."""
    passes, fell = np.full(n, 2 ** len(hazards)), np.zeros(n, bool)
    for k, hazard in enumerate(hazards):
        hit = ~fell & (draws.random(n) < hazard)
        passes[hit] = draws.integers(2**k + 1, 2 ** (k + 1), size=int(hit.sum()), endpoint=True)
        fell |= hit
    return BreakTimes(passes, fell, np.array([2 ** len(hazards)]))


def coverage(hazards, n, trials=250):
    """How often the last doubling breaks as many as was predicted before it; at most as many; and the mean excess."""
    draws, inside, below, excess = np.random.default_rng(0), 0, 0, 0.0
    for _ in range(trials):
        whole = drawn(hazards, n, draws)
        before = whole.until(2 ** (len(hazards) - 1))
        found = before.next_doubling()
        broken = int(whole.fell.sum() - before.fell.sum())
        inside += found["interval"][0] <= broken <= found["interval"][1]
        below += broken <= found["interval"][1]
        excess += found["broken"] - broken
    return inside / trials, below / trials, excess / trials


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("hazard", [0.02, 0.1, 0.3])
def test_the_interval_holds_the_next_doubling_where_the_share_is_constant(n, hazard):
    inside, below, excess = coverage([hazard] * 6, n)
    assert inside >= 0.93
    assert below >= 0.96
    assert excess > -0.02 * n * hazard  # not too few


@pytest.mark.parametrize("hazards", [(0.3, 0.25, 0.2, 0.15, 0.1, 0.05), (0.5, 0.3, 0.1, 0.05, 0.02, 0.01)])
def test_a_share_that_falls_is_overestimated(hazards):
    _, below, excess = coverage(hazards, 100)
    assert below >= 0.97
    assert excess > 0


def test_a_share_that_rises_is_what_the_assumption_excludes():
    inside, _, excess = coverage((0.02, 0.03, 0.04, 0.06, 0.1, 0.2), 300)
    assert inside < 0.8
    assert excess < 0


def test_margins_of_the_images_that_stand():
    found = outcomes([-1] * 5 + [0], [(1, 1), (1, 1)])
    found.clean_margin[:5] = [-1, -2, -4, -8, -8]
    found.margin[0, :5] = [-0.5, -2, -1, -6, -9]
    found.margin[1, :5] = [-0.9, -1, -2, -7, -9]
    entry = survivors(found, found.standing())
    assert entry["n"] == 5
    assert entry["margins"] == [-8, -6, -1, -1, -0.5]
    assert entry["left"] == [0, 0, 1, 0, 0, 2, 0, 1, 0, 1]  # 0.5, 0.5, 0.25, 0.75 and 1 of the clean margins


def test_margins_that_are_infinite_are_left_out_of_the_quantiles():
    found = outcomes([-1, -1], [(1, 1)])
    found.clean_margin[0] = -np.inf
    assert survivors(found, found.standing())["margins"] == [-1] * 5
    assert survivors(found, np.zeros(2, bool)) == {"n": 0, "margins": [], "left": []}


@pytest.mark.parametrize(("late", "at_most"), [(0, False), (1, False), (3, True)])
def test_the_worst_case_is_at_most_where_a_doubling_breaks_more_than_a_point(late, at_most):
    """100 images, 40 stand for long; `late` of them fall in the last doubling."""
    fate = [0] * 60 + [2] * late + [-1] * (40 - late)
    found = outcomes(fate, [(10, 10), (40, 40), (100, 0)])
    entry = depth(found, found.standing(), ["ties"])
    expected = entry["next_doubling"]
    assert (expected["fell"], expected["of"]) == (late, 40)
    assert (expected["broken"] > TOLERATED * 100) == at_most
    assert bool(entry["at_most"]) == at_most


def test_the_worst_case_is_at_most_where_longer_attacks_broke_more():
    found = outcomes([0] * 60 + [-1] * 40, [(5, 5), (50, 50)])
    (reason,) = depth(found, found.standing(), ["not-converged"])["at_most"]
    assert "not-converged" in reason
    fallen = outcomes([0] * 60, [(50, 49)])
    assert depth(fallen, fallen.standing(), ["not-converged"])["at_most"] == []


@pytest.mark.parametrize("n", [1, 4])
def test_no_image_was_right(n):
    found = outcomes([-1] * n, [(1, 1)], correct=[False] * n)
    entry = depth(found, found.standing(), [])
    assert [point["accuracy"] for point in entry["points"]] == [0.0]
    assert entry["next_doubling"]["interval"] == [0, 0]
    assert entry["at_most"] == []
