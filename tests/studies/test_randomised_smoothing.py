"""Randomised smoothing: closed forms of linear networks, coverage by simulation, and no image certified and broken."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from helpers import images, spiking
from robustsnn.encoders.rate import Poisson
from robustsnn.ground.errors import UserError
from robustsnn.models import Plan, vgg
from robustsnn.neurons import IF
from robustsnn.studies.smoothing.measure import smoothing
from robustsnn.studies.smoothing.record import certified_radius, rejected

SIGMA = 0.25


class Half(nn.Module):
    """Class 1 on one side of a plane through the middle of the cube, `distance` [B] away from it in L2."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        direction = torch.randn(16, generator=torch.Generator().manual_seed(seed))
        self.direction = nn.Parameter(direction / direction.norm())

    def distance(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.direction.detach()

    def forward(self, x: Tensor) -> Tensor:
        side = (x.flatten(1) - 0.5) @ self.direction
        return 20 * torch.stack([-side, side], 1)


def at(*distances: float) -> Tensor:
    """Images at these distances from the plane."""
    direction = Half().direction.detach()
    return (0.5 + torch.tensor(distances)[:, None] * direction).view(-1, 1, 4, 4)


def test_of_a_linear_network_the_certificate_tends_to_the_distance_from_its_boundary():
    away = (0.1, 0.25, 0.4)
    errors = []
    for draws in (100, 10_000):
        (level,) = smoothing(
            Half(), (at(*away), torch.ones(3).long()), draws=draws, radii=(0.1,), batch_size=10_000
        ).levels
        errors.append(np.array(away) - level.certain)
    assert (errors[1] > 0).all()  # from below
    assert (errors[1] < 0.02).all()
    assert (errors[0] > errors[1]).all()


def test_a_certificate_is_wrong_as_often_as_is_said_at_most():
    """At p = Phi(d / sigma) the true radius is d: how often is a larger one certified?"""
    draws, confidence = 80, 0.9
    for distance in (0.05, 0.2, 0.4):
        hits = np.random.default_rng(0).binomial(draws, norm.cdf(distance / SIGMA), 20_000)
        table = np.array([certified_radius(k, draws, SIGMA, confidence) for k in range(draws + 1)])
        wrong = (table[hits] > distance).mean()
        assert wrong <= 1 - confidence + 0.005
        assert wrong > 0.02  # and the bound is not so wide that this could not fail


def test_another_class_is_settled_on_wrongly_as_seldom():
    """Both are equally likely, so neither is likelier."""
    votes = np.random.default_rng(0).multinomial(200, (0.4, 0.4, 0.2), 5000)
    wrong = np.mean([rejected(own, other, 0.9) for own, other, _ in votes])
    assert 0.05 < wrong <= 0.105
    assert rejected(30, 100, 0.999)
    assert not rejected(0, 0, 0.999)


def test_half_of_the_votes_is_no_certificate():
    assert certified_radius(55, 100, SIGMA, 0.999) == 0
    assert certified_radius(100, 100, SIGMA, 0.999) == pytest.approx(SIGMA * norm.ppf(0.001**0.01))


def test_attacks_break_a_linear_network_beyond_its_distance_and_not_before():
    """There g = f and the worst point is known: straight to the plane."""
    x, y = at(0.1, 0.3, -0.1, 0.0), torch.tensor([1, 1, 1, 1])
    (level,) = smoothing(Half(), (x, y), draws=2000, radii=(0.8, 2.0)).levels
    assert level.radii == (0, 0.2, 0.5)
    assert level.broken.tolist() == [[False, True, True], [False, False, True], [True, True, True], [False, True, True]]
    assert level.certain[2] == 0  # certain, but of the wrong class
    assert level.abstained.tolist() == [False, False, False, True]
    assert level.certified(0.2).tolist() == [False, True, False, False]
    assert not level.contradictions


def test_no_image_is_both_certified_and_broken():
    """Of a spiking network too, whose certificates come from its votes alone; attacks go for all images."""
    model = spiking()
    x = images(10, (1, 8, 8), low=0, high=1)
    with torch.no_grad():
        y = model(x).argmax(1)
    found = smoothing(model, (x, y), sigma=(0.05, 0.1), draws=50, radii=(0.5, 4.0))
    for level in found.levels:
        certified = np.stack([level.certified(radius) for radius in level.radii], 1)
        assert certified.any()
        assert level.broken.any()
        assert not (certified & level.broken).any()
        assert (certified.mean(0) <= 1 - level.broken.mean(0)).all()
        assert (np.diff(level.broken.astype(int)) >= 0).all()
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_certificate_above_what_is_true_is_seen():
    """A planted fault, radii three times too large: images are broken where certified."""
    (level,) = smoothing(Half(), (at(0.15, 0.2), torch.ones(2).long()), draws=1000, radii=(1.0,)).levels
    assert not level.contradictions
    level.certain[:] *= 3
    assert level.contradictions == 2
    assert level.to_dict()["contradictions"] == 2


class Holed(Half):
    """Wrong at images of the grid k/255, and nowhere else."""

    def forward(self, x: Tensor) -> Tensor:
        grid = ((255 * x - (255 * x).round()).abs().flatten(1).amax(1) < 1e-3)[:, None]
        return torch.where(grid, -super().forward(x), super().forward(x))


def test_it_is_about_the_network_under_noise_and_not_about_the_network():
    x, y = (255 * at(0.3, 0.4)).round() / 255, torch.tensor([1, 1])
    assert Holed()(x).argmax(1).tolist() == [0, 0]
    (level,) = smoothing(Holed(), (x, y), draws=500, radii=(0.5,)).levels
    assert (level.certain > 0.2).all()
    assert not level.broken.any()


def test_neighbours_and_batches_change_nothing_and_random_networks_are_certified_too():
    torch.manual_seed(0)
    random = vgg(Plan(((4,),), ()), image=(1, 8, 8), classes=4, neuron=IF(), steps=2, encoder=Poisson(2)).eval()
    x, y = images(3, (1, 8, 8)), torch.arange(3)
    for model in (spiking(), random):
        state = torch.get_rng_state()
        whole = smoothing(model, (x, y), draws=50, radii=(1.0,)).levels[0]
        assert torch.equal(state, torch.get_rng_state())
        part = smoothing(model, (x[:2], y[:2]), draws=50, radii=(1.0,)).levels[0]
        assert np.array_equal(whole.certain[:2], part.certain)
        assert np.array_equal(whole.broken[:2], part.broken)
    same = smoothing(spiking(), (x, y), draws=50, radii=(1.0,), batch_size=7).levels[0]
    assert np.array_equal(same.certain, smoothing(spiking(), (x, y), draws=50, radii=(1.0,)).levels[0].certain)


@pytest.mark.parametrize(
    "options",
    [{"sigma": ()}, {"sigma": (0.5, 0.25)}, {"sigma": (0.0,)}, {"radii": (0.0,)}, {"draws": 4}, {"confidence": 0.5}],
)
def test_wrong_requests_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        smoothing(Half(), (at(0.1), torch.ones(1).long()), **options)
