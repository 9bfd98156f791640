"""Norse: cells and layers that fire by `threshold(v - v_th, method, alpha)`, with or without recurrence. Tried: 1.1.0.

    i[t] = (1 - dt/tau_syn) (i[t-1] + I[t]),   u[t] = V[t-1] + dt/tau_mem (i - V[t-1])     LIF: the current leaks too

Their step is a function, `activation`, which looks the threshold up where it is defined; so that is where it is
replaced while the step runs.
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
    step = getattr(module, "activation", None)
    return hasattr(module, "p") and hasattr(module.p, "method") and "threshold" in getattr(step, "__globals__", {})


def reset(module: nn.Module) -> None:
    """States are handed in and out."""


def _number(value: Any) -> float:
    return float(torch.as_tensor(value).detach().float().mean())


def nominal(module: Any) -> Nominal:
    """See `Framework.nominal`."""
    share = module.dt * _number(getattr(module.p, "tau_mem_inv", 0.0))  # of the current that a step takes in
    kept = min(1.0, max(1e-6, 1 - share))
    soft = getattr(getattr(module.p, "reset_method", None), "__name__", "") == "reset_subtract"
    return Nominal(
        tau=kept, theta=_number(module.p.v_th) or 1.0, decay_input=kept < 1, reset="soft" if soft else "hard"
    )


def twin(module: Any) -> LIF | None:
    """See `Framework.twin`."""
    return None  # a potential equal to the threshold does not fire, and currents leak


def own(module: Any) -> Callable[[Tensor], Tensor]:
    """See `Framework.own`."""
    function, p = module.activation.__globals__["threshold"], module.p
    return lambda v: function(v, p.method, p.alpha)


def sequence(module: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """See `Framework.sequence`."""
    cell = any(kind.__name__ in ("SNNCell", "SNNRecurrentCell") for kind in type(module).__mro__)
    return one_step() if cell else ((lambda x: x), (lambda x: x))


@contextmanager
def listen(module: Any, listener: Listener) -> Iterator[None]:
    """See `Framework.listen`."""
    step = module.activation
    names, surrogate = step.__globals__, own(module)

    def stepped(*arguments: Any) -> Any:
        before, names["threshold"] = names["threshold"], lambda v, *_: listener.fire(v, surrogate)
        try:
            return step(*arguments)
        finally:
            names["threshold"] = before

    module.activation = stepped
    try:
        yield
    finally:
        module.activation = step
