"""Square: the pieces against the formulas of the source, and the search as a whole."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import Counting, Linear, images
from robustsnn.attacks.square import Square, pattern, place, window_share, within
from robustsnn.attacks.threat import L2, Linf
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin

NORMS = [Linf, L2]


def test_the_schedule_is_that_of_the_source():
    ends = {10: 1, 50: 2, 200: 4, 500: 8, 1000: 16, 2000: 32, 4000: 64, 6000: 128, 8000: 256, 10**5: 512}
    for end, part in ends.items():
        assert window_share(0.8, end) == 0.8 / part
        if end < 10**5:
            assert window_share(0.8, end + 1) == 0.4 / part


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 13])
def test_the_pattern_is_two_bumps_of_the_published_sum(side):
    field = pattern(side)
    assert field.norm().item() == pytest.approx(1)
    half = side // 2
    raw = torch.zeros(side, side, dtype=torch.float64)
    for top, height, sign in ((0, half, 1), (half, side - half, -1)):
        n = max(height, side) // 2
        for r in range(height):
            for s in range(side):
                reach = n - max(abs(r - height // 2), abs(s - side // 2))
                raw[top + r, s] = sign * sum(1 / (n + 1 - k) ** 2 for k in range(reach + 1))
    torch.testing.assert_close(field, raw / raw.norm())


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 40), data=st.data())
def test_windows_lie_inside_and_reach_every_place(length, data):
    side = data.draw(st.integers(1, length))
    u = torch.cat([torch.tensor([0.0, 1 - 2**-24]), torch.rand(200)])
    index = place(u, length, side)
    assert bool((within(index, side).sum(1) == side).all())
    assert within(index, side)[0, 0]
    assert within(index, side)[1, -1]
    for row in index:
        assert row[within(row, side)].tolist() == list(range(side))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 5, 9), (1, 4, 4)])
@pytest.mark.parametrize("share", [0.8, 0.1, 0.001])
def test_a_move_of_l2_keeps_the_energy_it_may_use_and_nothing_outside_its_windows(shape, share):
    attack = Square(L2(0.5))
    draws = torch.Generator().manual_seed(0)
    x = torch.full((6, *shape), 0.5, dtype=torch.float64)
    shift = torch.randn(x.shape, generator=draws, dtype=torch.float64)
    shift = L2(0.5).steepest(shift, 0.4)
    u = torch.rand(6, 5 + shape[0], generator=draws)
    z = attack._exchange(x, x + shift, u, share)
    # The unused part of the ball is used up: the shift lands on the sphere.
    torch.testing.assert_close((z - x).flatten(1).norm(dim=1), torch.full((6,), 0.5, dtype=torch.float64))
    height, width = shape[1:]
    side = min(2 * (max(round(math.sqrt(share * height * width)), 3) // 2) + 1, height, width)
    for i in range(6):
        r, s, r2, s2 = (int(u[i, k].double() * (n - side + 1)) for k, n in enumerate((height, width, height, width)))
        moved = torch.zeros(shape, dtype=torch.bool)
        moved[:, r : r + side, s : s + side] = True
        first = moved.clone()
        moved[:, r2 : r2 + side, s2 : s2 + side] = True
        assert torch.equal((z - x)[i][~moved], ((x + shift) - x)[i][~moved])
        assert bool(((z - x)[i][moved & ~first] == 0).all())
        before = shift[i].where(moved, 0).square().sum((1, 2))
        after = (z - x)[i].where(first, 0).square().sum((1, 2))
        torch.testing.assert_close(after, before + (0.25 - 0.16) / shape[0])


def test_linf_starts_from_stripes_and_stays_on_the_corners():
    """All entries of every queried point lie on the boundary of ball or range."""
    queried, eps = [], 0.002

    class Recording(Linear):
        def forward(self, x):
            queried.append(x.clone())
            return super().forward(x)

    x = images(5, (2, 6, 6), low=0.0, high=1.0)
    model = Recording(3, (2, 6, 6), seed=1)
    y = model(x).argmax(1)
    queried.clear()
    Square(Linf(eps), queries=60).run(model, x, y)
    assert torch.equal(queried[0], x)
    assert len(queried) == 61
    for z in queried[1:]:
        assert len(z) == 5
        torch.testing.assert_close(z, torch.where(z > x, (x + eps).clamp_max(1), (x - eps).clamp_min(0)))
    up = queried[1] > x
    clear = (x > eps) & (x < 1 - eps)
    for column in range(6):
        for i in range(5):
            for c in range(2):
                assert len(set(up[i, c, :, column][clear[i, c, :, column]].tolist())) <= 1


def test_l2_starts_from_the_grid():
    attack, x = Square(L2(0.3)), torch.full((3, 2, 15, 15), 0.5, dtype=torch.float64)
    z = attack._grid(x, torch.rand(3, 2, 225, generator=torch.Generator().manual_seed(0)))
    tiles = (z - x).unfold(2, 3, 3).unfold(3, 3, 3).flatten(4)  # [3, 2, 5, 5, 9]
    likeness = tiles @ pattern(3).flatten() / tiles.norm(dim=-1)
    torch.testing.assert_close(likeness.abs(), torch.ones_like(likeness))
    assert 0 < (likeness > 0).sum() < likeness.numel()
    torch.testing.assert_close((z - x).flatten(1).norm(dim=1), torch.full((3,), 0.3, dtype=torch.float64))


@pytest.mark.parametrize("kind", NORMS)
def test_it_comes_near_the_worst_case_of_a_linear_model(kind):
    model, x = Linear(2, (1, 8, 8)), images(40, (1, 8, 8))
    y = model(x).argmax(1)
    w = (model.weight[1 - y] - model.weight[y]).detach()
    gap = -margin(model(x), y).detach()
    dual = w.abs().sum(1) if kind is Linf else w.norm(dim=1)
    eps = (gap / dual).median().item()
    images_ = Square(kind(eps), queries=1500).run(model, x, y).images
    standing = correct(model(images_), y)
    assert not bool((~standing & (gap > 1.0001 * eps * dual)).any())
    gained = (margin(model(images_), y).detach() + gap) / (eps * dual)
    assert gained[standing].min() > (0.9 if kind is Linf else 0.6)
    weaker = Square(kind(eps), queries=100).run(model, x, y).images
    assert correct(model(weaker), y).sum() > standing.sum()


@pytest.mark.parametrize("kind", NORMS)
def test_the_margin_never_falls_and_more_queries_go_on_where_fewer_stopped(kind):
    model, x = Linear(3, (1, 8, 8)), images(10, (1, 8, 8))
    y = model(x).argmax(1)
    last = torch.full((10,), -torch.inf)
    for queries in (1, 5, 30, 130):
        value = margin(model(Square(kind(0.02), queries=queries).run(model, x, y).images), y).detach()
        assert bool((value >= last).all())
        last = value


@pytest.mark.parametrize("kind", NORMS)
def test_frames_are_searched_as_images_of_all_their_channels(kind):
    frames = images(12, (1, 8, 8), low=0.0, high=1.0).view(4, 3, 1, 8, 8)
    flat = nn.Sequential(nn.Flatten(1), Linear(3, (3, 8, 8)))
    y = flat(frames).argmax(1)
    attack = Square(kind(0.003), queries=30)
    many, one = (attack.run(flat, z, y).images for z in (frames, frames[:, :, 0]))
    assert not torch.equal(many, frames)
    assert torch.equal(many[:, :, 0], one)


def test_costs_are_the_true_numbers_of_passes():
    model, x = Counting(3), images(40)
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 3
    for attack in (Square(Linf(0.02), queries=50), Square(L2(0.1), queries=50)):
        model.passes = 0
        attempt = attack.run(model, x, y)
        assert int(attempt.forwards.sum()) == model.passes
        assert attempt.forwards[:3].tolist() == [1, 1, 1]
        assert torch.equal(attempt.images[:3], x[:3])
        assert not bool(attempt.backwards.any())
        standing = correct(model(attempt.images), y)
        assert standing.sum() > 0
        assert attempt.forwards[standing].unique().tolist() == [51]


@pytest.mark.parametrize("kind", NORMS)
def test_eps_zero_no_images_and_repr(kind):
    model, x = Linear(3), images(5)
    y = model(x).argmax(1)
    attack = Square(kind(0.0), queries=15)
    torch.testing.assert_close(attack.run(model, x, y).images, x, rtol=0, atol=1e-7)
    assert len(attack.run(model, x[:0], y[:0]).images) == 0
    assert eval(repr(attack)) == attack
    assert (attack.label, attack.black_box) == ("square", True)


def test_bad_arguments():
    for wrong in ({"queries": 0}, {"p": 0.0}, {"p": 1.5}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Square(Linf(0.1), **wrong)
    with pytest.raises(UserError, match="windows"):
        Square(Linf(0.1)).run(Linear(2), torch.rand(2, 16), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("share", "side"), [(9 / 256, 3), (16 / 256, 5), (1 / 256, 3), (25 / 256, 5), (36 / 256, 7)])
def test_a_window_of_l2_has_an_odd_side(share, side):
    x = torch.full((4, 2, 16, 16), 0.5)
    u = torch.rand(4, 7, generator=torch.Generator().manual_seed(0))
    moved = Square(L2(0.5), 10)._exchange(x, x, u, share) != x
    assert moved[:, 0].flatten(1).sum(1).tolist() == [side * side] * 4
    assert torch.equal(moved[:, 0], moved[:, 1])
