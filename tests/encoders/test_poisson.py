"""Bernoulli spikes: their law, and where their random numbers come from."""

import pytest
import torch

from helpers import images
from robustsnn.encoders import Poisson
from robustsnn.ground.seeds import generator, seeded


def test_each_pixel_fires_as_often_as_it_is_bright():
    x = images(4, (1, 8, 8), low=0.0, high=1.0)
    n = 4000
    rate = Poisson(n)(x, generator(0, "poisson")).mean(0)
    # 5 standard deviations of a binomial, for 256 pixels; about one in 7000 such tests would fail by chance.
    assert ((rate - x).abs() <= 5 * (x * (1 - x) / n).sqrt() + 1e-6).all()
    # Steps and pixels are independent: pairs agree as often as products say.
    code = Poisson(n)(torch.full((1, 1, 1, 2), 0.3), generator(1, "poisson")).view(n, 2)
    joint = torch.stack([code[:-1, 0] * code[1:, 0], code[1:, 0] * code[1:, 1]]).mean(1)
    assert ((joint - 0.09).abs() < 5 * (0.09 * 0.91 / n) ** 0.5).all()


def test_black_never_fires_and_white_always():
    x = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(50, 4, 10, 2)
    code = Poisson(200)(x, generator(0))
    assert (code[..., 0] == 0).all()
    assert (code[..., 1] == 1).all()


def test_equal_generators_equal_codes():
    encoder, x = Poisson(6), images(3, low=0.0, high=1.0)
    code = encoder(x, generator(7))
    assert torch.equal(encoder(x, generator(7)), code)
    assert not torch.equal(encoder(x, generator(8)), code)
    assert not torch.equal(code[0], code[1])
    before = torch.get_rng_state()
    encoder(x, generator(7))
    assert torch.equal(torch.get_rng_state(), before)  # with one of its own, the global one stays
    # float64 images meet the same numbers.
    assert torch.equal(encoder(x.double(), generator(7)).float(), code)


def test_draws_from_the_global_generator_by_default():
    encoder, x = Poisson(6), images(3, low=0.0, high=1.0)
    with seeded(3, "draw"):
        first = encoder(x)
        second = encoder(x)
    with seeded(3, "draw"):
        assert torch.equal(encoder(x), first)
    assert not torch.equal(first, second)


def test_straight_through_at_every_step_whatever_was_drawn():
    x = images(3).requires_grad_()
    code = Poisson(6)(x, generator(0))
    upstream = torch.randn(code.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(code, x, upstream)
    torch.testing.assert_close(gradient, upstream.sum(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cpu_generator_gives_a_gpu_the_same_code():
    encoder, x = Poisson(6), images(3, low=0.0, high=1.0)
    assert torch.equal(encoder(x.cuda(), generator(7)).cpu(), encoder(x, generator(7)))
