"""Which images are right: a number for all of them, and the exact paired test of two."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.records.result import Right
from robustsnn.statistics.paired import mcnemar


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=70))
def test_pairs_are_counted_from_the_bits(pairs: list[tuple[bool, bool]]) -> None:
    one, other = (Right.of("x", [pair[k] for pair in pairs]) for k in (0, 1))
    assert one.alone(other) == (sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
    assert Right(one.images, one.n, one.bits) == one
    assert one.against(other) == other.against(one)


def test_other_images_are_not_paired() -> None:
    assert Right.of("x", [True, False]).against(Right.of("y", [True, False])) is None
    assert Right.of("x", [True]).against(Right.of("x", [True, False])) is None


@pytest.mark.parametrize(("n", "bits"), [(5, "f"), (3, "f"), (8, "1ff")])
def test_bits_that_are_not_those_of_n_images_are_refused(n: int, bits: str) -> None:
    with pytest.raises(ValueError, match="are not those of"):
        Right("x", n, bits)


def test_the_p_value_is_that_of_all_ways_in_which_the_pairs_could_fall() -> None:
    """Of n pairs that differ, all 2^n outcomes are alike; those at least as uneven as the one found are counted."""
    for a, b in product(range(5), range(5)):
        n = a + b
        uneven = sum(abs(2 * sum(way) - n) >= abs(a - b) for way in product((0, 1), repeat=n))
        assert mcnemar(a, b) == pytest.approx(uneven / 2**n)
    assert mcnemar(10, 1) == pytest.approx(0.0117, abs=1e-4)
