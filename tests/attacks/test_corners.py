"""The search over corners: exact on linear networks, tabu, memory and start as they are told."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks import L2, CornerSearch, Linf, Streams
from robustsnn.attacks.corners import _Corners
from robustsnn.attacks.passes import judged
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin


class Table(nn.Module):
    """A table of margins, one for each corner of a cube around the middle."""

    def __init__(self, table):
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, x):
        bits = (x.flatten(1) > 0.5).long()
        index = (bits * 2 ** torch.arange(bits.shape[1])).sum(1)
        value = self.table[index]
        return torch.stack([torch.zeros_like(value), value], 1)


def test_a_linear_network_falls_just_where_its_worst_corner_does():
    model, x = Linear(2), images(60)  # far from the ends of the range
    y = model(x).argmax(1)
    true = -margin(model(x), y).detach() / (model.weight[1] - model.weight[0]).detach().abs().sum()
    for eps in true.quantile(torch.tensor([0.2, 0.5, 0.8])).tolist():
        found = CornerSearch(Linf(eps), 600).run(model, x, y)
        broken = ~correct(model(found.images), y)
        assert bool(broken[1.0001 * true < eps].all())
        assert not bool(broken[true > eps].any())


@pytest.mark.parametrize("seed", range(5))
def test_a_rugged_function_of_eight_bits_is_searched_to_its_best_corner(seed):
    """Random margins on all 256 corners, one of them broken: local search ends before it, the tabu search does not."""
    table = -torch.rand(256, generator=torch.Generator().manual_seed(seed)) - 0.1
    table[int(torch.randint(256, (1,), generator=torch.Generator().manual_seed(seed)))] = 1.0
    model, x = Table(table), torch.full((6, 1, 2, 4), 0.5)
    y = torch.zeros(6, dtype=torch.int64)
    found = CornerSearch(Linf(0.2), 4000, patience=20).run(model, x, y)
    assert not bool(correct(model(found.images), y).any())


def test_it_begins_at_the_corner_nearest_to_the_worst_point():
    model, x = Linear(3), images(8)
    y, threat = model(x).argmax(1), Linf(0.01)
    worst = threat.project(x + 0.004 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), x)
    low, high = threat.bounds(x)
    first = CornerSearch(threat, 1).run(model, x, y, worst=worst)
    assert torch.equal(first.images, torch.where(worst - low > high - worst, high, low))
    assert first.forwards.tolist() == [2] * 8


def test_what_it_returns_is_the_worst_that_it_asked_and_more_queries_are_never_worse():
    model, x = spiking(), images(12, (1, 8, 8))
    y = model(x).argmax(1)
    before = margin(model(x), y) - 1e9
    for queries in (1, 9, 65, 400):
        found = CornerSearch(Linf(0.05), queries).run(model, x, y, generator=Streams(range(12)))
        now = margin(model(found.images), y)
        fallen = now >= 0
        assert bool(((now >= before) | fallen).all())
        assert bool((found.forwards <= queries + 1).all())
        assert bool((found.forwards[~fallen] == queries + 1).all())
        before = torch.where(fallen, now.clamp_min(0) - 1e9, now)


def test_every_point_but_the_one_between_lies_on_corners():
    asked = []

    class Watching(Linear):
        def forward(self, x):
            asked.append(x)
            return super().forward(x)

    model, x = Watching(2), images(3)
    y, threat = Linear(2)(x).argmax(1), Linf(1e-4)
    CornerSearch(threat, 161).run(model, x, y)
    low, high = threat.bounds(x)
    points = torch.cat([z.view(3, -1, 1, 4, 4) for z in asked[1:]], 1)
    between = ((points > low[:, None]) & (points < high[:, None])).flatten(2).any(2)
    assert 0 < between.float().mean() < 0.5  # of eight neighbours one, and where the search went from there


def test_who_comes_near_gets_all_queries_as_if_the_others_had_not_been_there_and_these_a_quarter():
    model, x = Linear(2), images(60)
    y = model(x).argmax(1)
    clean = margin(model(x), y)
    reach = 0.03 * (model.weight[1] - model.weight[0]).detach().abs().sum()  # what the best corner gains
    streams = [
        CornerSearch(Linf(0.03), 800, near=near).run(model, x, y, generator=Streams(range(60))) for near in (None, 0.25)
    ]
    whole, found = streams
    left = (clean + reach) / clean  # of the margin, at the best corner
    far, near = left > 0.26, (left > 0) & (left < 0.2)
    assert bool(far.any())
    assert bool(near.any())
    assert set(found.forwards[far].tolist()) == {1 + 1 + 200}  # the clean image, the first corner, 25 rounds of 8
    assert set(found.forwards[near].tolist()) == {801}
    assert torch.equal(found.images[left < 0.2], whole.images[left < 0.2])


def test_windows_lie_in_the_image_in_one_channel_or_all():
    attack = CornerSearch(Linf(0.1))
    x, y = torch.full((500, 3, 6, 5), 0.5), torch.zeros(500, dtype=torch.int64)
    search = _Corners(attack, judged, Linear(2, (3, 6, 5)), x, y, Streams(range(500)))
    mask, high = search.window(search.streams.uniform(5))
    shape = mask.view(500, 3, 30)
    counts = shape.sum(2)
    assert set((counts > 0).sum(1).tolist()) == {1, 3}
    assert {int(n) for n in counts.amax(1)} == {1, 4}  # sides 1 and 2
    assert 0.3 < high.float().mean() < 0.7


def test_a_sample_pays_for_itself_and_stops_when_broken():
    model, x = Counting(2), images(20)
    y = model(x).argmax(1)
    y[0] = 1 - y[0]
    model.passes = 0
    found = CornerSearch(Linf(0.02), 200).run(model, x, y)
    assert int(found.forwards.sum()) == model.passes
    assert int(found.forwards[0]) == 1
    assert torch.equal(found.images[0], x[0])
    assert int(found.backwards.sum()) == 0


def test_pixels_that_cannot_move_are_left_alone():
    model, x = Linear(2), images(2)
    y = model(x).argmax(1)
    found = CornerSearch(Linf(0.0), 100).run(model, x, y)
    assert torch.equal(found.images, x)


def test_it_is_a_value_and_refuses_what_makes_no_sense():
    attack = CornerSearch(Linf(8 / 255), 300)
    assert eval(repr(attack), {"CornerSearch": CornerSearch, "Linf": Linf}) == attack
    assert attack.label == "corners-300"
    with pytest.raises(UserError, match="a ball with corners is needed"):
        CornerSearch(L2(1.0))
    for bad, named in itertools.product([0, -1], ["queries", "width", "patience", "draws"]):
        with pytest.raises(UserError, match=f"{named}={bad}"):
            CornerSearch(Linf(0.1), **{named: bad})
    for near in (0.0, -1.0, 1.1):
        with pytest.raises(UserError, match="share of the clean margin"):
            CornerSearch(Linf(0.1), near=near)
