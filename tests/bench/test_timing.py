"""The algebra of paired timing, on a clock that a test moves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.bench.growth import exponent
from robustsnn.bench.timing import TICK, Timings, clock, paired, spread

CPU = torch.device("cpu")


class Clock:
    """Moves when work is done, and not else."""

    def __init__(self):
        self.time = 0.0
        self.order = []

    def work(self, name, *takes):
        """Work that takes so long at its first, second ... call, and the last of them from then on."""
        left = list(takes)

        def run():
            self.order.append(name)
            self.time += left.pop(0) if len(left) > 1 else left[0]

        return run

    def __call__(self, device):
        return self.time


def test_works_take_turns_and_the_first_call_of_each_is_not_timed():
    at = Clock()
    told = []
    found = paired(
        {"a": at.work("a", 50.0, 1.0, 2.0, 4.0), "b": at.work("b", 90.0, 3.0, 4.0, 20.0)},
        3,
        CPU,
        read=at,
        progress=lambda done, total, text: told.append((done, total, text)),
    )
    assert at.order == ["a", "b"] * 4
    assert found.seconds == {"a": [1.0, 2.0, 4.0], "b": [3.0, 4.0, 20.0]}
    # Ratios are formed within a round: the median of ratios, which is not the ratio of the medians.
    assert found.over("b", "a") == {"min": 2.0, "median": 3.0, "max": 5.0}
    assert found.ms("a") == {"min": 1000.0, "median": 2000.0, "max": 4000.0}
    assert found.per_second("a", 8) == {"min": 2.0, "median": 4.0, "max": 8.0}
    assert [(done, total) for done, total, _ in told] == [(i, 8) for i in range(1, 9)]


def test_what_is_called_to_settle_is_not_timed():
    at = Clock()
    found = paired({"a": at.work("a", 9.0, 9.0, 9.0, 1.0, 8.0, 8.0, 2.0)}, 2, CPU, settle=2, read=at)
    assert found.seconds == {"a": [1.0, 2.0]}
    assert at.order == ["a"] * 7


def test_short_work_is_repeated_until_it_fills_the_least_time_and_its_mean_counts():
    at = Clock()
    found = paired({"short": at.work("short", 0.25), "long": at.work("long", 7.0)}, 2, CPU, least=1.0, read=at)
    assert found.seconds == {"short": [0.25, 0.25], "long": [7.0, 7.0]}
    assert at.order.count("short") == 2 + 2 * 4
    assert at.order.count("long") == 2 + 2 * 1


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9), st.floats(1e-3, 1e3))
def test_a_spread_is_ordered_holds_the_values_and_scales(values, unit):
    found = spread(values, unit)
    assert found["min"] <= found["median"] <= found["max"]
    for name, of in (("min", min), ("max", max)):
        assert found[name] == pytest.approx(of(values) * unit, rel=1e-3)


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6), st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=6))
def test_the_ratio_of_b_over_a_is_the_inverse_of_a_over_b_in_every_round(a, b):
    n = min(len(a), len(b))
    found = Timings({"a": a[:n], "b": b[:n]}, {}, 0.0)
    for one, other in zip(found.ratios("a", "b"), found.ratios("b", "a"), strict=True):
        assert one * other == pytest.approx(1)


def test_processor_time_is_for_one_thread_on_a_cpu():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert clock(CPU) == "processor"
        assert clock(torch.device("cuda")) == "wall"
        torch.set_num_threads(2)
        assert clock(CPU) == "wall"
    finally:
        torch.set_num_threads(before)


# Growth: t = c n^a has exactly the exponent a.


@settings(deadline=None)
@given(st.floats(-1, 3), st.floats(1e-3, 1e3), st.sets(st.integers(1, 64), min_size=2, max_size=6))
def test_the_exponent_of_a_power_is_that_power(a, c, sizes):
    sizes = sorted(sizes)
    assert exponent(sizes, [c * n**a for n in sizes]) == pytest.approx(a, abs=1e-7)


def test_a_constant_cost_makes_the_exponent_smaller_never_larger():
    sizes = [4, 8, 16, 32]
    for power in (1, 2):
        with_constant = exponent(sizes, [100 + n**power for n in sizes])
        assert 0 < with_constant < power
    # So an exponent above 1 says that something grows faster than the size.
    assert exponent(sizes, [100 + 1e3 * n**2 for n in sizes]) > 1.9


def test_a_growth_needs_different_sizes_and_positive_values():
    with pytest.raises(ValueError, match="equal"):
        exponent([4, 4], [1.0, 2.0])
    with pytest.raises(ValueError):
        exponent([4, 8], [0.0, 1.0])
    assert math.isclose(exponent([1, 10], [1.0, 100.0]), 2)


def test_a_clock_that_stands_still_makes_no_time_of_nothing():
    found = paired({"a": lambda: None, "b": lambda: None}, 3, CPU, read=lambda device: 7.0)
    assert found.seconds == {"a": [TICK] * 3, "b": [TICK] * 3}
    assert found.over("a", "b") == {"min": 1.0, "median": 1.0, "max": 1.0}
