"""PDSG against a recomputed spread and a stepwise neuron, and against theory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_neurons import currents, neurons, stepwise_gradient
from torch import Tensor

from robustsnn.neurons import IF, LIF, PDSG, STBP, Gaussian, fire

shapes = st.one_of(
    st.tuples(st.integers(1, 3), st.integers(1, 6)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
)


def gradient(current: Tensor, upstream: Tensor, neuron: LIF, rule: Any) -> Tensor:
    leaf = current.detach().clone().requires_grad_()
    return torch.autograd.grad(fire(leaf, len(upstream), neuron, rule), leaf, upstream)[0]


def spread_by_hand(potentials: list[Tensor], t: int, floor: float, per_feature: bool) -> Tensor:
    """Sample by sample and channel by channel, with `torch.var` over all that was seen up to step t."""
    seen = torch.stack(potentials[: t + 1])
    if seen.ndim == 3:
        seen = seen.unsqueeze(3 if per_feature else 2)  # vectors: one channel, or one for each feature
    sigma = torch.empty(seen.shape[1:], dtype=torch.float64)
    for b in range(seen.shape[1]):
        for c in range(seen.shape[2]):
            variance = torch.var(seen[:, b, c], unbiased=False).item()
            sigma[b, c] = max(math.sqrt(variance), floor)
    return sigma.reshape(potentials[0].shape)


@settings(deadline=None, max_examples=40)
@given(
    neuron=neurons(),
    steps=st.integers(1, 5),
    shape=shapes,
    seed=st.integers(0, 2**20),
    floor=st.sampled_from([0.1, 1]),
    per_feature=st.booleans(),
)
def test_pdsg_is_stbp_with_the_gaussian_of_the_spread_so_far(neuron, steps, shape, seed, floor, per_feature):
    current, upstream = currents(neuron, steps, shape, seed, torch.float64)
    potentials = [potential for potential, _ in neuron.run(current, steps)]

    def slope_at(t: int, v: Tensor) -> Tensor:
        sigma = spread_by_hand(potentials, t, floor * neuron.theta, per_feature)
        return torch.exp(-((v - sigma / 2) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)

    expected = stepwise_gradient(current, upstream, neuron, slope_at)
    ours = gradient(current, upstream, neuron, PDSG(floor, per_feature))
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11 * max(1, expected.abs().max().item()))


@dataclass(frozen=True)
class Shifted:
    """A Gaussian of width sigma around sigma / 2."""

    sigma: float

    def primitive(self, u: Tensor) -> Tensor:
        return Gaussian(1 / self.sigma).primitive(u - self.sigma / 2)

    def slope(self, u: Tensor) -> Tensor:
        return Gaussian(1 / self.sigma).slope(u - self.sigma / 2)


@pytest.mark.parametrize(
    "neuron", [IF(), LIF(tau=0.7, reset="soft", theta=0.8), LIF(tau=0.5, decay_input=True)], ids=str
)
def test_with_the_same_spread_everywhere_pdsg_is_stbp_with_a_shifted_gaussian(neuron):
    """Currents are chosen so that the potentials of every step are the same numbers in another order."""
    draws = torch.Generator().manual_seed(0)
    values = neuron.theta * torch.linspace(-0.5, 2, 24, dtype=torch.float64)
    voltage, steps = torch.zeros(2, 3, 4, 6, dtype=torch.float64), []
    for _ in range(5):
        orders = [values[torch.randperm(24, generator=draws)] for _ in range(6)]
        potential = torch.stack(orders).reshape(2, 3, 4, 6)
        steps.append((potential - neuron.tau * voltage) / neuron.gain)
        spike = (potential >= neuron.theta).double()
        voltage = potential * (1 - spike) if neuron.reset == "hard" else potential - neuron.theta * spike
    current = torch.stack(steps)
    upstream = torch.randn(5, 2, 3, 4, 6, generator=draws, dtype=torch.float64)
    sigma = values.var(unbiased=False).sqrt().item()
    ours, theirs = (gradient(current, upstream, neuron, rule) for rule in (PDSG(0.01), STBP(Shifted(sigma))))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(ours, gradient(current, upstream, neuron, STBP(Gaussian(1 / sigma))))


@pytest.mark.parametrize("theta", [1.0, 0.5])
@pytest.mark.parametrize("floor", [0.1, 0.7])
def test_without_spread_the_floor_counts(theta, floor):
    neuron, sigma = IF(theta=theta), floor * theta
    current = torch.full((1, 2, 3, 4, 4), 0.9 * theta, dtype=torch.float64)
    ours = gradient(current, torch.ones_like(current), neuron, PDSG(floor))
    v = -0.1 * theta
    expected = math.exp(-((v - sigma / 2) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    torch.testing.assert_close(ours, torch.full_like(current, expected))


def test_scaling_currents_and_threshold_scales_the_slope_inversely():
    """The floor is in units of the threshold, so the rule has no scale of its own."""
    current, upstream = currents(IF(), 4, (2, 3, 4, 4), 1, torch.float64)
    for factor in (0.25, 8.0):  # powers of two: the same spikes
        scaled = gradient(factor * current, upstream, IF(theta=factor), PDSG())
        torch.testing.assert_close(factor * scaled, gradient(current, upstream, IF(), PDSG()), rtol=1e-12, atol=1e-13)


def test_a_channel_does_not_see_the_others_and_a_vector_sees_all_of_itself():
    current, upstream = currents(IF(), 3, (2, 3, 4, 4), 2, torch.float64)
    moved = current.clone()
    moved[:, :, 1] *= 2
    changed = gradient(moved, upstream, IF(), PDSG()) != gradient(current, upstream, IF(), PDSG())
    assert changed[:, :, 1].any()
    assert not changed[:, :, ::2].any()
    flat, flat_moved = current.flatten(2), moved.flatten(2)
    vector = gradient(flat_moved, upstream.flatten(2), IF(), PDSG()) != gradient(
        flat, upstream.flatten(2), IF(), PDSG()
    )
    assert vector.unflatten(2, (3, 4, 4))[:, :, ::2].any()


def test_a_large_common_offset_does_not_drown_the_spread():
    """In float32: E[u^2] - E[u]^2 would be wrong by more than the variance itself."""
    values = 4096 + torch.linspace(-0.5, 0.5, 64)
    potentials = [values.reshape(1, 1, 8, 8) for _ in range(4)]
    exact = values.double().var(unbiased=False).sqrt().item()
    for sigma in PDSG().spreads(potentials):
        assert sigma.item() == pytest.approx(exact, rel=1e-3)
    naive = ((values**2).mean() - values.mean() ** 2).item()
    assert abs(naive - exact**2) > 0.5 * exact**2
