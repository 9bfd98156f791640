"""BPTR and HART against loops over single neurons, and against theory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_neurons import currents, membrane, neurons, surrogates
from torch import Tensor

from robustsnn.neurons import BPTR, HART, IF, LIF, STBP, Identity, Triangle, fire

quickly = settings(deadline=None, max_examples=40)
drives = st.tuples(neurons(), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**20))


def gradient(current: Tensor, upstream: Tensor, neuron: LIF, rule: Any) -> Tensor:
    leaf = current.detach().clone().requires_grad_()
    return torch.autograd.grad(fire(leaf, len(upstream), neuron, rule), leaf, upstream)[0]


def by_neuron(current: Tensor, upstream: Tensor, neuron: LIF, of_one: Any) -> Tensor:
    """`of_one(trace, upstream, gain) -> dL/dI[t]`, neuron by neuron, in plain numbers."""
    gain = 1 - neuron.tau if neuron.decay_input else 1.0
    columns = [
        of_one(membrane(current[:, i].tolist(), neuron), upstream[:, i].tolist(), gain) for i in range(current.shape[1])
    ]
    return torch.tensor(columns, dtype=current.dtype).T


@quickly
@given(drive=drives)
def test_bptr_passes_through_neurons_that_fired(drive):
    neuron, steps, size, seed = drive
    current, upstream = currents(neuron, steps, (size,), seed, torch.float64)

    def of_one(trace: list[tuple[float, float]], above: list[float], gain: float) -> list[float]:
        fired = any(spike == 1 for _, spike in trace)
        return [gain * a if fired else 0.0 for a in above]

    assert torch.equal(gradient(current, upstream, neuron, BPTR()), by_neuron(current, upstream, neuron, of_one))


def test_bptr_depends_on_currents_through_firing_alone():
    current, upstream = currents(IF(), 4, (200,), 0, torch.float64)
    spikes = fire(current, 4, IF(), BPTR())
    ours = gradient(current, upstream, IF(), BPTR())
    fired = spikes.any(0)
    assert 0.2 < fired.double().mean() < 0.95
    assert not spikes.all(0)[fired].all()  # some fired at some steps alone, and are open at all
    assert torch.equal(ours[:, fired], upstream[:, fired])
    assert not ours[:, ~fired].any()


@quickly
@given(drive=drives, surrogate=surrogates())
def test_hart_gives_each_step_the_mean_over_time(drive, surrogate):
    neuron, steps, size, seed = drive
    current, upstream = currents(neuron, steps, (size,), seed, torch.float64)

    def of_one(trace: list[tuple[float, float]], above: list[float], gain: float) -> list[float]:
        total = 0.0
        for (potential, _), a in zip(trace, above, strict=True):
            total += a * surrogate.slope(torch.tensor(potential - neuron.theta, dtype=torch.float64)).item()
        return [gain * total / steps] * steps

    ours = gradient(current, upstream, neuron, HART(surrogate))
    torch.testing.assert_close(ours, by_neuron(current, upstream, neuron, of_one), rtol=1e-12, atol=1e-13)


def test_hart_is_the_mean_of_backpropagation_through_a_cut_membrane():
    """By autograd: what the membrane kept is a constant, and the gradient is averaged over time."""
    neuron, surrogate = LIF(tau=0.7), Triangle(1.5)
    current, upstream = currents(neuron, 5, (300,), 1, torch.float64)
    leaf, voltage, loss = current.clone().requires_grad_(), torch.zeros(300, dtype=torch.float64), torch.zeros(())
    for t in range(5):
        potential = neuron.tau * voltage + leaf[t]
        loss = loss + (upstream[t] * surrogate.primitive(potential - 1)).sum()
        voltage = potential.detach() * (potential.detach() < 1)
    (cut,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(gradient(current, upstream, neuron, HART(surrogate)), cut.mean(0).expand(5, -1))


@quickly
@given(neuron=neurons(), surrogate=surrogates(), seed=st.integers(0, 2**20))
def test_in_a_single_step_hart_is_stbp(neuron, surrogate, seed):
    current, upstream = currents(neuron, 1, (20,), seed, torch.float64)
    assert torch.equal(
        gradient(current, upstream, neuron, HART(surrogate)), gradient(current, upstream, neuron, STBP(surrogate))
    )


@quickly
@given(drive=drives, exponent=st.integers(2, 6))
def test_a_wide_hart_forgets_the_potentials(drive, exponent):
    """width g(u) = 1 - |u| / width: the wider, the closer to a straight-through rule on the mean of time."""
    neuron, steps, size, seed = drive
    current, upstream = currents(neuron, steps, (size,), seed, torch.float64)
    width = 10.0**exponent
    wide = width * gradient(current, upstream, neuron, HART(Triangle(width)))
    rate = gradient(current, upstream, neuron, HART(Identity()))
    assert torch.equal(rate, rate[:1].expand_as(rate))
    torch.testing.assert_close(rate[0], neuron.gain * upstream.mean(0), rtol=1e-12, atol=1e-12)
    distance = max(abs(u - neuron.theta) for column in current.T.tolist() for u, _ in membrane(column, neuron))
    bound = neuron.gain * upstream.abs().max().item() * distance / width
    assert (wide - rate).abs().max().item() <= bound + 1e-12


def test_a_narrow_hart_sees_the_moments_near_the_threshold_alone():
    """Its weight sits on steps within the width, and each of them counts 1 / (T width) at the threshold itself."""
    current = torch.tensor([[1.0], [0.2], [0.8], [0.0]], dtype=torch.float64)  # u = 1, .2, 1, 0: fires at once, later
    upstream = torch.tensor([[1.0], [10.0], [100.0], [1000.0]], dtype=torch.float64)
    for width in (0.5, 0.1, 0.01):
        ours = gradient(current, upstream, IF(), HART(Triangle(width)))
        torch.testing.assert_close(ours, torch.full((4, 1), 101 / (4 * width), dtype=torch.float64))


@pytest.mark.parametrize("rule", [BPTR(), HART(Triangle(2.0))], ids=lambda rule: rule.label)
def test_nothing_is_carried_through_time(rule):
    """STBP's gradient at a step depends on the potentials after it through the carry; these know no such product."""
    neuron = LIF(tau=0.9)
    current, upstream = currents(neuron, 4, (100,), 3, torch.float64)
    first_only = upstream * torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)[:, None]
    moved = current.clone()
    moved[1:] = torch.rand(3, 100, dtype=torch.float64) - 0.5
    fired = torch.ones(100, dtype=torch.bool)
    if isinstance(rule, BPTR):  # the gate alone sees later steps
        fired = fire(current, 4, neuron, rule).any(0) == fire(moved, 4, neuron, rule).any(0)
    ours, theirs = gradient(current, first_only, neuron, rule), gradient(moved, first_only, neuron, rule)
    assert fired.sum() > 20
    assert torch.equal(ours[:, fired], theirs[:, fired])
    last_only = upstream - upstream * (torch.arange(4) < 3)[:, None]
    through_time = gradient(current, last_only, neuron, STBP(Triangle(2.0)))
    assert not torch.allclose(through_time[0], gradient(current, last_only, neuron, rule)[0])


def test_labels_carry_the_width():
    labels = [HART(surrogate).label for surrogate in (Triangle(0.5), Triangle(), Triangle(2.45), Identity())]
    assert labels == ["hart-triangle-0.5", "hart-triangle-1", "hart-triangle-2.45", "hart-identity"]
