"""Schedules of lambda: closed forms, and the rule that looks at validation."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.objectives import Adversarial, Natural, SparsityRegularised
from robustsnn.objectives.schedule import ByValidation, Changing, Constant, Cosine, Scheduled, WarmUp


def factors(schedule, epochs, history=()):
    return [schedule.factor(epoch, epochs, history) for epoch in range(epochs)]


def past(*pairs):
    return [{"validation": {"accuracy": a, "robust": r, "n": 100}} for a, r in pairs]


def test_closed_forms():
    assert factors(Constant(), 3) == [1, 1, 1]
    assert factors(WarmUp(epochs=4), 6) == [0, 0.25, 0.5, 0.75, 1, 1]
    assert factors(WarmUp(share=0.5), 8) == factors(WarmUp(epochs=4), 8)
    assert factors(Cosine("up"), 3) == pytest.approx([0, 0.5, 1])
    assert factors(Cosine("down"), 5)[1] == pytest.approx((1 + 0.5**0.5) / 2)
    assert factors(Cosine("up"), 1) == [1]


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60))
def test_cosines_are_mirror_images_and_monotone(epochs):
    up, down = factors(Cosine("up"), epochs), factors(Cosine("down"), epochs)
    assert up == sorted(up)
    assert (up[0], up[-1]) == (0, 1)
    assert [a + b for a, b in zip(up, down, strict=True)] == pytest.approx([1] * epochs)
    assert up == pytest.approx(down[::-1])


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], 1),
        ([(0.5, 0.0)], 2),  # the first epoch counts as a rise, robust or not
        ([(0.5, 0.2), (0.6, 0.3)], 4),  # rises on
        ([(0.5, 0.2), (0.6, 0.2)], 2),  # no longer rises
        ([(0.5, 0.2), (0.44, 0.3)], 1),  # clean accuracy fell by more than 0.05, though robustness rose
        ([(0.5, 0.2), (0.46, 0.3)], 4),  # by less
        ([(0.5, 0.2), (0.6, 0.3), (0.54, 0.4)], 2),  # the best so far counts, not the first
        ([(0.5, 0.3), (0.5, 0.2), (0.5, 0.25)], 2),  # above the last but not above the best
        ([(0.5, 0.2), (0.4, 0.3), (0.5, 0.25)], 1),  # nor above one that was too dear
        ([(0.5, 0.1), (0.5, 0.2), (0.5, 0.3), (0.5, 0.4)], 8),  # bounded above
        ([(0.9, 0.1), *[(0.1, 0.0)] * 9], 0.25),  # and below
        ([(0.9, 0.1), *[(0.1, 0.0)] * 9, (0.9, 0.2)], 0.5),  # from where it comes back at once
    ],
)
def test_by_validation(history, expected):
    rule = ByValidation(rate=2, drop=0.05, least=0.25, most=8)
    assert rule.factor(len(history), 20, past(*history)) == expected


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=30)


@settings(deadline=None, max_examples=60)
@given(scores)
def test_by_validation_stays_in_its_bounds_and_moves_one_rate_at_a_time(history):
    rule = ByValidation()
    steps = [rule.factor(k, 30, past(*history[:k])) for k in range(len(history) + 1)]
    assert all(rule.least <= f <= rule.most for f in steps)
    for a, b in pairwise(steps):
        assert 1 / rule.rate - 1e-12 <= b / a <= rule.rate + 1e-12


def test_by_validation_says_what_it_lacks():
    with pytest.raises(UserError, match="give fit a validation with an attack"):
        ByValidation().factor(1, 5, [{"validation": {"accuracy": 0.5, "n": 3}}])


def test_scheduled_replaces_lam_and_nothing_else():
    inner = SparsityRegularised(0.4, Adversarial(pgd(0.05, 2, keep="last")), h=0.05)
    scheduled = Scheduled(inner, WarmUp(epochs=4))
    assert isinstance(scheduled, Changing)
    assert not isinstance(inner, Changing)
    assert scheduled.at(4, 5, []) == inner
    assert scheduled.at(2, 5, []) == SparsityRegularised(0.2, inner.over, h=0.05)
    assert not scheduled.needs_robust_validation
    assert Scheduled(inner, ByValidation()).needs_robust_validation


@pytest.mark.parametrize("schedule", [Constant(), WarmUp(share=0.25), Cosine("down"), ByValidation(rate=1.5)])
def test_schedules_are_values(schedule):
    assert eval(repr(schedule)) == schedule
    assert hash(eval(repr(schedule))) == hash(schedule)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: WarmUp(),
        lambda: WarmUp(epochs=3, share=0.5),
        lambda: WarmUp(epochs=0),
        lambda: WarmUp(share=0.0),
        lambda: Cosine("sideways"),
        lambda: ByValidation(rate=1.0),
        lambda: ByValidation(drop=-0.1),
        lambda: ByValidation(least=2.0),
        lambda: ByValidation(rate=float("nan")),
        lambda: Scheduled(Natural(), Constant()),
        lambda: Scheduled(lambda *a: None, Constant()),
    ],
)
def test_bad_arguments(bad):
    with pytest.raises(UserError):
        bad()
