"""The minimum-norm attack: closed-form distances, what `run` returns, accounting."""

import math

import pytest
import torch
from torch import nn

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.threat import L2, Linf, verify
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin
from robustsnn.neurons import ASSG, RGA, STBP, Triangle, neuron_layers

NORMS = [Linf, L2]


def nearest(model, x, y, norm):
    """min_j (z_y - z_j) / ||w_j - w_y||_dual, the data range not active."""
    z = model(x).detach().double()
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for j in range(z.shape[1]):
        w = (model.weight[j] - model.weight[y]).detach().double()
        dual = w.abs().sum(1) if norm is Linf else w.norm(dim=1)
        gap = (z.gather(1, y[:, None])[:, 0] - z[:, j]) / dual
        best = torch.where(y == j, best, torch.minimum(best, gap))
    return best


@pytest.mark.parametrize("kind", NORMS)
def test_two_classes_the_distance_is_margin_over_dual_norm(kind):
    model, x = Linear(2), images(64)
    y = model(x).argmax(1)
    exact = nearest(model, x, y, kind)
    z, norm = MinimumNorm(kind(0.1)).distances(model, x, y)
    assert exact.min() > 0
    torch.testing.assert_close(norm, exact, rtol=0.01, atol=1e-6)
    assert bool((norm >= exact - 1e-6).all())
    torch.testing.assert_close(kind(0.1).distance(z, x), norm)
    assert not bool(correct(model(z), y).any())


@pytest.mark.parametrize("kind", NORMS)
def test_descending_to_every_rival_is_exact_for_many_classes(kind):
    model, x = Linear(5, seed=3), images(64, seed=4)
    y = model(x).argmax(1)
    exact = nearest(model, x, y, kind)
    _, plain = MinimumNorm(kind(0.1)).distances(model, x, y)
    _, norm = MinimumNorm(kind(0.1), targets=9).distances(model, x, y)
    torch.testing.assert_close(norm, exact, rtol=0.01, atol=1e-6)
    assert bool((plain >= exact - 1e-6).all())


@pytest.mark.parametrize("kind", NORMS)
def test_run_breaks_what_the_closed_form_says(kind):
    model, x = Linear(5, seed=3), images(100, seed=4)
    y = model(x).argmax(1)
    exact = nearest(model, x, y, kind)
    eps = exact.median().item()
    attempt = MinimumNorm(kind(eps), targets=4).run(model, x, y)
    verify(kind(eps), attempt.images, x, "test")
    broken = ~correct(model(attempt.images), y)
    assert not bool((broken & (exact > eps + 1e-5)).any())
    assert bool(broken[exact < 0.985 * eps].all())
    # Where nothing is in reach, what is returned is worse than the image.
    assert bool((margin(model(attempt.images), y) >= margin(model(x), y)).all())
    assert bool((margin(model(attempt.images), y) > margin(model(x), y))[~broken].float().mean() > 0.9)


def test_the_data_range_is_respected_and_unreachable_is_infinite():
    class Far(nn.Module):
        """Class 1 wins only where the mean exceeds 1.5, outside the range."""

        def forward(self, x):
            return torch.stack([torch.full((len(x),), 1.5), x.flatten(1).mean(1)], 1)

    x, y = images(4, low=0.0, high=1.0), torch.tensor([0, 0, 1, 0])
    z, norm = MinimumNorm(Linf(0.1)).distances(Far(), x, y)
    assert norm.tolist() == [math.inf, math.inf, 0.0, math.inf]
    assert torch.equal(z, x)
    verify(Linf(0.1), MinimumNorm(Linf(0.1)).run(Far(), x, y).images, x, "test")


def test_a_random_move_leaves_a_plateau_and_flaws_are_counted():
    class Plateau(nn.Module):
        """Zero gradient everywhere; broken a little away from 0.5; NaN gradient for the second half."""

        def forward(self, x):
            far = ((x - 0.5).flatten(1).abs().amax(1) > 0.02).float()
            slope = torch.tensor([0.0, 0.0, torch.nan, torch.nan])[: len(x)]
            hook = x.flatten(1).sum(1, keepdim=True) * 0
            if hook.requires_grad:
                hook.register_hook(lambda g: g + slope[:, None])
            return torch.stack([1 - 2 * far, far * 0], 1) + hook

    x, y = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    attempt = MinimumNorm(Linf(0.05), steps=10).run(Plateau(), x, y)
    assert not bool(correct(Plateau()(attempt.images), y).any())
    assert attempt.zero_gradient.tolist() == [True, True, False, False]
    assert attempt.nan_gradient.tolist() == [False, False, True, True]


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("rule", [None, RGA(), ASSG()])
def test_distances_are_of_misclassified_points_on_a_spiking_network(kind, rule):
    model, x = spiking(), images(12, (1, 8, 8), low=0.0, high=1.0)
    y = model(x).argmax(1)
    rules = [layer.rule for layer in neuron_layers(model)]
    attack = MinimumNorm(kind(0.004), rule, steps=6, restarts=2, targets=2)
    z, norm = attack.distances(model, x, y)
    assert bool(norm.isfinite().any())
    assert [layer.rule for layer in neuron_layers(model)] == rules
    torch.testing.assert_close(attack.threat.distance(z, x)[norm.isfinite()], norm[norm.isfinite()])
    assert not bool(correct(model(z), y)[norm.isfinite()].any())


def test_costs_are_the_true_numbers_of_passes():
    model, x = Counting(4), images(40)
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 4
    for attack in (MinimumNorm(Linf(0.03), steps=7), MinimumNorm(L2(0.05), steps=5, restarts=2, targets=2)):
        model.passes = 0
        attempt = attack.run(model, x, y)
        assert int(attempt.forwards.sum()) == model.passes
        assert attempt.forwards[:3].tolist() == [1, 1, 1]
        assert torch.equal(attempt.images[:3], x[:3])
        descents = attack.restarts * max(1, attack.targets)
        assert int(attempt.backwards.max()) == descents * attack.steps


@pytest.mark.parametrize("kind", NORMS)
def test_eps_zero_no_images_and_repr(kind):
    model, x = spiking(), images(5, (1, 8, 8))
    y = model(x).argmax(1)
    attack = MinimumNorm(kind(0.0), STBP(Triangle(1.0)), steps=3)
    assert torch.equal(attack.run(model, x, y).images, x)
    assert len(attack.run(model, x[:0], y[:0]).images) == 0
    assert len(attack.distances(model, x[:0], y[:0])[1]) == 0
    assert eval(repr(attack)) == attack
    assert attack.label == "fmn/triangle-1"
    assert not attack.black_box


def test_bad_arguments():
    for wrong in ({"steps": 0}, {"restarts": 0}, {"targets": -1}, {"alpha": 0.0}, {"gamma": 1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            MinimumNorm(Linf(0.1), **wrong)


@pytest.mark.parametrize("kind", [Linf, L2])
def test_steps_and_growth_fall_along_the_cosine_of_the_source(kind):
    """One pixel and a boundary far away: nothing is clipped, so each point is the one before and alpha_k."""
    shown = []

    class Far(nn.Module):
        def forward(self, x):
            shown.append(x.detach().clone())
            return torch.cat([torch.full((len(x), 1), 50.0), x.flatten(1)], 1)

    x, y = torch.full((1, 1, 1, 1), 0.25, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    MinimumNorm(kind(0.5), steps=8, alpha=0.02, gamma=0.05).run(Far(), x, y)
    path = torch.cat(shown[1:10]).flatten()  # after the clean image; the last is judged alone
    falls = [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    expected = [0.02 * (0.01 + 0.99 * fall) for fall in falls]
    torch.testing.assert_close(path.diff(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)
