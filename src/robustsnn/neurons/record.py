"""What flows into the neurons during a pass: currents, and from them potentials, with gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.neurons.fused import surrogate_of
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.layer import Neurons


@dataclass(frozen=True)
class Record:
    """One call of one neuron layer.

    Args:
        name: of the layer within the model, as `named_modules` has it.
        layer: the layer.
        current: what it was called with, `[T or 1, B, ...]`, part of the autograd graph of the pass.
        neuron: its dynamics in that pass.
    """

    name: str
    layer: Neurons
    current: Tensor
    neuron: LIF

    def trace(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(u[t], s[t]) for t = 1 .. T, each `[B, ...]`: the potential before its reset, and the spike.

        Recomputed from the current, step by step. Where that has a gradient so have they, by the surrogate of
        the layer's rule as in backpropagation through time; UserError for rules without a fixed surrogate.
        """
        neuron = self.neuron
        if torch.is_grad_enabled() and self.current.requires_grad:
            neuron = neuron.differentiable(surrogate_of(self.layer.rule))
        return neuron.run(self.current, self.layer.steps)


@contextmanager
def recording(model: nn.Module) -> Iterator[list[Record]]:
    """Collect a `Record` of each call of a neuron layer inside the block, in the order of the calls.

    The passes are those without it, bit for bit (up to rounding in large networks, where a batch norm otherwise runs
    in the kernels of the neurons behind it), and the model is left as it was, after an exception too.
    UserError for a model without neuron layers.
    """
    records: list[Record] = []
    hooks = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, Neurons):

                def keep(layer: nn.Module, arguments: tuple[Any, ...], name: str = name) -> None:
                    assert isinstance(layer, Neurons)
                    records.append(Record(name, layer, arguments[0], layer.neuron))

                hooks.append(module.register_forward_pre_hook(keep))
        if not hooks:
            raise UserError(f"{type(model).__name__} has no robustsnn neuron layers, so there is nothing to record")
        yield records
    finally:
        for hook in hooks:
            hook.remove()
