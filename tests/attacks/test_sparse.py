"""Flips of binary inputs: the threat's geometry, exact minima on linear models, budget, accounting."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks.sparse import Flips, SparseFlips
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.threat import verify
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin
from robustsnn.neurons import ASSG, RGA, STBP, Arctan, neuron_layers


def binary(n, shape=(1, 4, 4), seed=0):
    return images(n, shape, seed, low=0.0, high=1.0).round()


# The threat


@settings(max_examples=60, deadline=None)
@given(eps=st.integers(0, 40), seed=st.integers(0, 2**20))
def test_project_is_binary_within_budget_idempotent_and_keeps_inner_points(eps, seed):
    threat, x = Flips(eps), binary(4, (2, 4, 4), seed)
    z = 3 * torch.rand(x.shape, generator=torch.Generator().manual_seed(seed + 1)) - 1
    p = threat.project(z, x)
    verify(threat, p, x, "test")
    assert torch.equal(threat.project(p, x), p)
    changes = ((z >= 0.5) != (x >= 0.5)).flatten(1)
    assert torch.equal((p != x).flatten(1).sum(1), changes.sum(1).clamp_max(eps))
    # Of the changes that rounding would make, the largest are kept.
    size = (z - x).abs().flatten(1)
    kept = (p != x).flatten(1)
    assert bool((~kept | changes).all())
    for i in range(4):
        if kept[i].any() and (changes & ~kept)[i].any():
            assert size[i][kept[i]].min() >= size[i][(changes & ~kept)[i]].max()


@given(eps=st.integers(0, 40), seed=st.integers(0, 2**20))
@settings(max_examples=30, deadline=None)
def test_sample_flips_exactly_eps_entries(eps, seed):
    threat, x = Flips(eps), binary(4, (2, 4, 4), seed)
    z = threat.sample(x, torch.Generator().manual_seed(seed))
    assert threat.distance(z, x).tolist() == [min(eps, 32)] * 4


def test_steepest_takes_the_largest_entries():
    g = torch.tensor([[[1.0, -5.0], [0.5, 3.0]], [[0.0, 2.0], [-1.0, 0.1]]])
    assert Flips(2).steepest(g, 2).tolist() == [[[0, -1], [0, 1]], [[0, 1], [-1, 0]]]
    sizes = torch.tensor([1.0, 3.0]).view(2, 1, 1)
    assert Flips(2).steepest(g, sizes).tolist() == [[[0, -1], [0, 0]], [[0, 1], [-1, 1]]]


def test_distance_counts_and_refuses_what_is_not_binary():
    x = torch.zeros(3, 1, 2, 2)
    z = x.clone()
    z[0, 0, 0, 0] = z[0, 0, 1, 1] = 1
    z[1, 0, 0, 0] = 0.25
    z[2, 0, 0, 0] = torch.nan
    assert Flips(4).distance(z, x).tolist() == [2, torch.inf, torch.inf]
    with pytest.raises(RuntimeError, match="left its budget"):
        verify(Flips(4), z, x, "test")


@pytest.mark.parametrize("eps", [-1, 0.5, True, float("nan"), float("inf"), 1e300])
def test_eps_is_a_count(eps):
    with pytest.raises(UserError, match="number of entries"):
        Flips(eps)


def test_values():
    assert repr(Flips(20.0)) == "Flips(eps=20)"
    assert eval(repr(Flips(3, space="encoded"))) == Flips(3, space="encoded")
    with pytest.raises(UserError, match="space"):
        Flips(3, space="time")
    attack = SparseFlips(Flips(7), STBP(Arctan(2.0)), grow=5)
    assert eval(repr(attack)) == attack
    assert (attack.label, attack.black_box) == ("flips/arctan-2", False)


# The attack


def fewest(model, x, y):
    """The least number of flips that breaks a linear model of two classes, from the sorted gains."""
    w = (model.weight[1 - y] - model.weight[y]).detach().double()
    gain = ((1 - 2 * x.flatten(1).double()) * w).sort(1, descending=True).values.clamp_min(0)
    reached = margin(model(x), y).detach().double()[:, None] + gain.cumsum(1)
    return torch.where(reached[:, -1] >= 0, (reached < 0).sum(1) + 1, 10**6)


@pytest.mark.parametrize("grow", [1, 10, 1000])
@pytest.mark.parametrize("bias", [0.0, 12.0])
def test_two_classes_the_fewest_flips_are_found(grow, bias):
    model, x = Linear(2, (1, 8, 8), seed=2), binary(60, (1, 8, 8))
    y = model(x).argmax(1)
    with torch.no_grad():  # a wider margin for class 0
        model.bias[0] += bias
        y = model(x).argmax(1)
    least = fewest(model, x, y)
    eps = int(least[least < 10**6].float().quantile(0.7))
    threat = Flips(eps)
    attempt = SparseFlips(threat, grow=grow).run(model, x, y)
    flips = verify(threat, attempt.images, x, "test")
    broken = ~correct(model(attempt.images), y)
    assert torch.equal(broken, least <= eps)
    assert 0 < broken.sum() < 60
    assert torch.equal(flips[broken].long(), least[broken])
    # Where the budget does not do, it is spent on what raises the margin most.
    w = (model.weight[1 - y] - model.weight[y]).detach()
    gain = ((1 - 2 * x.flatten(1)) * w).sort(1, descending=True).values.clamp_min(0)[:, :eps].sum(1)
    best = margin(model(x), y).detach() + gain
    torch.testing.assert_close(margin(model(attempt.images), y).detach()[~broken], best[~broken])


def random_order(model, x, y, seed):
    """Flip in random order until misclassified, then take back what is not needed: how many it takes."""
    order = Streams(range(seed, seed + len(x)))
    counts = []
    for i, row in enumerate(order.uniform(x[0].numel()).argsort(1)):
        z, flipped = x[i].clone().flatten(), []
        for entry in row.tolist():
            z[entry] = 1 - z[entry]
            flipped.append(entry)
            if not correct(model(z.view_as(x[i])[None]), y[i : i + 1]):
                break
        counts.append(len(flipped))
    return torch.tensor(counts)


@pytest.mark.parametrize("rule", [None, RGA(), ASSG()])
@torch.no_grad()
def test_on_a_spiking_network_it_needs_fewer_flips_than_random_order_and_none_is_superfluous(rule):
    model, x = spiking(seed=4), binary(16, (1, 8, 8), seed=3)
    y = model(x).argmax(1)
    rules = [layer.rule for layer in neuron_layers(model)]
    attempt = SparseFlips(Flips(64), rule).run(model, x, y)
    assert [layer.rule for layer in neuron_layers(model)] == rules
    flips = verify(Flips(64), attempt.images, x, "test")
    assert not bool(correct(model(attempt.images), y).any())
    for seed in (0, 100):
        found = random_order(model, x, y, seed)
        assert (flips <= found).float().mean() > 0.8  # chance finds a short way now and then
        assert flips.mean() < found.double().mean()
    for i in range(16):
        for entry in (attempt.images[i] != x[i]).flatten().nonzero()[:, 0].tolist() if flips[i] > 1 else []:
            z = attempt.images[i].clone().flatten()
            z[entry] = 1 - z[entry]
            assert bool(correct(model(z.view(1, 1, 8, 8)), y[i : i + 1]))


class Pair(nn.Module):
    """Class 1 needs two entries at once; neither flip alone changes anything but a slope."""

    def forward(self, x):
        a, b = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
        return torch.stack([torch.full_like(a, 0.5), a * b], 1)


def test_two_flips_that_help_only_together_are_found_and_one_ends_the_search():
    x, y = torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    attempt = SparseFlips(Flips(4)).run(Pair(), x, y)
    assert (attempt.images != x).flatten(1).tolist() == [[True, True, False, False]] * 3
    assert attempt.zero_gradient.tolist() == [True] * 3
    # With one of the two set, the other is found.
    x[0, 0, 0, 0] = 1
    attempt = SparseFlips(Flips(1)).run(Pair(), x, y)
    assert (attempt.images != x).flatten(1).sum(1).tolist() == [1, 0, 0]


def test_entries_without_gradient_are_tried_too():
    class Hidden(nn.Module):
        """Only entry 13 matters, and no gradient says so."""

        def forward(self, x):
            return torch.stack([torch.full((len(x),), 0.5), x.detach().flatten(1)[:, 13]], 1) + 0 * x.sum()

    x, y = torch.zeros(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)
    attempt = SparseFlips(Flips(1), grow=2).run(Hidden(), x, y)
    assert (attempt.images != x).flatten(1).nonzero().tolist() == [[0, 13], [1, 13], [2, 13]]


def test_costs_are_the_true_numbers_of_passes():
    model, x = Counting(3), binary(40)
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 3
    for attack in (SparseFlips(Flips(2)), SparseFlips(Flips(9), grow=3), SparseFlips(Flips(0))):
        model.passes = 0
        attempt = attack.run(model, x, y)
        assert int(attempt.forwards.sum()) == model.passes
        assert attempt.forwards[:3].tolist() == [1, 1, 1]
        assert torch.equal(attempt.images[:3], x[:3])


def test_queries_and_rounds_bound_the_search():
    model, x = Linear(2, (1, 8, 8)), binary(10, (1, 8, 8))
    y = model(x).argmax(1)
    for attack in (SparseFlips(Flips(1), queries=1), SparseFlips(Flips(1), rounds=1)):
        attempt = attack.run(model, x, y)
        assert int(attempt.backwards.max()) <= 2
        verify(attack.threat, attempt.images, x, attack)


@pytest.mark.parametrize("swaps", [1, 4])
@pytest.mark.parametrize("proposals", [1, 5])
@torch.no_grad()
def test_what_a_sample_that_stands_costs_at_most(swaps, proposals):
    model, x = Linear(2, (1, 8, 8)), binary(10, (1, 8, 8))
    model.bias[0] += 1e4
    y = model(x).argmax(1)
    attack = SparseFlips(Flips(3), rounds=swaps, swaps=swaps, proposals=proposals, grow=2)
    attempt = attack.run(model, x, y)
    assert bool((attempt.backwards > swaps).all())
    assert int(attempt.backwards.max()) <= 2 * swaps
    # The clean point; gradient and proposals of each round; gradient, single flips and their union of each.
    climb = sum(1 + 2 * (k + 1) + 1 for k in range(swaps))
    assert int(attempt.forwards.max()) <= 1 + swaps * (1 + proposals) + climb
    # One proposal is of size 1; among five is one of size 3.
    flips = attack.threat.distance(attempt.images, x)
    assert flips.tolist() == [min(3, swaps) if proposals == 1 else 3] * 10


def test_any_shape_eps_zero_and_no_images():
    model, x = spiking(), binary(5, (1, 8, 8))
    y = model(x).argmax(1)
    assert torch.equal(SparseFlips(Flips(0)).run(model, x, y).images, x)
    assert len(SparseFlips(Flips(3)).run(model, x[:0], y[:0]).images) == 0
    flat = nn.Sequential(nn.Flatten(1), Linear(3, (1, 8, 8)))
    y = flat(x).argmax(1)
    attack = SparseFlips(Flips(4))
    outcomes = [attack.run(flat, x.view(5, *shape), y).images.reshape(5, -1) for shape in ((64,), (4, 1, 4, 2, 2))]
    assert torch.equal(*outcomes)


def test_bad_arguments():
    with pytest.raises(UserError, match="other than 0 and 1"):
        SparseFlips(Flips(3)).run(Linear(2), images(2), torch.zeros(2, dtype=torch.int64))
    for wrong in ({"rounds": 0}, {"grow": 0}, {"queries": 0}, {"swaps": 0}, {"proposals": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            SparseFlips(Flips(3), **wrong)
