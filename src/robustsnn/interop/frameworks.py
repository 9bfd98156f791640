"""What has to be known of a framework of spiking networks, and which one a module comes from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

from torch import Tensor, nn

from robustsnn.interop.steps import Nominal
from robustsnn.neurons import LIF

KNOWN = ("spikingjelly", "snntorch", "sinabs", "norse")
"""Packages of which there is a file of the same name beside this one, which imports the package at no time."""


class Listener(Protocol):
    """Who fires in place of a framework's step."""

    def fire(self, distance: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        """The spikes of v = u - theta; `own` is what the framework would fire, with its surrogate."""
        ...


class Framework(Protocol):
    """One framework; each function takes a module that comes from it."""

    def spiking(self, module: nn.Module) -> bool:
        """Whether it is a layer of neurons that can be recorded."""
        ...

    def reset(self, module: nn.Module) -> None:
        """Forget all state of this module; nothing, where it has none."""
        ...

    def nominal(self, module: nn.Module) -> Nominal:
        """Leak, threshold and gain; `detach_reset` as the framework's own gradient has it."""
        ...

    def twin(self, module: nn.Module) -> LIF | None:
        """Dynamics of ours that are the same, of a layer that is called with whole sequences `[T, B, ...]`."""
        ...

    def own(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        """The step, from v = u - theta to spikes, with the layer's surrogate in its backward pass."""
        ...

    def sequence(self, module: nn.Module) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """From what the layer takes and gives in one call to `[t, B, ...]`, and back."""
        ...

    def listen(self, module: nn.Module, listener: Listener) -> AbstractContextManager[None]:
        """Let the layer fire by `listener` inside the block, once per step."""
        ...


def framework_of(module: nn.Module) -> Framework | None:
    """The framework that the class of a module comes from, a class derived from one of its classes too."""
    for kind in type(module).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in KNOWN:
            found: ModuleType = import_module(f"robustsnn.interop.{package}")
            return cast(Framework, found)
    return None


def spiking_modules(net: nn.Module) -> dict[str, nn.Module]:
    """All layers of neurons that some framework knows, by name; those within another such layer are a part of it."""
    found: dict[str, nn.Module] = {}
    for name, module in net.named_modules():
        framework = framework_of(module)
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if framework is not None and not inside and framework.spiking(module):
            found[name] = module
    return found


def out_of_sight(net: nn.Module) -> dict[str, str]:
    """Layers of neurons that are there and cannot be recorded, with the reasons: not known, or in a plain list."""
    found: dict[str, str] = {}
    for name, module in net.named_modules():
        framework, parameters = framework_of(module), getattr(module, "p", None)
        # Norse: neurons have a threshold among their parameters, or among those of the neuron that they extend.
        norse = any(hasattr(part, "v_th") for part in (parameters, getattr(parameters, "lif", None)))
        # snnTorch's parallel ones and SpikingJelly's that are differentiated by no surrogate (DSR).
        fires = norse or any(hasattr(module, name) for name in ("spike_grad", "v_threshold"))
        if framework is not None and fires and not framework.spiking(module):
            found[name] = f"neurons of the kind {type(module).__name__} are not known"
        for key, value in vars(module).items():
            kept = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            for item in () if key.startswith("_") else kept:
                other = framework_of(item) if isinstance(item, nn.Module) else None
                if other is not None and other.spiking(item):
                    why = "in a plain list or dict, where it is not found; use nn.ModuleList or nn.ModuleDict"
                    found[f"{name}.{key}".lstrip(".")] = why
    return found


def reset(net: nn.Module) -> None:
    """Forget the state of all layers, and the graph that some keep in what they show of their last pass."""
    for module in net.modules():
        framework = framework_of(module)
        if framework is not None:
            framework.reset(module)
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    vars(module)[name] = value.detach()


def one_step() -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """`sequence` of a layer that takes one step in a call."""
    return (lambda x: x.unsqueeze(0)), (lambda x: x.squeeze(0))
