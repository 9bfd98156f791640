"""Surrogates: a slope is the derivative of its primitive, even, non-negative and, but for Identity, of mass one."""

from __future__ import annotations

import dataclasses
import inspect
import math

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_neurons import NORMALISED, SURROGATES

from robustsnn.cli import main
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.ground.errors import UserError
from robustsnn.names.parsing import parse_config
from robustsnn.neurons import (
    STBP,
    Arctan,
    Exponential,
    Gaussian,
    Identity,
    Rectangle,
    Sigmoid,
    Surrogate,
    Triangle,
    neuron_layers,
    surrogate,
)
from robustsnn.runs.build import build_model

# Where the support ends, in units of the width.
EDGES = {Triangle: 1.0, Rectangle: 0.5}
PEAKS = {
    Triangle: lambda width: 1 / width,
    Rectangle: lambda width: 1 / width,
    Sigmoid: lambda sharpness: sharpness / 4,
    Arctan: lambda sharpness: sharpness / 2,
    Gaussian: lambda sharpness: sharpness / math.sqrt(2 * math.pi),
    Exponential: lambda sharpness: sharpness / 2,
}

parameters = st.floats(0.1, 10)
every_kind = pytest.mark.parametrize("kind", NORMALISED, ids=lambda kind: kind.__name__)
few = settings(deadline=None, max_examples=25)


def test_every_surrogate_of_the_module_is_tested_here():
    assert {*SURROGATES} == {*PEAKS, Identity}


def scale(kind: type, parameter: float) -> float:
    """The length over which the primitive rises."""
    return parameter if kind in EDGES else 1 / parameter


def grid(kind: type, parameter: float, reach: float, points: int) -> torch.Tensor:
    return torch.linspace(-reach, reach, points, dtype=torch.float64) * scale(kind, parameter)


@every_kind
@few
@given(parameter=parameters, u=st.lists(st.floats(-20, 20), min_size=1, max_size=30))
def test_slope_is_the_derivative_of_the_primitive(kind, parameter, u):
    member = kind(parameter)
    u = torch.tensor(u, dtype=torch.float64)
    if kind in EDGES:
        edge = EDGES[kind] * parameter
        u = u[(u.abs() - edge).abs() > 1e-9 * edge]
    if kind is Exponential:  # smooth at 0, but autograd differentiates |u| there as 0
        u = u[u != 0]
    u.requires_grad_()
    (derivative,) = torch.autograd.grad(member.primitive(u).sum(), u)
    torch.testing.assert_close(member.slope(u.detach()), derivative, rtol=1e-9, atol=1e-9)


@every_kind
@few
@given(parameter=parameters)
def test_slope_has_mass_one(kind, parameter):
    member = kind(parameter)
    reach = 20.0
    u = grid(kind, parameter, reach, 40_001)
    rise = (member.primitive(u[-1]) - member.primitive(u[0])).item()
    # The trapezoid rule is off by about one cell of the grid where the slope jumps.
    assert torch.trapezoid(member.slope(u), u).item() == pytest.approx(rise, abs=2e-3)
    ends = member.primitive(torch.tensor([-math.inf, math.inf], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-15)
    if kind is Arctan:  # tails of 1/u^2: the closed form of what lies outside
        assert rise == pytest.approx(1 - 2 / math.pi * math.atan(2 / (math.pi * reach)), abs=1e-12)
    else:
        assert rise == pytest.approx(1, abs=1e-8)


@every_kind
@few
@given(parameter=parameters, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_primitive_rises_from_zero_to_one_through_a_half(kind, parameter, dtype):
    member = kind(parameter)
    u = grid(kind, parameter, 5, 1001).to(dtype)
    rounding = 2 * torch.finfo(dtype).eps
    p = member.primitive(u)
    assert p.dtype == dtype
    assert p.min() >= 0
    assert p.max() <= 1
    assert p.diff().min() >= -rounding
    assert p[-1] - p[0] > 0.7
    assert member.primitive(torch.zeros(1, dtype=dtype)).item() == 0.5
    torch.testing.assert_close(
        p + p.flip(0), torch.ones_like(p), rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12
    )


@every_kind
@few
@given(parameter=parameters)
def test_slope_is_even_non_negative_and_peaks_at_zero(kind, parameter):
    member = kind(parameter)
    u = grid(kind, parameter, 5, 1001)
    slope = member.slope(u)
    peak = PEAKS[kind](parameter)
    torch.testing.assert_close(slope, member.slope(-u), rtol=0, atol=1e-13 * peak)
    assert slope.min() >= 0
    assert member.slope(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(peak, rel=1e-12)
    assert slope.max().item() <= peak * (1 + 1e-12)
    assert slope[0] < 0.1 * peak


@pytest.mark.parametrize("kind", EDGES, ids=lambda kind: kind.__name__)
@few
@given(parameter=parameters, beyond=st.floats(1e-5, 10), sign=st.sampled_from([-1.0, 1.0]))
def test_finite_support_means_exactly_zero_outside(kind, parameter, beyond, sign):
    edge = EDGES[kind] * parameter
    for dtype in (torch.float32, torch.float64):
        outside = torch.tensor([sign * edge * (1 + beyond)], dtype=dtype)
        assert kind(parameter).slope(outside).item() == 0
        inside = torch.tensor([sign * edge * 0.99], dtype=dtype)
        assert kind(parameter).slope(inside).item() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("kind", SURROGATES, ids=lambda kind: kind.__name__)
def test_shape_and_dtype_stay(kind, dtype, shape):
    u = torch.zeros(shape, dtype=dtype)
    for value in (kind().primitive(u), kind().slope(u)):
        assert value.shape == u.shape
        assert value.dtype == dtype


@every_kind
@pytest.mark.parametrize("bad", [0, 0.0, -1.0, math.nan, math.inf, -math.inf])
def test_parameters_that_are_not_positive_numbers_are_refused(kind, bad):
    with pytest.raises(UserError, match=f"{kind.__name__}.*: allowed is a number above 0"):
        kind(bad)


@every_kind
def test_a_surrogate_is_a_value(kind):
    member = kind(2.0)
    assert isinstance(member, Surrogate)
    assert member == kind(2)
    assert hash(member) == hash(kind(2))
    assert member != kind(3.0)
    assert eval(repr(member), {kind.__name__: kind}) == member
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(member, dataclasses.fields(kind)[0].name, 1.0)


@few
@given(u=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_identity_is_one_everywhere(u):
    """The derivative of its primitive, like the others, but without parameter or mass."""
    u = torch.tensor(u, dtype=torch.float64).requires_grad_()
    (derivative,) = torch.autograd.grad(Identity().primitive(u).sum(), u)
    assert torch.equal(Identity().slope(u.detach()), derivative)
    assert (derivative == 1).all()
    assert not dataclasses.fields(Identity)
    assert isinstance(Identity(), Surrogate)
    assert Identity() == Identity()
    assert hash(Identity()) == hash(Identity())
    assert repr(Identity()) == "Identity()"


@few
@given(sharpness=parameters)
def test_exponential_decays_by_e_over_one_length(sharpness):
    u = grid(Exponential, sharpness, 8, 17)
    slope = Exponential(sharpness).slope(u)
    torch.testing.assert_close(slope[9:] / slope[8:-1], torch.full((8,), math.exp(-1), dtype=torch.float64))
    # The tail beyond u weighs g(u) / k.
    torch.testing.assert_close(1 - Exponential(sharpness).primitive(u[8:]), slope[8:] / sharpness)


def test_every_surrogate_can_be_named_on_the_command_line(capsys):
    shapes = {
        n: s for n, s in vars(surrogate).items() if inspect.isclass(s) and hasattr(s, "slope") and n != "Surrogate"
    }
    assert len(shapes) >= 7
    data = Splits(
        *[ImageSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2), ("a", "b"), "two")] * 3, "two"
    )
    for name, shape in shapes.items():
        assert main(["train", "--model.surrogate.name", name.lower(), "--dry_run"]) == 0
        config = parse_config(yaml.safe_load(capsys.readouterr().out), "printed").model
        rules = {layer.rule for layer in neuron_layers(build_model(config, data, 0))}
        assert rules == {STBP(shape())}
        config.surrogate.value = 0.75
        if dataclasses.fields(shape):
            assert {layer.rule for layer in neuron_layers(build_model(config, data, 0))} == {STBP(shape(0.75))}
        else:
            with pytest.raises(
                UserError, match=f"surrogate.value=.* has no effect on model.surrogate.name={name.lower()}"
            ):
                build_model(config, data, 0)
