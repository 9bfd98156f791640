"""What every encoder promises, over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import robustsnn.encoders
from helpers import images
from robustsnn.encoders import (
    BPDA,
    Direct,
    Discretise,
    Frames,
    Frequency,
    Latency,
    Phase,
    Poisson,
    Rate,
    Rounding,
    Smoothed,
)
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.models import Encoded, Plan, vgg
from robustsnn.neurons import IF


class Case(NamedTuple):
    """An encoder, and a linear readout of its code that gives the pixel back up to `error`."""

    encoder: nn.Module
    steps: int
    decode: Callable[[Tensor], Tensor]
    error: float
    image: tuple[int, ...] = (2, 8, 8)
    range: tuple[float, float] = (0.0, 1.0)


def first_period(k: int, weighted: bool = True) -> Callable[[Tensor], Tensor]:
    weight = torch.ones(k) if weighted else 0.5 ** torch.arange(1.0, k + 1)
    return lambda code: torch.tensordot(weight.to(code.dtype), code[:k], 1)


def early(steps: int) -> Callable[[Tensor], Tensor]:
    return lambda code: 1 - torch.tensordot(torch.arange(steps).to(code.dtype), code, 1) / (steps - 1)


def mean(code: Tensor) -> Tensor:
    return code.mean(0)


SEVERAL: dict[str, Case] = {
    "direct": Case(Direct(), 1, mean, 0),
    "frames": Case(Frames(3), 3, lambda code: code.transpose(0, 1), 0, (3, 2, 8, 8)),
    "phase": Case(Phase(), 10, first_period(8), 2**-8),
    "phase_bare": Case(Phase(12, 5, weighted=False), 12, first_period(5, False), 2**-5),
    "latency": Case(Latency(6), 6, early(6), 0.5 / 5),
    "latency_2": Case(Latency(2), 2, early(2), 0.5),
    "rate": Case(Rate(7), 7, mean, 0.5 / 7),
    "discretised": Case(nn.Sequential(Discretise(5), Direct()), 1, mean, 0.5 / 4),
    # The first step keeps all frequencies. Later ones may overshoot.
    "modulus": Case(Frequency(4, 1), 4, lambda code: code[0], 0, range=(0.0, 2.0)),
    "real": Case(Frequency(4, 1, "real"), 4, lambda code: code[0], 0, range=(-1.0, 2.0)),
}
# A probability is no code that gives the pixel back; its gradient is as full as any.
RANDOM = {"poisson": Case(Poisson(5), 5, mean, 1)}
ALL = SEVERAL | RANDOM

every = pytest.mark.parametrize("case", ALL.values(), ids=ALL)
deterministic = pytest.mark.parametrize("case", SEVERAL.values(), ids=SEVERAL)


def pictures(case: Case, n: int = 6) -> Tensor:
    """Random images whose corners are black and white."""
    x = images(n, case.image, low=0.0, high=1.0)
    x[..., 0, 0], x[..., -1, -1] = 0, 1
    return x


def test_all_public_encoders_are_in_the_table():
    seen = {type(module) for case in ALL.values() for module in case.encoder.modules()} | {BPDA, Smoothed}
    public = {value for value in vars(robustsnn.encoders).values() if isinstance(value, type)}
    assert public - {Rounding} == seen - {nn.Sequential}


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_range(case, dtype):
    x = pictures(case).to(dtype)
    code = case.encoder(x)
    assert code.shape == (case.steps, 6, *case.image[-3:])
    assert code.dtype == dtype
    assert case.range[0] <= code.min()
    assert code.max() <= case.range[1]


@deterministic
def test_the_code_tells_the_pixel(case):
    x = pictures(case)
    assert (case.decode(case.encoder(x)) - x).abs().max() <= case.error + 1e-6


@every
def test_a_readout_of_the_code_has_all_of_the_gradient_of_the_pixel(case):
    # At black and white pixels too, where clipping or rounding could have a slope of its own.
    x = pictures(case).double().requires_grad_()
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    (gradient,) = torch.autograd.grad((case.decode(case.encoder(x)) * upstream).sum(), x)
    torch.testing.assert_close(gradient, upstream, rtol=1e-9, atol=1e-9)


@every
def test_every_step_has_a_finite_gradient_for_every_image(case):
    for x in (pictures(case), torch.zeros(2, *case.image), torch.ones(2, *case.image)):
        x.requires_grad_()
        code = case.encoder(x)
        upstream = torch.randn(code.shape, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad(code, x, upstream)
        assert gradient.isfinite().all()
        assert (gradient != 0).all()


@every
def test_nan_becomes_nothing_huge(case):
    x = pictures(case)
    x[0] = math.nan
    code = case.encoder(x)
    assert ((code.abs() <= 2) | code.isnan()).all()
    assert code[:, 1:].isfinite().all()


@deterministic
def test_samples_do_not_see_each_other_and_calls_repeat(case):
    x = pictures(case)
    code = case.encoder.train()(x)
    assert torch.equal(case.encoder(x), code)
    assert torch.equal(case.encoder.eval()(x), code)
    alone = torch.cat([case.encoder(one[None]) for one in x], 1)
    # Transforms of batches may add in another order.
    torch.testing.assert_close(alone, code, rtol=0, atol=1e-6 if "Freq" in repr(case.encoder) else 0)


@every
def test_no_state_and_a_repr_that_tells_the_options(case):
    assert not case.encoder.state_dict()
    module = list(case.encoder.modules())[-1]
    assert not list(module.buffers())
    names = [name for name in ("steps", "period", "weighted", "shrink", "part") if hasattr(module, name)]
    assert all(f"{name}=" in repr(module) for name in names)


@every
def test_memory_layout_changes_nothing(case):
    x = pictures(case)
    laid = x.flatten(0, -4).contiguous(memory_format=torch.channels_last).view_as(x) if x.ndim == 5 else x
    if x.ndim == 4:
        laid = x.contiguous(memory_format=torch.channels_last)
        assert not laid.is_contiguous()
    codes = []
    for each in (x, laid):
        torch.manual_seed(0)
        codes.append(case.encoder(each))
    torch.testing.assert_close(codes[0], codes[1], rtol=0, atol=1e-6 if "Freq" in repr(case.encoder) else 0)


@given(st.lists(st.floats(-0.5, 1.5, width=32), min_size=2, max_size=30))
@settings(deadline=None, max_examples=60)
def test_brighter_pixels_are_coded_as_brighter_and_the_outside_as_the_border(values):
    x = torch.tensor(sorted(values)).view(-1, 1, 1, 1)
    for name in ("direct", "phase", "phase_bare", "latency", "rate", "discretised"):
        case = SEVERAL[name]
        decoded = case.decode(case.encoder(x)).flatten()
        assert (decoded.diff() >= -1e-6).all(), name
        if name != "direct":
            assert torch.equal(case.encoder(x), case.encoder(x.clamp(0, 1))), name


@every
def test_a_network_behind_it(case):
    image = case.image
    steps = case.steps if case.steps > 1 else 3
    torch.manual_seed(0)
    plan = Plan(((4,), (6,)), (8,))
    model = vgg(plan, image=image, classes=3, neuron=IF(), steps=steps, encoder=case.encoder).train()
    x = pictures(case)
    with torch.no_grad():
        for _ in range(10):
            model(x)
    model.eval()
    y = torch.arange(6) % 3
    pixels = x.clone().requires_grad_()
    torch.manual_seed(1)
    logits = model(pixels)
    (gradient,) = torch.autograd.grad(cross_entropy(logits, y).sum(), pixels)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 1e-3  # some samples may leave an untrained network silent
    view = Encoded(model)
    torch.manual_seed(1)
    code = view.encode(x)
    assert code.shape == (6, steps, *image[-3:])
    torch.testing.assert_close(view(code), logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Phase(0), r"Phase\(steps=0\): must be an integer >= 1"),
        (lambda: Phase(8, 17), r"Phase\(period=17\): must be an integer in 1 .. 16"),
        (lambda: Latency(1), r"Latency\(steps=1\): must be an integer >= 2"),
        (lambda: Rate(2.0), r"Rate\(steps=2.0\): must be an integer"),
        (lambda: Poisson(True), r"Poisson\(steps=True\): must be an integer"),
        (lambda: Discretise(1), r"Discretise\(levels=1\): must be an integer >= 2"),
        (lambda: Frequency(4, 0), r"Frequency\(shrink=0\): must be a number > 0"),
        (lambda: Frequency(4, part="phase"), r"Frequency\(part='phase'\): allowed are modulus, real"),
        (lambda: Frequency(4)(torch.zeros(1, 1, 8, 8)), r"leaves nothing of 8x8 images .* a shrink below 1.33333"),
        (lambda: Frames(3)(torch.zeros(2, 4, 2, 8, 8)), r"Frames\(steps=3\) .*\(2, 4, 2, 8, 8\); needed is \[B, 3,"),
        (lambda: Frames(3)(torch.zeros(2, 3, 8, 8)), r"needed is \[B, 3, C, H, W\]"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
