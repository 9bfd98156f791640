"""The slope of an average over pixels, in closed form."""

import pytest
import torch

from helpers import images
from robustsnn.encoders import (
    BPDA,
    Direct,
    Discretise,
    Frequency,
    Latency,
    Phase,
    Poisson,
    Rate,
    Smoothed,
    rounds,
    smoothing,
)
from robustsnn.ground.errors import UserError

FRONTS = [Phase(8), Phase(6, 6, weighted=False), Latency(4), Rate(6), Discretise(9)]


@pytest.mark.parametrize("front", FRONTS, ids=repr)
def test_forward_is_the_front_end_bit_for_bit(front):
    x = images(2, low=0.0, high=1.0)
    assert torch.equal(Smoothed(front, 8 / 255)(x), front(x))


@pytest.mark.parametrize("front", FRONTS, ids=repr)
def test_slopes_integrate_to_the_mean_over_the_window(front):
    # The integral of the slope from pixel a to b is mean(b) - mean(a), each a mean of front over its window.
    width, a, b, n = 0.07, 0.3, 0.6, 30000
    x = (a + (b - a) * (torch.arange(n, dtype=torch.float64) + 0.5) / n).view(-1, 1, 1, 1).requires_grad_()
    code = Smoothed(front, width)(x)
    window = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1).view(-1, 1, 1, 1) * width
    steps = zip(code.view(-1, n), front(a + window).view(-1, n), front(b + window).view(-1, n), strict=True)
    for step, low, high in steps:
        (slope,) = torch.autograd.grad(step.sum(), x, retain_graph=True)
        assert (slope.mean() * (b - a)).item() == pytest.approx((high.mean() - low.mean()).item(), abs=2e-3)


def test_it_sees_which_digits_can_flip():
    # 129/255 is just above the middle: within 4/255 the highest digit flips, and the second flips against it.
    x = torch.full((1, 1, 1, 1), 129 / 255, requires_grad=True)
    code = Smoothed(Phase(2, 8, weighted=False), 4 / 255)(x)
    slopes = [torch.autograd.grad(step.sum(), x, retain_graph=True)[0].item() for step in code]
    assert slopes == pytest.approx([255 / 8, -255 / 8])
    x = torch.full((1, 1, 1, 1), 80 / 255, requires_grad=True)  # far from both
    (gradient,) = torch.autograd.grad(Smoothed(Phase(2, 8), 4 / 255)(x).sum(), x)
    assert gradient == 0


def test_a_window_has_a_width():
    with pytest.raises(UserError, match="width=0: a finite number above 0 and at most 1"):
        Smoothed(Phase(), 0)


def slope_of(front, x):
    leaf = x.clone().requires_grad_()
    code = front(leaf)
    weight = torch.linspace(1, 2, code.numel()).view_as(code)
    return code.detach(), torch.autograd.grad((code * weight).sum(), leaf)[0]


@pytest.mark.parametrize("front", FRONTS, ids=repr)
def test_the_context_is_the_wrapper_and_leaves_nothing_behind(front):
    x = images(2, low=0.0, high=1.0)
    own = slope_of(front, x)
    model = torch.nn.Sequential(front, torch.nn.Identity())
    with smoothing(model, 4 / 255):
        inside = slope_of(model, x)
    wrapped = slope_of(Smoothed(front, 4 / 255), x)
    assert torch.equal(inside[0], own[0])
    assert torch.equal(inside[1], wrapped[1])
    assert not torch.equal(inside[1], own[1])
    with pytest.raises(ZeroDivisionError), smoothing(front, 4 / 255):
        raise ZeroDivisionError
    with smoothing(front, None):
        assert torch.equal(slope_of(front, x)[1], own[1])
    assert torch.equal(slope_of(front, x)[1], own[1])


def test_only_what_rounds_is_smoothed():
    assert all(rounds(torch.nn.Sequential(front)) for front in FRONTS)
    assert not rounds(Direct())
    assert not rounds(Poisson(3))
    assert not rounds(torch.nn.Sequential())


CHAINS = [
    torch.nn.Sequential(Discretise(4), Phase(8)),
    torch.nn.Sequential(Discretise(9), torch.nn.Sequential(Discretise(5), Latency(4))),
]


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
@pytest.mark.parametrize("held", [False, True])
def test_a_chain_of_roundings_is_one(chain, held):
    x = images(2, low=0.0, high=1.0)
    own = slope_of(chain, x)
    model = torch.nn.Sequential(chain, torch.nn.Identity()) if held else chain
    assert rounds(model)
    with smoothing(model, 0.2):
        inside = slope_of(model, x)
    assert torch.equal(inside[0], own[0])
    assert torch.equal(inside[1], slope_of(Smoothed(chain, 0.2), x)[1])
    assert torch.equal(slope_of(model, x)[1], own[1])


def test_the_encoder_of_a_chain_sees_a_level_jump():
    # 0.4 and 0.6 lie at the two sides of 1/2, where the levels 1/3 and 2/3 meet; the highest digit is that of 1/2.
    x = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    chain = torch.nn.Sequential(Discretise(4), Phase(1, weighted=False))
    with smoothing(chain, 0.1):
        (gradient,) = torch.autograd.grad(chain(x).sum(), x)
    assert gradient.item() == pytest.approx(1 / 0.2)


@pytest.mark.parametrize("behind", [Direct(), Frequency(2, 1), Poisson(3)], ids=repr)
def test_before_another_encoder_only_the_front_end_is_smoothed(behind):
    x, front = images(2, low=0.0, high=1.0), Discretise(4)
    found = []
    for model, width in (
        (torch.nn.Sequential(front, behind), 0.1),
        (torch.nn.Sequential(Smoothed(front, 0.1), behind), None),
    ):
        assert rounds(model) == (width is not None)
        torch.manual_seed(0)
        with smoothing(model, width):
            found.append(slope_of(model, x))
    assert all(map(torch.equal, *found))
    if isinstance(behind, Direct):  # linear and pixelwise: the difference through both is the same
        assert torch.equal(slope_of(Smoothed(torch.nn.Sequential(front, behind), 0.1), x)[1], found[0][1])


@pytest.mark.parametrize(
    "held",
    [
        BPDA(Phase(4), lambda x: x.expand(4, *x.shape)),
        BPDA(Rate(3), Smoothed(Rate(3), 0.2)),
        Smoothed(Phase(8), 4 / 255),
    ],
    ids=["straight", "substitute", "smoothed"],
)
def test_what_is_differentiated_already_is_left_alone(held):
    x, front = images(2, low=0.0, high=1.0), Discretise(4)
    own = slope_of(held, x)[1]
    assert not rounds(held)
    with smoothing(held, 0.1):
        assert torch.equal(slope_of(held, x)[1], own)
    chain = torch.nn.Sequential(front, held)  # and no part of a chain
    assert rounds(chain)
    with smoothing(chain, 0.1):
        inside = slope_of(chain, x)[1]
    assert torch.equal(inside, slope_of(torch.nn.Sequential(Smoothed(front, 0.1), held), x)[1])
