"""Geometry of threats: projections, steepest directions, distances, checks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.attacks.start import AtImage, Boundary, SignNoise, Uniform
from robustsnn.attacks.threat import L2, TOLERANCE, Linf, check_images, verify
from robustsnn.errors import UserError

THREATS = [Linf, L2]
radii = st.floats(0, 0.9)
seeds = st.integers(0, 2**20)


def draw(seed, shape=(3, 2, 4, 4)):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=g), 4 * torch.rand(shape, generator=g) - 2, g


@pytest.mark.parametrize("kind", THREATS)
@settings(max_examples=40, deadline=None)
@given(eps=radii, seed=seeds)
def test_project_lands_inside_keeps_inner_points_and_is_idempotent(kind, eps, seed):
    threat = kind(eps)
    x, z, _ = draw(seed)
    p = threat.project(z, x)
    assert bool((threat.distance(p, x) <= eps + TOLERANCE).all())
    assert p.min() >= 0
    assert p.max() <= 1
    assert torch.equal(threat.project(p, x), p)
    inner = threat.project(x + (p - x) * 0.5, x)
    torch.testing.assert_close(inner, x + (p - x) * 0.5, rtol=0, atol=1e-7)


def test_linf_projection_is_the_nearest_point():
    x, z, _ = draw(1)
    p = Linf(0.1).project(z, x)
    for other in (Linf(0.1).project(torch.rand_like(z), x) for _ in range(50)):
        assert bool(((p - z).flatten(1).norm(dim=1) <= (other - z).flatten(1).norm(dim=1) + 1e-6).all())


@pytest.mark.parametrize("kind", THREATS)
@settings(max_examples=40, deadline=None)
@given(seed=seeds, scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e6]))
def test_steepest_beats_every_displacement_of_its_size(kind, seed, scale):
    threat = kind(0.5)
    x, z, _ = draw(seed)
    gradient = z * scale
    step = threat.steepest(gradient, 0.3)
    torch.testing.assert_close(
        threat.distance(x + step, x), torch.full((3,), 0.3, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )
    gain = (gradient * step).double().flatten(1).sum(1)
    dual = gradient.double().abs().flatten(1).sum(1) if kind is Linf else gradient.double().flatten(1).norm(dim=1)
    torch.testing.assert_close(gain, 0.3 * dual, rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", THREATS)
def test_steepest_of_zero_gradient_is_zero(kind):
    assert torch.equal(kind(0.5).steepest(torch.zeros(2, 1, 2, 2), 1.0), torch.zeros(2, 1, 2, 2))


@pytest.mark.parametrize("kind", THREATS)
@pytest.mark.parametrize("start", [AtImage(), Uniform(), Boundary(), SignNoise(0.05)], ids=repr)
def test_starts_lie_inside_and_repeat_under_the_generator(kind, start):
    threat, (x, _, _) = kind(0.1), draw(3)
    if isinstance(start, SignNoise) and kind is L2:
        start = SignNoise(0.01)
    a, b = (start(threat, x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b)
    verify(threat, a, x, start)
    if not isinstance(start, AtImage):
        assert not torch.equal(a, start(threat, x, torch.Generator().manual_seed(6)))


@pytest.mark.parametrize("kind", THREATS)
def test_boundary_start_touches_the_sphere(kind):
    x = torch.full((4, 1, 5, 5), 0.5)
    z = Boundary()(kind(0.2), x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(kind(0.2).distance(z, x), torch.full((4,), 0.2, dtype=torch.float64), rtol=1e-5, atol=0)


def test_uniform_fills_the_cube():
    x = torch.full((2000, 1, 1, 2), 0.5)
    z = Linf(0.2).sample(x, torch.Generator().manual_seed(0)) - 0.5
    # Mean 0 and variance eps^2 / 3 of the uniform distribution on [-eps, eps]; 5 standard errors.
    assert abs(z.mean()) < 5 * 0.2 / math.sqrt(3 * z.numel())
    assert z.var().item() == pytest.approx(0.2**2 / 3, rel=0.1)


@pytest.mark.parametrize("bad", [8, 8.0, -0.1, float("nan"), 1.5])
def test_linf_refuses_radii_outside_the_data_range(bad):
    with pytest.raises(UserError, match="eps"):
        Linf(bad)


def test_a_radius_in_grey_levels_gets_the_likely_intent():
    with pytest.raises(UserError, match="eps=8/255"):
        Linf(8)


def test_repr_is_its_constructor_call():
    for threat in (Linf(8 / 255), L2(0.5), Linf(3.0, low=-5.0, high=5.0)):
        again = eval(repr(threat))
        assert type(again) is type(threat)
        assert again.eps == pytest.approx(threat.eps, abs=1e-6)
        assert (again.low, again.high) == (threat.low, threat.high)


def test_verify_catches_every_breach():
    x = torch.full((2, 1, 2, 2), 0.95)
    threat = Linf(0.1)
    for z in (x - 0.11, x + 0.06, x * float("nan"), x[:1]):
        with pytest.raises(RuntimeError, match="planted"):
            verify(threat, z, x, "planted")
    assert verify(threat, x - 0.05, x, "fine").tolist() == pytest.approx([0.05, 0.05], abs=1e-6)


def test_check_images_names_what_is_wrong():
    y = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UserError, match="normalise inside the model"):
        check_images(torch.full((2, 1, 2, 2), -1.8), y)
    with pytest.raises(UserError, match="normalise inside the model"):
        check_images(torch.full((2, 1, 2, 2), float("nan")), y)
    with pytest.raises(UserError, match="uint8"):
        check_images(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), y)
    with pytest.raises(UserError, match="int64"):
        check_images(torch.zeros(2, 1, 2, 2), y.float())
    check_images(torch.full((2, 1, 2, 2), -1.8), y, low=-2, high=2)
