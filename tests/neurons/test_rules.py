"""What every gradient rule must do, whatever it computes."""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_neurons import NORMALISED, SURROGATES, currents, neurons
from torch import Tensor

import robustsnn.neurons
from helpers import images, spiking
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.models import Classifier
from robustsnn.neurons import (
    ASSG,
    BPTR,
    HART,
    IF,
    LIF,
    PDSG,
    RGA,
    STBP,
    Arctan,
    GradientRule,
    Identity,
    Neurons,
    ResetFlow,
    Triangle,
    fire,
    gradient_rule,
    neuron_layers,
)

RULES: list[Any] = [
    *(STBP(kind()) for kind in SURROGATES),
    RGA(),
    BPTR(),
    HART(Triangle(0.5)),
    HART(Arctan()),
    PDSG(),
    *(ASSG(kind()) for kind in NORMALISED),
    ResetFlow(STBP(Arctan()), "detached"),
    ResetFlow(ASSG(), "attached"),
]
# Of the small networks.
NEURONS = (IF(), LIF(tau=0.6, decay_input=True, reset="soft", theta=0.4, detach_reset=True))
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)


def some(examples: int) -> settings:
    """Few, since they count once for every rule."""
    return settings(deadline=None, max_examples=examples)


@st.composite
def layers(draw: Any) -> tuple[LIF, int, tuple[int, ...], bool, int]:
    """A neuron, steps, `[B, F]` or `[B, C, H, W]`, whether channels are last, and a seed."""
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 4), st.integers(1, 6)),
            st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
        )
    )
    return draw(neurons()), draw(st.integers(1, 5)), shape, draw(st.booleans()), draw(st.integers(0, 2**20))


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


def drive(layer: Any, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    neuron, steps, shape, last, seed = layer
    current, upstream = currents(neuron, steps, shape, seed, dtype)
    return (channels_last(current), channels_last(upstream)) if last and len(shape) == 4 else (current, upstream)


def passes(current: Tensor, upstream: Tensor, neuron: LIF, rule: Any) -> tuple[Tensor, Tensor]:
    leaf = current.detach().requires_grad_()
    spikes = fire(leaf, len(upstream), neuron, rule)
    return spikes.detach(), torch.autograd.grad(spikes, leaf, upstream)[0]


def gradient(current: Tensor, upstream: Tensor, neuron: LIF, rule: Any) -> Tensor:
    return passes(current, upstream, neuron, rule)[1]


def assert_close(ours: Tensor, expected: Tensor) -> None:
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12 * scale)


@functools.cache
def trained(neuron: LIF) -> Classifier:
    """A network with these neurons that fires in all its layers: its batch norms have seen enough data."""
    model = spiking(image=(2, 8, 8)).train()
    for layer in neuron_layers(model):
        layer.neuron = neuron
    with torch.no_grad():
        for i in range(30):
            model(images(32, (2, 8, 8), seed=i))
    return model.eval()


def network(neuron: LIF) -> Classifier:
    return copy.deepcopy(trained(neuron))


def differentiate(model: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    logits = model(leaf)
    labels = torch.arange(len(x)) % logits.shape[1]
    return logits.detach(), torch.autograd.grad(cross_entropy(logits, labels).sum(), leaf)[0]


def test_every_rule_of_the_package_is_tested_here():
    kinds = {kind for kind in vars(robustsnn.neurons).values() if dataclasses.is_dataclass(kind)}
    assert {kind for kind in kinds if hasattr(kind, "input_gradient")} == {type(rule) for rule in RULES}
    assert len({rule.label for rule in RULES}) == len(RULES)


@every_rule
def test_a_rule_is_a_value_with_a_name(rule):
    assert isinstance(rule, GradientRule)
    assert eval(repr(rule), vars(robustsnn.neurons)) == rule
    assert hash(eval(repr(rule), vars(robustsnn.neurons))) == hash(rule)
    assert " " not in rule.label
    assert rule.elementwise == (not isinstance(rule, PDSG | ASSG | ResetFlow))
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.surrogate = Triangle()


@every_rule
@some(6)
@given(layer=layers(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_the_forward_pass_does_not_know_the_rule(rule, layer, dtype):
    current, upstream = drive(layer, dtype)
    spikes, ours = passes(current, upstream, layer[0], rule)
    assert torch.equal(spikes, passes(current, upstream, layer[0], STBP())[0])
    assert ours.shape == current.shape
    assert ours.dtype == dtype


@every_rule
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_logits_are_bit_identical_and_rules_come_back(rule, last):
    for neuron in NEURONS:
        model, x = network(neuron), images(5, (2, 8, 8))
        if last:
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        before = [layer.rule for layer in neuron_layers(model)]
        logits, own = differentiate(model, x)
        with pytest.raises(KeyError), gradient_rule(model, rule):  # noqa: PT012
            ours, theirs = differentiate(model, x)
            raise KeyError
        assert torch.equal(ours, logits)
        assert theirs.isfinite().all()
        assert theirs.any()
        assert torch.equal(theirs, own) == (rule == STBP())
        assert all(layer.rule is old for layer, old in zip(neuron_layers(model), before, strict=True))
        assert torch.equal(differentiate(model, x)[1], own)


def test_all_layers_of_the_networks_above_fire():
    rates = []
    for neuron in NEURONS:
        model = network(neuron)
        for layer in neuron_layers(model):
            layer.register_forward_hook(lambda module, given, spikes: rates.append(spikes.mean().item()))
        model(images(5, (2, 8, 8)))
    assert len(rates) == 3 * len(NEURONS)
    assert all(0.02 < rate < 0.9 for rate in rates)


@dataclasses.dataclass(frozen=True)
class Pooled(PDSG):
    """The planted defect: its spread is that of the whole batch."""

    def spreads(self, potentials: list[Tensor]) -> list[Tensor]:
        whole = [potential.transpose(0, 1).flatten(1)[None] for potential in potentials]
        return [spread.reshape(1, -1, *[1] * (potentials[0].ndim - 2)) for spread in super().spreads(whole)]


def coupling(current: Tensor, upstream: Tensor, neuron: LIF, rule: Any) -> tuple[Tensor, Tensor]:
    """The gradient of a batch, and that of each sample alone."""
    alone = [gradient(current[:, i : i + 1], upstream[:, i : i + 1], neuron, rule) for i in range(current.shape[1])]
    return gradient(current, upstream, neuron, rule), torch.cat(alone, dim=1)


@every_rule
@some(6)
@given(layer=layers())
def test_samples_are_independent(rule, layer):
    current, upstream = drive(layer)
    assert_close(*coupling(current, upstream, layer[0], rule))


def test_coupled_samples_would_be_seen_above():
    for shape in ((3, 6), (3, 2, 3, 4)):
        current, upstream = currents(IF(), 4, shape, 0, torch.float64)
        whole, alone = coupling(current, upstream, IF(), Pooled())
        assert (whole - alone).abs().max() > 0.01


@every_rule
def test_images_of_a_batch_are_independent(rule):
    model, x = network(IF()).double(), images(4, (2, 8, 8)).double()
    with gradient_rule(model, rule):
        logits = model(x.requires_grad_())
        (whole,) = torch.autograd.grad(logits[:, 0].sum(), x)
    for i in range(len(x)):
        one = x[i : i + 1].detach().requires_grad_()
        with gradient_rule(model, rule):
            (alone,) = torch.autograd.grad(model(one)[:, 0].sum(), one)
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-8, atol=1e-10 * whole.abs().max().item())


@every_rule
@some(6)
@given(layer=layers())
def test_memory_layout_changes_nothing(rule, layer):
    neuron, steps, shape, _, seed = layer
    current, upstream = currents(neuron, steps, shape, seed, torch.float64)
    if len(shape) == 4:
        assert_close(
            gradient(channels_last(current), upstream, neuron, rule), gradient(current, upstream, neuron, rule)
        )
    strided = current.movedim(0, -1).contiguous().movedim(-1, 0)
    assert_close(gradient(strided, upstream, neuron, rule), gradient(current, upstream, neuron, rule))


@every_rule
@some(6)
@given(layer=layers())
def test_a_constant_current_has_the_summed_gradient_of_the_repeated_one(rule, layer):
    neuron, steps, shape, *_ = layer
    current, upstream = drive(layer)
    # Off the multiples of theta / 2: RGA jumps there, and a mean of equal numbers is rounded.
    once = current[:1] + 0.01234567 * neuron.theta / neuron.gain
    spikes, ours = passes(once, upstream, neuron, rule)
    repeated_spikes, repeated = passes(once.repeat(steps, *[1] * len(shape)), upstream, neuron, rule)
    assert torch.equal(spikes, repeated_spikes)
    assert_close(ours, repeated.sum(0, keepdim=True))


@every_rule
@some(6)
@given(layer=layers(), a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_the_gradient_is_linear_in_what_comes_from_above(rule, layer, a, b):
    neuron, steps, shape, _, seed = layer
    current, first = drive(layer)
    _, second = currents(neuron, steps, shape, seed + 1, torch.float64)
    mixed = gradient(current, a * first + b * second, neuron, rule)
    parts = [gradient(current, upstream, neuron, rule) for upstream in (first, second)]
    scale = max(1.0, *(part.abs().max().item() for part in parts))
    torch.testing.assert_close(mixed, a * parts[0] + b * parts[1], rtol=1e-9, atol=1e-11 * scale)


@every_rule
@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 1, 1), (0, 2, 3, 3)], ids=str)
def test_extreme_currents_have_finite_gradients(rule, shape):
    # Through an attached hard reset the potential itself multiplies Identity's slope, step after step.
    huge = 1e6 if rule == STBP(Identity()) else 1e30
    for neuron in (IF(), LIF(tau=0.5, decay_input=True, reset="soft")):
        for steps in (1, 4):
            for value in (0.0, neuron.theta, 1e-30, huge, -huge):
                current = torch.full((steps, *shape), value)
                assert gradient(current, torch.ones_like(current), neuron, rule).isfinite().all()
            mixed = torch.linspace(-huge, huge, steps * current[0].numel()).reshape(current.shape)
            assert gradient(mixed, torch.ones_like(mixed), neuron, rule).isfinite().all()


@every_rule
def test_half_precision_currents_give_gradients_of_their_dtype(rule):
    current, upstream = currents(LIF(tau=0.7), 4, (3, 50), 1, torch.float32)
    half, above = current.bfloat16(), upstream.bfloat16()
    spikes, ours = passes(half, above, LIF(tau=0.7), rule)
    expected_spikes, expected = passes(half.float(), above.float(), LIF(tau=0.7), rule)
    assert torch.equal(spikes.float(), expected_spikes)
    assert torch.equal(ours, expected.bfloat16())


def test_rules_that_are_not_elementwise_see_samples_and_the_others_flat_rows():
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Watching(STBP):
        elementwise: bool = True  # type: ignore[misc]

        def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
            seen.append((list(upstream.shape), list(current.shape)))
            return super().input_gradient(upstream, current, neuron)

    layer = Neurons(IF(), 3)
    for constant in (False, True):
        for last in (False, True):
            current, upstream = currents(IF(), 3, (2, 4, 5, 6), 0, torch.float64)
            current = current[:1] if constant else current
            if last:
                current, upstream = channels_last(current), channels_last(upstream)
            gradients = []
            for elementwise in (True, False):
                with gradient_rule(layer, Watching(elementwise=elementwise)):
                    leaf = current.detach().requires_grad_()
                    gradients.append(torch.autograd.grad(layer(leaf), leaf, upstream)[0])
            first = len(current)
            assert seen == [([3, 240], [first, 240]), ([3, 2, 4, 5, 6], [first, 2, 4, 5, 6])]
            assert torch.equal(*gradients)
            assert gradients[0].stride() == gradients[1].stride()
            seen.clear()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PDSG(floor=0), r"PDSG\(floor=.*above 0"),
        (lambda: PDSG(floor=float("nan")), r"PDSG\(floor=.*above 0"),
        (lambda: RGA(gamma=-1), r"RGA\(gamma=-1\): allowed is a number of at least 0"),
        (lambda: ASSG(degree=0), "degree=0.*above 0 and below 1"),
        (lambda: ASSG(degree=1), "degree=1"),
        (lambda: ASSG(degree=float("nan")), "degree=nan"),
        (lambda: ASSG(keep_mean=1), "keep_mean=1.*of at least 0 and below 1"),
        (lambda: ASSG(keep_deviation=-0.1), "keep_deviation=-0.1"),
        (lambda: ASSG(relax=-1), "relax=-1"),
        (lambda: ASSG(relax=float("inf")), "relax=inf"),
        (lambda: ASSG(Identity()), "Identity.*integral of 1"),
    ],
)
def test_impossible_rules_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_pdsg_needs_samples():
    current = torch.rand(3, 5, requires_grad=True)
    with pytest.raises(UserError, match=r"\[T, B, \.\.\.\].*\[3, 5\]"):
        fire(current, 3, IF(), PDSG()).sum().backward()
