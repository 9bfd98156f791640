"""SpikingJelly: IF, LIF and what else has a `surrogate_function`, single-step and multi-step. Tried: 2.0.0, 0.0.0.0.14.

    u[t] = V[t-1] + I[t]                            IFNode
    u[t] = V[t-1] + (I[t] - V[t-1]) / c             LIFNode(tau=c, decay_input=True), tau = 1 - 1/c in our words
    u[t] = V[t-1] - V[t-1] / c + I[t]               decay_input=False

The surrogate is an attribute that each step asks, `surrogate_function(u - theta)`; the fused kernels of 2.0 give way to
plain steps where it is none of theirs, and those of 0.0.0.0.14, which have no gradient, are for eval mode. There 2.0.0
leaves the surrogate out in a few neurons yet: in ComplementaryLIFNode, and in those of online learning, which stay so.
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


def spiking(module: nn.Module) -> bool:
    """See `Framework.spiking`."""
    return hasattr(module, "surrogate_function")


def reset(module: nn.Module) -> None:
    """See `Framework.reset`."""
    if hasattr(module, "reset") and hasattr(module, "_memories"):
        module.reset()  # type: ignore[operator]


def _values(module: Any) -> dict[str, Any]:
    c = getattr(module, "tau", None)
    if c is None and hasattr(module, "w"):  # ParametricLIFNode: 1/c = sigmoid(w)
        c = 1 / float(module.w.detach().sigmoid().mean())
    tau = float(getattr(module, "v_decay", 1.0)) if c is None else max(1e-6, 1 - 1 / float(c))
    return {
        "tau": tau,
        "theta": float(getattr(module, "v_threshold", 1.0)),  # that of a parallel neuron is in its bias
        # QIFNode, EIFNode and IzhikevichNode do not ask: they always take in I / c.
        "decay_input": bool(getattr(module, "decay_input", c is not None)) and tau < 1,
        "reset": "soft" if getattr(module, "v_reset", 0.0) is None else "hard",
        "detach_reset": bool(getattr(module, "detach_reset", False)),
    }


def nominal(module: nn.Module) -> Nominal:
    """See `Framework.nominal`."""
    return Nominal(**_values(module))


def twin(module: Any) -> LIF | None:
    """See `Framework.twin`."""
    plain = type(module).__name__ in ("IFNode", "LIFNode") and type(module).__module__.startswith("spikingjelly.")
    whole = plain and module.step_mode == "m" and not getattr(module, "store_v_seq", False)
    return LIF(**_values(module)) if whole and module.v_reset in (None, 0.0) else None


def own(module: Any) -> Callable[[Tensor], Tensor]:
    """See `Framework.own`."""
    surrogate = module.surrogate_function
    return lambda v: surrogate(v)  # no module, which would be a part of who keeps it


def sequence(module: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """See `Framework.sequence`."""
    return one_step() if getattr(module, "step_mode", "m") == "s" else ((lambda x: x), (lambda x: x))


class _FireModule(nn.Module):
    """A module, since the node has one there."""

    def __init__(self, fire: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.spiking = True
        self.forward = fire


@contextmanager
def listen(module: Any, listener: Listener) -> Iterator[None]:
    """See `Framework.listen`."""
    names = [name for name in ("surrogate_function", "detach_reset", "training") if hasattr(module, name)]
    before, surrogate = [getattr(module, name) for name in names], own(module)

    def fire(v: Tensor) -> Tensor:
        if hasattr(module, "v_threshold"):
            return listener.fire(v, surrogate)
        return torch.stack([listener.fire(step, surrogate) for step in v])  # a parallel neuron: all steps at once

    module.surrogate_function = _FireModule(fire)
    if "detach_reset" in names:
        module.detach_reset = False  # the listener says whether the gradient goes through the reset
    before_2 = not hasattr(module, "single_step_functional_forward")
    if before_2 or type(module).__name__ == "ComplementaryLIFNode":
        module.training = True
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(module, name, value)
