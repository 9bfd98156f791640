"""SpikingJelly's neurons of the same dynamics: as documented, and the fastest ways that it has here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import torch
from torch import Tensor

from robustsnn.neurons import LIF

Layer: TypeAlias = Callable[[Tensor], Tensor]
"""Currents `[T, B, ...]` to spikes of the same shape."""

MODULE = "SpikingJelly, module"
"""Its multi-step layer on the torch backend, as documented."""


def installed() -> bool:
    """Whether it can be used at all."""
    if find_spec("spikingjelly") is None:
        return False
    try:
        _part("neuron")
    except Exception:  # whatever keeps a foreign package from being imported here
        return False
    return True


def _part(name: str) -> Any:
    """A module of it; what it warns of on import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(f"spikingjelly.activation_based.{name}")


def layers(neuron: LIF, dtype: torch.dtype, device: torch.device, *, compiled: bool = False) -> dict[str, Layer]:
    """Its layers for IF, and LIF with tau = 0.5: hard reset, arctan surrogate of sharpness 2; empty if not installed.

    Version 2 has a function with a hand-written backward too, which keeps a float32 membrane as ours does; its
    module keeps one in the dtype of the current. On a GPU the backends cupy and triton come on top, where they are
    there and answer.
    """
    if not installed():
        return {}
    functional, nodes, surrogate = _part("functional"), _part("neuron"), _part("surrogate")
    leak: dict[str, Any] = {} if neuron.tau == 1 else {"tau": 2.0, "decay_input": neuron.decay_input}
    common: dict[str, Any] = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": False}
    common["surrogate_function"] = surrogate.ATan(alpha=2.0)

    def node(backend: str = "torch") -> Any:
        made = (nodes.LIFNode if leak else nodes.IFNode)(step_mode="m", **leak, **common)
        if hasattr(made, "backend"):
            made.backend = backend
        return made

    plain = node()
    ways: dict[str, Layer] = {MODULE: partial(_run, plain, plain)}
    if compiled:
        ways[f"{MODULE}, torch.compile"] = partial(_run, plain, torch.compile(plain))
    if hasattr(functional, "if_multi_step"):
        step = functional.lif_multi_step if leak else functional.if_multi_step

        def function(current: Tensor) -> Tensor:
            empty = torch.zeros_like(current[0], dtype=torch.float32)
            return step(current, empty, **leak, **common)[0]

        ways["SpikingJelly, function"] = function
        if compiled:
            ways["SpikingJelly, function, torch.compile"] = torch.compile(function)
    for backend in ("cupy", "triton") if device.type == "cuda" else ():
        made = _on(node, backend, dtype, device) if find_spec(backend) is not None else None
        if made is not None:
            ways[f"SpikingJelly, {backend}"] = partial(_run, made, made)
    return ways


def _run(node: Any, call: Layer, current: Tensor) -> Tensor:
    node.reset()
    return call(current)


def _on(node: Callable[[str], Any], backend: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A layer on that backend, or None where it does not work with such currents."""
    try:
        made = node(backend)
        current = torch.ones(2, 2, 4, dtype=dtype, device=device, requires_grad=True)
        _run(made, made, current).sum().backward()
    except Exception:  # whatever a foreign backend raises, it is not there
        return None
    return made
