"""snnTorch: Leaky and every other neuron whose spikes are `spike_grad(mem - threshold)`. Tried: 1.0.0.

    u[t] = beta u[t-1] + I[t] - theta H(u[t-1] - theta),   s[t] = H(u[t] - theta)      Leaky, reset_mechanism="subtract"

The reset comes one step late, and a potential equal to the threshold does not fire. The framework's own gradient never
goes through the late reset; a rule may, see `ResetFlow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.interop.frameworks import Listener, one_step
from robustsnn.interop.steps import Nominal
from robustsnn.neurons import LIF

_RECURRENT = ("RLeaky", "RSynaptic")


def spiking(module: nn.Module) -> bool:
    """See `Framework.spiking`."""
    # A neuron with inhibition or graded spikes sends out something else than its step; it is found out in the proof.
    return all(hasattr(module, name) for name in ("spike_grad", "threshold", "reset_mechanism", "fire"))


def reset(module: nn.Module) -> None:
    """See `Framework.reset`."""
    if hasattr(module, "reset_mem"):
        for name, state in module.named_buffers(recurse=False):
            if name in ("mem", "syn", "spk", "syn_exc", "syn_inh"):
                setattr(module, name, state.new_zeros(0))


def nominal(module: Any) -> Nominal:
    """See `Framework.nominal`."""
    beta = getattr(module, "beta", None)
    kept = 1.0 if beta is None else float(torch.as_tensor(beta).detach().float().mean().clamp(1e-6, 1))
    # Lapicque takes in I dt / C, which is the same as I against a threshold that is so much higher.
    gain = float(module.time_step / module.C) if hasattr(module, "time_step") else 1.0
    late = getattr(module, "reset_delay", True)
    return Nominal(
        tau=kept,
        theta=float(module.threshold.detach().float().mean()) / gain,
        reset="hard" if module.reset_mechanism == "zero" else "soft",
        detach_reset=bool(late) and type(module).__name__ not in _RECURRENT,
    )


def twin(module: Any) -> LIF | None:
    """See `Framework.twin`."""
    return None  # they take one step in a call


def own(module: Any) -> Callable[[Tensor], Tensor]:
    """See `Framework.own`."""
    return module.spike_grad  # type: ignore[no-any-return]


def sequence(module: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """See `Framework.sequence`."""
    return one_step()


@contextmanager
def listen(module: Any, listener: Listener) -> Iterator[None]:
    """See `Framework.listen`."""
    before, fired = module.spike_grad, []

    def fire(distance: Tensor) -> Tensor:
        fired[:] = [distance.detach(), listener.fire(distance, before)]
        return fired[1]

    def late(mem: Tensor) -> Tensor:
        """The reset is the last spike, if it is asked of the same potential; a network may have begun anew."""
        distance = mem - module.threshold
        delayed = getattr(module, "reset_delay", True) and type(module).__name__ not in _RECURRENT
        if fired and delayed and torch.equal(distance.detach(), fired[0]):
            return fired[1]
        with torch.no_grad():
            return before(distance)

    module.spike_grad, module.mem_reset = fire, late
    try:
        yield
    finally:
        module.spike_grad = before
        del module.mem_reset
