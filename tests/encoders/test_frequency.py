"""The low-pass per step, against waves whose answer is known."""

import math

import pytest
import torch

from helpers import images
from robustsnn.encoders import Frequency


@pytest.mark.parametrize(
    ("steps", "size", "radii"),
    [
        (8, 32, [16, 14, 12, 10, 8, 6, 4, 2]),
        (4, 32, [16, 14, 12, 10]),
        (4, 64, [32, 30, 28, 26]),
    ],
)
def test_published_radii(steps, size, radii):
    assert Frequency(steps).radii(size, size) == radii


def test_radii_of_other_sizes():
    assert Frequency(4, 1).radii(8, 8) == [4, 3, 2, 1]
    assert Frequency(8, 0.5).radii(8, 8) == [4, 4, 3, 3, 2, 2, 1, 1]
    assert Frequency(3).radii(7, 12) == [6, 4, 2]
    assert Frequency(1).radii(5, 5) == [3]


def wave(f, n, axis):
    """0.5 + 0.5 cos(2 pi f i / n) along one axis."""
    line = 0.5 + 0.5 * torch.cos(2 * math.pi * f * torch.arange(n, dtype=torch.float64) / n)
    return line.view(-1, 1).expand(n, n)[None, None] if axis == 0 else line.expand(n, n)[None, None]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("f", [1, 2, 3, 4, 5])
def test_waves_pass_below_the_radius_alone(f, axis):
    n = 12
    x = wave(f, n, axis)
    encoder = Frequency(6, 1, "real")
    for radius, code in zip(encoder.radii(n, n), encoder(x), strict=True):
        share = 1.0 if f < radius else 0.5 if f == radius else 0.0
        torch.testing.assert_close(code, 0.5 + share * (x - 0.5))
    # The modulus of 0.5 + 0.25 exp(i phi), where half of the wave is left.
    code = Frequency(6, 1)(x)[6 - f]
    torch.testing.assert_close(code, (0.25 + 0.0625 + 0.25 * (2 * x - 1)).sqrt())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 7), (2, 6, 9)])
def test_the_first_step_is_the_image(shape):
    x = images(3, shape, low=0.0, high=1.0)
    for part in ("modulus", "real"):
        assert torch.equal(Frequency(3, 1, part)(x)[0], x)


def test_real_part_is_linear_and_keeps_the_mean():
    x, z = images(2, (3, 9, 9)).double(), images(2, (3, 9, 9), seed=1).double()
    for part in ("modulus", "real"):
        code = Frequency(4, 1, part)
        torch.testing.assert_close(code(x * 0.3), 0.3 * code(x))
        if part == "real":
            torch.testing.assert_close(code(x + z), code(x) + code(z))
            torch.testing.assert_close(code(x).mean((-2, -1)), x.mean((-2, -1)).expand(4, 2, 3))


@pytest.mark.parametrize("part", ["modulus", "real"])
def test_the_gradient_is_exact(part):
    x = images(1, (1, 6, 6), low=0.1, high=0.9).double().requires_grad_()
    assert torch.autograd.gradcheck(Frequency(3, 1, part), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("part", ["modulus", "real"])
def test_half_precision_is_rounded_at_the_end_alone(part, dtype):
    x = images(2, (1, 6, 6), low=0.0, high=1.0).to(dtype).requires_grad_()
    code = Frequency(3, 1, part)(x)
    assert code.dtype == dtype
    assert torch.equal(code, Frequency(3, 1, part)(x.float()).to(dtype))
    (gradient,) = torch.autograd.grad(code.sum(), x)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


def test_a_modulus_of_zero_has_a_finite_gradient():
    x = torch.zeros(2, 1, 8, 8, requires_grad=True)
    code = Frequency(4, 1)(x)
    (gradient,) = torch.autograd.grad(code.sum(), x)
    # The first step is the image, with a slope of 1; the others stop at a modulus of zero.
    assert torch.equal(gradient, torch.ones_like(x))
