"""What an image that survives costs: `passes` of every attack, against what is spent on one that nothing breaks."""

from dataclasses import replace

import pytest
import torch
from test_properties import attackers, inputs
from torch import nn

from helpers import Linear, images
from robustsnn.attacks import Flips, Linf, MinimumNorm, RandomSearch, SparseFlips, Suite, Transfer, fgsm, pgd
from robustsnn.losses import correct, margin


class Settled(nn.Module):
    """Class 0 by far, whatever the image; its gradients are alive."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(4, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return x.flatten(1) @ self.weight.T + 1e4 * torch.eye(4)[0]


def drawn(attack, draws):
    """The attack with so many passes a query."""
    if isinstance(attack, Transfer):
        return replace(attack, attack=replace(attack.attack, draws=draws))
    return replace(attack, draws=draws)


def spent(attack, model, x, y):
    """Forward and backward passes of each sample."""
    found = attack.run(model, x, y)
    return (found.forwards + found.backwards).tolist()


KINDS = attackers(Settled(), 1 / 32, 0.1, 45)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("attack", KINDS, ids=repr)
def test_an_image_that_nothing_breaks_costs_all_passes_and_no_more(attack, draws):
    attack, x = drawn(attack, draws), inputs(attack, images(3, (1, 8, 8)))
    cost = spent(attack, Settled(), x, torch.zeros(3, dtype=torch.int64))
    if isinstance(attack, SparseFlips):  # a round of its climb tries what there is
        assert max(cost) <= attack.passes
    elif isinstance(attack, MinimumNorm):  # the projection of a point that misses the ball, and there is none
        assert cost == [attack.passes - draws] * 3
    else:
        assert cost == [attack.passes] * 3


@pytest.mark.parametrize("draws", [1, 3])
def test_a_nearest_point_beyond_the_ball_costs_its_projection(draws):
    model, x = Linear(4), images(6)
    y = model(x).argmax(1)
    attack = MinimumNorm(Linf(1e-4), steps=20, draws=draws)
    assert attack.distances(model, x, y)[1].isfinite().all()
    assert spent(attack, model, x, y) == [attack.passes] * 6


@pytest.mark.parametrize("proposals", [1, 7])
@pytest.mark.parametrize("draws", [1, 3])
def test_one_round_of_flips_of_one_candidate_is_counted_out(proposals, draws):
    attack = SparseFlips(Flips(1), rounds=1, grow=1, proposals=proposals, draws=draws)
    x = images(3, (1, 8, 8)).round()
    # Unspent: flipping several together, and taking back the at most three flips that three forward passes can try.
    assert spent(attack, Settled(), x, torch.zeros(3, dtype=torch.int64)) == [attack.passes - draws * (1 + 3 + 2)] * 3
    assert attack.passes == draws * (1 + (2 + proposals) + (3 + 1) + (3 + 2))


@pytest.mark.parametrize("queries", [1, 40, 2000])
@pytest.mark.parametrize("grow", [1, 4])
@pytest.mark.parametrize("draws", [1, 3])
def test_flips_that_survive_cost_no_more_where_the_climb_breaks_them_beyond_the_budget(queries, grow, draws):
    model, x = Linear(4, (1, 8, 8)), images(24, (1, 8, 8), low=0.0, high=1.0).round()
    y = model(x).argmax(1)
    attack = SparseFlips(Flips(1), grow=grow, queries=queries, swaps=3, proposals=4, draws=draws)
    found = attack.run(model, x, y)
    stands = correct(model(found.images), y)
    beyond = SparseFlips(Flips(64), grow=grow).run(model, x, y).images
    assert bool((~correct(model(beyond), y)).all())
    assert stands.sum() > 3
    assert bool((found.forwards + found.backwards)[stands].max() <= attack.passes)


def test_a_suite_costs_what_its_attacks_cost_together_whether_or_not_columns_start_anew():
    linf = [attack for attack in KINDS if attack.threat == Linf(1 / 32)]
    columns = (("a", tuple(linf[:3])), ("b", tuple(linf[3:])))
    for survivors_only in (True, False):
        assert Suite("s", columns, survivors_only).passes == sum(attack.passes for attack in linf)
    one = Suite("s", (("a", (fgsm(0.1), pgd(0.1, 5, loss=margin), RandomSearch(Linf(0.1), queries=9))),))
    assert one.passes == (2 + 1) + (10 + 1) + (9 + 1)
    assert one.with_draws(7).passes == 7 * one.passes
