"""A neuron written step by step and differentiated by autograd, with random neurons, surrogates and currents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from robustsnn.neurons import LIF, Identity, surrogate

SURROGATES: list[Any] = [
    kind for kind in vars(surrogate).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)
]
# Those with a scale and an integral of one.
NORMALISED = [kind for kind in SURROGATES if kind is not Identity]


class Step(torch.autograd.Function):
    """Heaviside forward, a given slope backward."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, theta: float, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return (potential >= theta).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return upstream[0] * slope, None, None


def stepwise(current: Tensor, steps: int, neuron: LIF, slope_at: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The equations of `LIF`, one step after the other; ds[t]/du[t] is slope_at(t, u[t] - theta)."""
    gain = 1 - neuron.tau if neuron.decay_input else 1.0
    voltage = torch.zeros_like(current[0])
    train = []
    for t in range(steps):
        potential = neuron.tau * voltage + gain * current[t if current.shape[0] > 1 else 0]
        spike = Step.apply(potential, neuron.theta, slope_at(t, potential.detach() - neuron.theta))
        train.append(spike)
        back = spike.detach() if neuron.detach_reset else spike
        voltage = potential * (1 - back) if neuron.reset == "hard" else potential - neuron.theta * back
    return torch.stack(train)


def stepwise_gradient(current: Tensor, upstream: Tensor, neuron: LIF, slope_at: Any) -> Tensor:
    """dL/dI of `stepwise` by autograd."""
    leaf = current.detach().clone().requires_grad_()
    spikes = stepwise(leaf, len(upstream), neuron, slope_at)
    return torch.autograd.grad(spikes, leaf, upstream)[0]


def membrane(current: list[float], neuron: LIF) -> list[tuple[float, float]]:
    """(u[t], s[t]) of one neuron, number by number."""
    gain = 1 - neuron.tau if neuron.decay_input else 1.0
    voltage, trace = 0.0, []
    for drive in current:
        potential = neuron.tau * voltage + gain * drive
        spike = 1.0 if potential >= neuron.theta else 0.0
        trace.append((potential, spike))
        voltage = potential * (1 - spike) if neuron.reset == "hard" else potential - neuron.theta * spike
    return trace


@st.composite
def neurons(draw: Any) -> LIF:
    tau = draw(st.one_of(st.just(1.0), st.just(0.5), st.floats(0.05, 0.999)))
    return LIF(
        tau=tau,
        theta=draw(st.one_of(st.just(1.0), st.floats(0.1, 3))),
        decay_input=draw(st.booleans()) and tau < 1,
        reset=draw(st.sampled_from(["hard", "soft"])),
        detach_reset=draw(st.booleans()),
    )


@st.composite
def surrogates(draw: Any) -> Any:
    kind = draw(st.sampled_from(SURROGATES))
    return kind() if kind is Identity else kind(draw(st.floats(0.3, 4)))


def currents(neuron: LIF, steps: int, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Currents around the threshold, half of them multiples of theta / 2 (which meet it exactly), and upstreams."""
    draws = torch.Generator().manual_seed(seed)
    smooth = (0.4 + torch.randn(steps, *shape, generator=draws, dtype=dtype)) * neuron.theta / neuron.gain
    grid = torch.randint(-1, 4, (steps, *shape), generator=draws).to(dtype) * (neuron.theta / 2 / neuron.gain)
    chosen = torch.rand(steps, *shape, generator=draws) < 0.5
    return torch.where(chosen, grid, smooth), torch.randn(steps, *shape, generator=draws, dtype=dtype)
