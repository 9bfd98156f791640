"""Where attacks begin, against the formulas."""

import pytest
import torch

from helpers import images
from robustsnn.attacks import L2, Linf, Streams, mi_fgsm, pgd
from robustsnn.attacks.start import AtImage, Boundary, SignNoise, Uniform
from robustsnn.attacks.step import GradientStep, Momentum

X = images(6, (1, 4, 4), low=0.4, high=0.6)


@pytest.mark.parametrize("eps", [0.05, 0.3, 0.0])
def test_boundary_is_a_scaled_draw_from_the_cube_or_the_normal(eps):
    t = 2 * Streams(range(6)).uniform(1, 4, 4) - 1
    assert ((t > 0).float().mean() - 0.5).abs() < 0.2
    wide = Linf(eps, low=-1.0, high=2.0)
    torch.testing.assert_close(Boundary()(wide, X, Streams(range(6))), X + eps * t / t.abs().amax((1, 2, 3), True))
    n = Streams(range(6)).normal(1, 4, 4)
    n = n / n.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(Boundary()(L2(eps, low=-1.0, high=2.0), X, Streams(range(6))), X + eps * n)


def test_the_other_starts():
    assert torch.equal(AtImage()(Linf(0.1), X, None), X)
    n = Streams(range(6)).normal(1, 4, 4)
    torch.testing.assert_close(SignNoise(0.05)(Linf(0.1), X, Streams(range(6))), X + 0.05 * n.sign())
    found = Uniform()(Linf(0.1), X, Streams(range(6)))
    assert 0.09 < (found - X).abs().max() <= 0.1 + 1e-6
    assert (found - X).abs().mean() == pytest.approx(0.05, abs=0.01)


def test_presets_have_the_steps_that_they_say():
    assert pgd(0.1, 10).step == GradientStep(2.5 * 0.1 / 10)
    assert pgd(0.1, 10, alpha="2/255").step == GradientStep(2 / 255)
    assert mi_fgsm(0.1, 5).step == Momentum(0.1 / 5, 1.0)
