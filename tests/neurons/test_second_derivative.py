"""Second derivatives through `fire`: against theory on smooth neurons, and a neuron written step by step."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_neurons import SURROGATES, currents, neurons
from torch import Tensor

from helpers import Step
from robustsnn.ground.errors import UserError
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
    Gaussian,
    Sigmoid,
    Surrogate,
    Triangle,
    compilation,
    fire,
    fused,
)

SMOOTH = [Arctan(), Arctan(0.7), Sigmoid(3.0), Gaussian(1.5)]


def reference(current: Tensor, steps: int, neuron: LIF, surrogate: Any) -> Tensor:
    """The equations of `LIF`, one step after the other, differentiable twice."""
    voltage, train = torch.zeros_like(current[0]), []
    for t in range(steps):
        potential = neuron.tau * voltage + neuron.gain * current[t if current.shape[0] > 1 else 0]
        spike = Step.apply(potential - neuron.theta, surrogate)
        train.append(spike)
        back = spike.detach() if neuron.detach_reset else spike
        voltage = potential * (1 - back) if neuron.reset == "hard" else potential - neuron.theta * back
    return torch.stack(train)


def both_orders(run: Any, current: Tensor, upstream: Tensor) -> list[Tensor]:
    """dL/dI, and the derivatives of a function of it with respect to the current and the upstream."""
    current, upstream = current.clone().requires_grad_(), upstream.clone().requires_grad_()
    (first,) = torch.autograd.grad(run(current), current, upstream, create_graph=True)
    weights = torch.randn(first.shape, generator=torch.Generator().manual_seed(1), dtype=first.dtype)
    loss = (weights * first + first**2).sum()
    # A rectangle has no slope of its slope: then nothing depends on the current.
    second = torch.autograd.grad(loss, (current, upstream), materialize_grads=True)
    return [first.detach(), *second]


@settings(deadline=None, max_examples=60)
@given(
    neuron=neurons(),
    kind=st.sampled_from([kind() for kind in SURROGATES] + SMOOTH),
    steps=st.integers(1, 5),
    constant=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_both_orders_are_those_of_the_stepwise_neuron(neuron, kind, steps, constant, seed):
    current, upstream = currents(neuron, steps, (3, 2), seed, torch.float64)
    current = current[:1] if constant else current
    found = both_orders(lambda x: fire(x, steps, neuron, STBP(kind)), current, upstream)
    expected = both_orders(lambda x: reference(x, steps, neuron, kind), current, upstream)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12 * max(1.0, b.abs().max().item()))


def test_the_comparison_tells_neurons_and_surrogates_apart():
    current, upstream = currents(IF(), 4, (30,), 0, torch.float64)
    base = both_orders(lambda x: fire(x, 4, IF(), STBP(Arctan())), current, upstream)[1]
    others = [(IF(reset="soft"), Arctan()), (IF(detach_reset=True), Arctan()), (IF(), Arctan(2.1))]
    for neuron, kind in others:
        other = both_orders(lambda x, n=neuron, k=kind: reference(x, 4, n, k), current, upstream)[1]
        assert not torch.allclose(base, other, rtol=1e-3)


@dataclass(frozen=True)
class Smooth(LIF):
    """A neuron whose step is the surrogate's primitive, so that the surrogate gradient is the true one."""

    surrogate: Surrogate = field(default_factory=Arctan)

    def step(self, potential: Tensor) -> Tensor:
        return self.surrogate.primitive(potential - self.theta)

    def differentiable(self, surrogate: Surrogate) -> LIF:
        return self


@pytest.mark.parametrize("kind", SMOOTH, ids=repr)
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize(("tau", "decay", "constant"), [(1.0, False, False), (0.6, True, False), (0.7, False, True)])
def test_on_smooth_neurons_both_orders_are_true_derivatives(kind, reset, tau, decay, constant):
    neuron = Smooth(tau=tau, decay_input=decay, reset=reset, surrogate=kind)
    current = currents(IF(), 3, (2,), 5, torch.float64)[0][: 1 if constant else 3].requires_grad_()
    run = lambda x: fire(x, 3, neuron, STBP(kind))  # noqa: E731
    assert torch.autograd.gradcheck(run, current)
    assert torch.autograd.gradgradcheck(run, current)
    # The formula of the rule, without its autograd function.
    plain = current.detach().requires_grad_()
    upstream = torch.linspace(-1, 1, 6, dtype=torch.float64).view(3, 2)
    (expected,) = torch.autograd.grad(neuron.spikes(plain, 3), plain, upstream)
    torch.testing.assert_close(STBP(kind).input_gradient(upstream, current.detach(), neuron), expected)


@pytest.mark.parametrize("kind", SMOOTH[:2], ids=repr)
def test_the_hybrid_rule_is_differentiated_as_the_formula_that_it_is(kind):
    neuron = Smooth(tau=0.7, surrogate=kind)
    current, upstream = (x.requires_grad_() for x in currents(IF(), 3, (2,), 6, torch.float64))

    def gradient(x: Tensor, u: Tensor) -> Tensor:
        return torch.autograd.grad(fire(x, 3, neuron, HART(kind)), x, u, create_graph=True)[0]

    assert torch.autograd.gradcheck(gradient, (current, upstream))


@pytest.mark.parametrize("rule", [STBP(), STBP(Sigmoid()), HART()], ids=repr)
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_asking_for_the_second_order_leaves_the_first_as_it_is(rule, detach, dtype):
    neuron = LIF(tau=0.7, detach_reset=detach)
    current, upstream = (x.to(dtype) for x in currents(neuron, 4, (3, 2, 5, 5), 3, torch.float32))
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = current.detach().clone()
        leaf = torch.stack([x.contiguous(memory_format=layout) for x in leaf]).requires_grad_()
        once, twice = (
            torch.autograd.grad(fire(leaf, 4, neuron, rule), leaf, upstream, create_graph=flag)[0]
            for flag in (False, True)
        )
        assert torch.equal(once, twice)
        assert twice.requires_grad
        assert not once.requires_grad


def test_the_second_order_runs_eagerly_whatever_the_mode(monkeypatch):
    def forward_alone(kernel: Any, values: Any, constant: bool) -> Any:
        assert kernel is fused._spikes, "compiled"
        return functools.partial(kernel, *values)

    current, upstream = currents(IF(), 3, (4,), 0, torch.float32)
    expected = both_orders(lambda x: fire(x, 3, IF(), STBP()), current, upstream)
    monkeypatch.setattr(fused, "_compile", forward_alone)
    monkeypatch.setattr(fused, "_kernels", {})
    monkeypatch.setattr(fused, "compiler_available", lambda device: True)
    with compilation("always"):
        found = both_orders(lambda x: fire(x, 3, IF(), STBP()), current, upstream)
        with pytest.raises(AssertionError, match="compiled"):  # the first order alone is
            fire(current.requires_grad_(), 3, IF(), STBP()).sum().backward()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rule", [PDSG(), ASSG(), ASSG().begin(), RGA(), BPTR()], ids=lambda rule: rule.label)
def test_rules_without_a_fixed_surrogate_say_so(rule):
    current = torch.rand(3, 2, 4, requires_grad=True)
    spikes = fire(current, 3, IF(), rule)
    with pytest.raises(UserError, match=r"create_graph=True.*use STBP or HART"):
        torch.autograd.grad(spikes.sum(), current, create_graph=True)
    (gradient,) = torch.autograd.grad(fire(current, 3, IF(), rule).sum(), current)
    assert bool(gradient.isfinite().all())


def test_a_differentiable_neuron_has_the_same_values():
    for neuron in (LIF(tau=0.6), LIF(tau=0.6, reset="soft"), LIF(tau=0.6, detach_reset=True)):
        current = currents(neuron, 5, (40,), 2, torch.float32)[0]
        for (u, s), (v, r) in zip(
            neuron.run(current, 5), neuron.differentiable(Triangle()).run(current, 5), strict=True
        ):
            assert torch.equal(u, v)
            assert torch.equal(s, r)
