"""Tallies: exact for integers, stable for other numbers, and the same in parts as in the whole."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustsnn.ground.errors import UserError
from robustsnn.records.typed import record_of
from robustsnn.studies.shared.tally import Tally

WHOLE = st.integers(-(10**9), 10**9)
REAL = st.floats(-1e6, 1e6).map(lambda v: v if abs(v) > 1e-6 else 0.0)


@given(st.lists(WHOLE, min_size=1, max_size=12), st.data())
def test_parts_of_integers_add_up_to_the_very_tally_of_the_whole(values, data):
    cut = data.draw(st.integers(0, len(values)))
    whole = Tally.over(values)
    assert Tally.over(values[:cut]) + Tally.over(values[cut:]) == whole
    n = len(values)
    assert (whole.n, whole.total) == (n, sum(values))
    assert whole.scatter == n * sum(v * v for v in values) - sum(values) ** 2
    assert isinstance(whole.scatter, int)
    assert sum((Tally(1, v, 0) for v in values), Tally(0, 0, 0)) == whole
    assert Tally.over(torch.tensor(values)) == whole == Tally.over(np.array(values))


@given(st.lists(REAL, min_size=2, max_size=12), st.data())
def test_parts_of_other_numbers_add_up_within_rounding(values, data):
    cut = data.draw(st.integers(0, len(values)))
    whole = Tally.over(np.array(values))
    parts = Tally.over(np.array(values[:cut])) + Tally.over(np.array(values[cut:]))
    assert parts.n == whole.n
    assert parts.total == pytest.approx(whole.total, rel=1e-12, abs=1e-8)
    assert parts.scatter == pytest.approx(whole.scatter, rel=1e-9, abs=1e-8)
    if len(set(values)) > 1:
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert whole.interval() == pytest.approx(expected, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("far", [0.0, 1e6, 1e9, -1e12])
@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_the_interval_moves_with_the_values(far, cut):
    """Where a difference of squares has no digit left: at 1e9 it is 0, not 50.8."""
    values = np.array([1.0, 2.0, 4.0, 8.0, 9.0])
    tally = Tally.over(values[:cut] + far) + Tally.over(values[cut:] + far)
    low, high = tally.interval()
    expected = 2 * stats.t.ppf(0.975, 4) * stats.sem(values)
    assert high - low == pytest.approx(expected, rel=1e-3 if abs(far) == 1e12 else 1e-6)
    assert (low + high) / 2 == pytest.approx(4.8 + far)
    if far == 1e9:
        moved = values + far
        assert abs((moved * moved).sum() - moved.sum() ** 2 / 5 - 50.8) > 10


def test_equal_values_have_an_interval_without_width():
    for values in ([7, 7, 7], np.array([0.1, 0.1, 0.1, 0.1])):
        assert Tally.over(values).interval() == pytest.approx([values[0]] * 2)
    assert (Tally.over(np.full(3, 0.1)) + Tally.over(np.full(5, 0.1))).scatter == pytest.approx(0, abs=1e-15)


def test_what_is_written_is_read():
    tally = Tally.over([3, 5, 10])
    assert record_of(Tally, tally.to_dict(4), "here") == tally
    with pytest.raises(UserError, match=r"here.scatter = None is not a finite number; get the file again"):
        record_of(Tally, {"n": 3, "total": 18, "squares": 134}, "here")  # as files of before have it
    assert math.isclose(Tally.over(np.array([0.5, 1.5])).mean, 1.0)
