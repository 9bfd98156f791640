"""Schedules: attacking survivors alone changes the cost and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import images, spiking
from robustsnn.attacks import Attack, MinimumNorm, RandomSearch, Square, Suite, quick, reliable
from robustsnn.attacks.attempt import goes_on
from robustsnn.evaluation import Effort, Judge, run_suite

EPS = 0.0015  # the network is not trained: it takes little


def cheap(suite):
    """The same members with few steps, targets and queries, so that each can be run on all samples.

    Those that go on from the worst points of the others are left out: they are another attack after other members.
    """

    def shorter(attack):
        if goes_on(attack):
            return None
        if isinstance(attack, Attack):
            return replace(attack, steps=min(attack.steps, 4), restarts=min(attack.restarts, 2))
        if isinstance(attack, MinimumNorm):
            return replace(attack, steps=4)
        return replace(attack, queries=min(attack.queries, 10))

    return suite.map(shorter)


def problem(n):
    model, x = spiking(), images(n, (1, 8, 8))
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 4
    return model, x, y


def alone(model, data, suite, **options):
    """Each member on all samples."""
    return [
        run_suite(model, data, Suite("alone", ((column, (attack,)),)), judge=Judge(), **options)
        for column, attack in suite.members()
    ]


@pytest.mark.parametrize("build", [quick, reliable], ids=lambda f: f.__name__)
def test_the_worst_case_is_that_of_every_member_on_every_sample_at_less_than_half_the_cost(build):
    model, x, y = problem(20)
    suite = cheap(build(EPS)).without_smoothing().without_decisions()  # this network rounds neither pixels nor logits
    found = run_suite(model, (x, y), suite, judge=Judge())
    each = alone(model, (x, y), suite)
    assert {type(a) for _, a in suite.members()} >= {Attack, RandomSearch}
    assert build is quick or {type(a) for _, a in suite.members()} == {Attack, MinimumNorm, RandomSearch, Square}
    standing = np.logical_and.reduce([outcome.standing() for outcome in each])
    assert np.array_equal(found.standing(), standing)
    assert 0 < standing.sum() < found.correct.sum()
    # Who is attacked by a member, falls to it or not just as it does alone.
    for row, outcome in enumerate(each):
        at = found.attacked[row]
        assert np.array_equal(found.broken[row][at], outcome.broken[0][at])
        assert np.array_equal(found.margin[row][at], outcome.margin[0][at])
    if build is reliable:
        assert 2 * found.backwards.sum() <= sum(outcome.backwards.sum() for outcome in each)


def test_columns_merging_batches_and_candidates_leave_the_worst_case_as_it_is():
    model, x, y = problem(16)
    suite = cheap(quick(EPS))
    found = run_suite(model, (x, y), suite)
    columns = Suite("columns", tuple((attack.label, (attack,)) for _, attack in suite.members()))
    turned = replace(suite, columns=tuple((c, attacks[::-1]) for c, attacks in suite.columns))
    for other in (columns, columns.merged(), replace(suite, survivors_only=False), turned):
        assert np.array_equal(run_suite(model, (x, y), other).standing(), found.standing())
    for size in (5, 16):
        small = run_suite(model, (x, y), suite, Effort(batch_size=size))
        assert np.array_equal(small.standing(), found.standing())
    wanted = np.arange(16) % 2 == 0
    part = run_suite(model, (x, y), suite, candidates=wanted)
    assert not part.attacked[:, ~wanted].any()
    assert np.array_equal(part.broken[:, wanted], found.broken[:, wanted])


def test_a_sample_draws_by_its_own_number():
    """The same image at another place of the data is attacked by other random numbers, and only those."""
    model, x, y = problem(6)
    again = torch.cat([x, x]), torch.cat([y, y])
    suite = cheap(quick(EPS))
    found, twice = run_suite(model, (x, y), suite), run_suite(model, again, suite)
    assert np.array_equal(twice.margin[:, :6], found.margin)
    both = twice.attacked[0, :6] & twice.attacked[0, 6:]
    assert both.any()
    assert not np.array_equal(twice.margin[0, :6][both], twice.margin[0, 6:][both])
