"""Random search: what is drawn, what is kept, what it costs."""

import pytest
import torch
from torch import nn

from helpers import Counting, Linear, images
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.sparse import Flips
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.threat import L2, Linf
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin

NORMS = [Linf, L2]
KINDS = ["uniform", "gaussian", "corners"]


def drawn(kind, threat, n=400, shape=(2, 6, 6)):
    x = torch.full((n, *shape), 0.5)
    return (RandomSearch(threat, kind).draw(x, Streams(range(n))) - x).flatten(1)


def test_corners_are_corners():
    d = drawn("corners", Linf(0.1))
    torch.testing.assert_close(d.abs(), torch.full_like(d, 0.1))
    assert d.sign().mean().abs() < 0.03
    d = drawn("corners", L2(0.1))
    torch.testing.assert_close(d.norm(dim=1), torch.full((400,), 0.1))


def test_gaussian_noise_has_the_documented_spread():
    d = drawn("gaussian", Linf(0.1))
    inner = (d.abs() < 0.0999).float().mean().item()
    assert inner == pytest.approx(0.9545, abs=0.01)  # within two standard deviations
    assert d[d.abs() < 0.05].abs().mean().item() == pytest.approx(0.05 * 0.4600, rel=0.03)  # E[|n| : |n| < 1]
    d = drawn("gaussian", L2(0.1))
    assert 0.3 < (d.norm(dim=1) < 0.09999).float().mean() < 0.7
    assert d.norm(dim=1).min() > 0.05


def test_uniform_is_the_threat_itself():
    for threat in (Linf(0.1), L2(0.1), Flips(3)):
        x = torch.zeros(6, 1, 4, 4)
        assert torch.equal(RandomSearch(threat).draw(x, Streams(range(6))), threat.sample(x, Streams(range(6))))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_of_the_queried_points_is_returned(norm, kind):
    queried = []

    class Recording(Linear):
        def forward(self, x):
            queried.append(x.clone())
            return super().forward(x)

    model, x = Recording(3), images(8)
    y = model(x).argmax(1)
    queried.clear()
    attempt = RandomSearch(norm(0.002), kind, queries=20).run(model, x, y)
    assert len(queried) == 21
    assert bool(correct(model(attempt.images), y).all())  # none was broken, so all saw all points
    values = torch.stack([margin(model(z), y) for z in queried[1:21]])
    assert torch.equal(margin(model(attempt.images), y), values.amax(0))
    assert len({z.numpy().tobytes() for z in queried[1:21]}) == 20


def test_it_finds_what_has_no_gradient():
    class Steps(nn.Module):
        """Rounds its input, so that no gradient passes."""

        def forward(self, x):
            level = (x.flatten(1) * 20).round().mean(1)
            return torch.stack([torch.full_like(level, 10.01), level], 1)

    x, y = torch.full((20, 1, 4, 4), 0.49), torch.zeros(20, dtype=torch.int64)
    assert bool(correct(Steps()(x), y).all())
    for kind in KINDS:
        attempt = RandomSearch(Linf(0.1), kind).run(Steps(), x, y)
        assert not bool(correct(Steps()(attempt.images), y).any())


def test_costs_are_the_true_numbers_of_passes():
    model, x = Counting(3), images(40)
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 3
    model.passes = 0
    attempt = RandomSearch(Linf(0.04), queries=9).run(model, x, y)
    assert int(attempt.forwards.sum()) == model.passes
    assert attempt.forwards[:3].tolist() == [1, 1, 1]
    assert torch.equal(attempt.images[:3], x[:3])
    assert not bool(attempt.backwards.any())
    standing = correct(model(attempt.images), y)
    assert 0 < standing.sum() < 37
    assert attempt.forwards[standing].unique().tolist() == [10]


@pytest.mark.parametrize("kind", KINDS)
def test_eps_zero_no_images_and_repr(kind):
    model, x = Linear(3), images(5)
    y = model(x).argmax(1)
    for norm in NORMS:
        attack = RandomSearch(norm(0.0), kind, queries=3)
        torch.testing.assert_close(attack.run(model, x, y).images, x, rtol=0, atol=1e-7)
        assert len(attack.run(model, x[:0], y[:0]).images) == 0
        assert eval(repr(attack)) == attack
        assert (attack.label, attack.black_box) == (f"random-{kind}", True)


def test_bad_arguments():
    with pytest.raises(UserError, match="queries=0"):
        RandomSearch(Linf(0.1), queries=0)
    with pytest.raises(UserError, match="allowed is 'uniform' or"):
        RandomSearch(Linf(0.1), "normal")
    with pytest.raises(UserError, match="not defined for L0"):
        RandomSearch(Flips(3), "corners")
