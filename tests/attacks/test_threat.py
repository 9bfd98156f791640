"""Geometry of threats: projections, steepest directions, distances, checks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.attacks import Flips
from robustsnn.attacks.grey import budget, nearest
from robustsnn.attacks.start import AtImage, Boundary, SignNoise, Uniform
from robustsnn.attacks.threat import L2, TOLERANCE, Linf, check_images, verify
from robustsnn.ground.errors import UserError

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
    assert bool((threat.distance(p, x) <= eps + (TOLERANCE if kind is L2 else 0)).all())
    assert p.min() >= 0
    assert p.max() <= 1
    assert torch.equal(threat.project(p, x), p)
    inner = threat.project(x + (p - x) * 0.5, x)
    torch.testing.assert_close(inner, x + (p - x) * 0.5, rtol=0, atol=1e-7)


SIZES = [0.0, *(k / 255 for k in (1, 2, 8, 16, 40, 255)), math.pi / 100, math.sqrt(2) / 1000, 1e-9, 0.5, 1 / 3]


def pictures(seed, dtype=torch.float32):
    """Random entries, those of 8 bits, and the ends of the range."""
    g = torch.Generator().manual_seed(seed)
    random = torch.rand(4, 400, generator=g, dtype=dtype)
    shades = torch.arange(256, dtype=dtype).expand(4, 256) / 255
    return torch.cat([random, 1e-6 * random, shades, shades.round()], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", SIZES)
def test_linf_never_leaves_its_ball_in_float64_and_reaches_as_far_as_its_precision_goes(eps, dtype):
    threat, x = Linf(eps), pictures(1, dtype)
    lowest, highest = threat.bounds(x)
    assert bool(((lowest <= x) & (x <= highest)).all())
    for end, far in ((lowest, -1.0), (highest, 2.0)):
        assert end.dtype == dtype
        assert bool(((end.double() - x.double()).abs() <= eps).all())  # no tolerance
        exact = (x.double() + eps * (far - 0.5) / 1.5).clamp(0, 1)
        assert bool(((end.double() - exact).abs() <= 2 * torch.finfo(dtype).eps).all())
        assert torch.equal(threat.project(torch.full_like(x, far), x), end)
    z = 4 * torch.rand(x.shape, generator=torch.Generator().manual_seed(2), dtype=dtype) - 2
    for point in (threat.project(z, x), threat.project(x + eps * z.sign(), x), threat.sample(x, None)):
        assert bool((threat.distance(point, x) <= eps).all())
        assert torch.equal(threat.project(point, x), point)
        verify(threat, point, x, "projection")
    assert eps or torch.equal(threat.project(z, x), x)


@pytest.mark.parametrize("span", [(-1.0, 1.0), (-2.5, 0.3), (0.0, 255.0)])
def test_linf_is_exact_in_other_ranges_too(span):
    low, high = span
    x = (low + (high - low) * pictures(3)).clamp(low, high)
    for eps in (1 / 3, math.pi / 100, 0.5, 0.1):
        threat = Linf(eps, low, high)
        for end in threat.bounds(x):
            assert bool((threat.distance(end, x) <= eps).all())
            verify(threat, end, x, "an end")


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1), Flips(1), Flips(0), Linf(8 / 255, levels=255)], ids=repr)
def test_bounds_hold_all_points(threat):
    x = pictures(4).round() if isinstance(threat, Flips) else nearest(pictures(4), 255)
    lowest, highest = threat.bounds(x)
    for seed in range(3):
        z = threat.sample(x, torch.Generator().manual_seed(seed))
        assert bool(((lowest <= z) & (z <= highest)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [255, 16])
@pytest.mark.parametrize("eps", [*SIZES, 0.49 / 255, 8.6 / 255, math.nextafter(8 / 255, 0)])
def test_points_on_grey_levels_are_the_files_that_differ_by_whole_levels(eps, levels, dtype):
    threat = Linf(eps, levels=levels)
    k = torch.arange(levels + 1).expand(4, levels + 1)
    x, most = k.to(dtype) / levels, max(j for j in range(levels + 1) if j / levels <= eps)
    lowest, highest = threat.bounds(x)
    assert torch.equal(lowest, (k - most).clamp_min(0).to(dtype) / levels)
    assert torch.equal(highest, (k + most).clamp_max(levels).to(dtype) / levels)
    assert torch.equal(threat.project(x, x), x)
    z = 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(2), dtype=dtype) - 0.5
    for point in (threat.project(z, x), threat.sample(x, None)):
        shade = (point * levels).round()
        assert torch.equal(shade / levels, point)
        assert bool(((shade - k).abs() <= most).all())
        assert torch.equal(threat.project(point, x), point)
        assert bool((verify(threat, point, x, "a file") == (shade - k).abs().amax(1).double() / levels).all())
    # The nearest point of all that are allowed.
    gap = (threat.project(z, x) - z).abs()
    for shift in range(-most, most + 1):
        other = (k + shift).clamp(0, levels).to(dtype) / levels
        assert bool((gap <= (other - z).abs() + 1e-6).all())


@given(k=st.integers(0, 65535), levels=st.integers(1, 65535))
def test_whole_levels_are_counted_without_rounding(k, levels):
    k = min(k, levels)
    assert budget(k / levels, levels) == k
    assert k == 0 or budget(math.nextafter(k / levels, 0), levels) == k - 1


def test_points_and_images_off_the_grid_are_refused():
    x, threat = torch.full((2, 1, 2, 2), 100 / 255), Linf(8 / 255, levels=255)
    with pytest.raises(RuntimeError, match="planted"):
        verify(threat, x + 0.5 / 255, x, "planted")
    y = torch.zeros(2, dtype=torch.int64)
    check_images(x, y, levels=255)
    with pytest.raises(UserError, match=r"round the images first, \(x \* 255\).round\(\) / 255"):
        check_images(x + 0.5 / 255, y, levels=255)


@pytest.mark.parametrize(
    "wrong", [{"levels": 0}, {"levels": True}, {"levels": 2.5}, {"levels": 255, "low": -1.0}, {"space": "encoded"}]
)
def test_grids_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match="levels="):
        Linf(**{"eps": 0.1, "levels": 255, **wrong})


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
    for threat in (Linf(8 / 255), L2(0.5), Linf(3.0, low=-5.0, high=5.0), Linf(8 / 255, levels=255)):
        again = eval(repr(threat))
        assert type(again) is type(threat)
        assert again.eps == pytest.approx(threat.eps, abs=1e-6)
        assert (again.low, again.high, again.levels) == (threat.low, threat.high, threat.levels)


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
    with pytest.raises(UserError, match="hold NaN"):
        check_images(torch.full((2, 1, 2, 2), float("nan")), y)
    with pytest.raises(UserError, match="uint8"):
        check_images(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), y)
    with pytest.raises(UserError, match="int64"):
        check_images(torch.zeros(2, 1, 2, 2), y.float())
    check_images(torch.full((2, 1, 2, 2), -1.8), y, low=-2, high=2)
