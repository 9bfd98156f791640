"""Sinabs: IAF, LIF, ALIF and what else fires by a `spike_fn`, on `[B, T, ...]` or squeezed `[B T, ...]`. Tried: 3.1.3.

    u[t] = alpha V[t-1] + (1 - alpha) I[t],   s[t] = floor(u[t] / theta),   V[t] = u[t] - theta s[t]        LIF

Several spikes in a step are usual there (`MultiSpike`); a rule sees how many. The reset to zero, `MembraneReset`, asks
whether there was any, so the framework's own gradient does not go through it; a rule may, see `ResetFlow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.interop.frameworks import Listener
from robustsnn.interop.steps import Nominal
from robustsnn.neurons import LIF


def spiking(module: nn.Module) -> bool:
    """See `Framework.spiking`."""
    return getattr(module, "spike_fn", None) is not None and hasattr(module, "spike_threshold")


def _to_zero(module: Any) -> bool:
    return type(module.reset_fn).__name__ == "MembraneReset"


def reset(module: nn.Module) -> None:
    """See `Framework.reset`."""
    if hasattr(module, "reset_states"):
        for name, state in module.named_buffers(recurse=False):  # empty: else another batch would be drawn from it
            module.register_buffer(name, state.new_zeros(0))


def nominal(module: Any) -> Nominal:
    """See `Framework.nominal`."""
    alpha = getattr(module, "alpha_mem_calculated", None)
    kept = 1.0 if alpha is None else float(torch.as_tensor(alpha).detach().float().mean().clamp(1e-6, 1))
    return Nominal(
        tau=kept,
        theta=float(module.spike_threshold.detach().float().mean()),
        decay_input=bool(getattr(module, "norm_input", False)) and kept < 1,
        reset="hard" if _to_zero(module) else "soft",
        detach_reset=_to_zero(module),
    )


def twin(module: Any) -> LIF | None:
    """See `Framework.twin`."""
    return None  # several spikes in a step, and another order of the dimensions


def own(module: Any) -> Callable[[Tensor], Tensor]:
    """See `Framework.own`."""
    return _own(module.spike_fn, module.spike_threshold.detach(), module.surrogate_grad_fn)


def sequence(module: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """See `Framework.sequence`."""
    if not hasattr(module, "num_timesteps"):
        return (lambda x: x.transpose(0, 1)), (lambda x: x.transpose(0, 1))
    steps = module.num_timesteps
    batch = module.batch_size if steps == -1 else -1
    return (
        lambda x: x.reshape(batch, steps, *x.shape[1:]).transpose(0, 1),
        lambda x: x.transpose(0, 1).flatten(0, 1),
    )


def _own(step: Any, theta: Tensor, surrogate: Any) -> Callable[[Tensor], Tensor]:
    return lambda v: step.apply(v + theta, theta, surrogate)


class _SpikeFunction:
    """In place of a `spike_fn`."""

    required_states = ("v_mem",)

    def __init__(self, listener: Listener, step: Any) -> None:
        self.listener, self.step = listener, step

    def apply(self, potential: Tensor, threshold: Tensor, surrogate: Any) -> Tensor:
        theta = threshold.detach()  # of an adaptive neuron, another one in each step; no gradient goes through it
        return self.listener.fire(potential - theta, _own(self.step, theta, surrogate))


def _resets(spikes: Tensor, state: dict[str, Tensor], value: float) -> dict[str, Tensor]:
    """What `MembraneReset` does, with the gradient that the listener lets through: V = u (1 - min(s, 1)) + value."""
    return state | {"v_mem": state["v_mem"] * (1 - spikes.clamp(max=1)) + value}


@contextmanager
def listen(module: Any, listener: Listener) -> Iterator[None]:
    """See `Framework.listen`."""
    before = module.spike_fn, module.reset_fn
    module.spike_fn = _SpikeFunction(listener, module.spike_fn)
    if _to_zero(module):
        value = module.reset_fn.reset_value
        module.reset_fn = lambda spikes, state, _: _resets(spikes, state, value)
    try:
        yield
    finally:
        module.spike_fn, module.reset_fn = before
