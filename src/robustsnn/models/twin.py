"""The ReLU twin of a spiking network: the same layers and weights, without spikes and without time."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.neurons import Neurons

Network = TypeVar("Network", bound=nn.Module)


def relu_twin(model: Network) -> Network:
    """Put a ReLU in the place of every neuron layer of `model`, in place, and return it.

        s[t] = fire(I[1], ..., I[t])     becomes     a[t] = max(I[t], 0)

    so what a network loses or gains by its spikes can be told from what its layers, data and training do. Parameters
    keep their names, shapes and values. Each time step is then a network of its own, and logits are the mean over
    them: under direct coding all are alike, only one is computed, and T has no effect. Thresholds, leaks, resets,
    surrogates and gradient rules are gone.

    Raises UserError if there are no neuron layers of this library, as in networks of other frameworks.
    """
    layers = [(path, module) for path, module in model.named_modules() if isinstance(module, Neurons)]
    if not layers or isinstance(model, Neurons):
        raise UserError(
            f"{type(model).__name__} has no robustsnn neuron layers inside to put ReLUs for; leave it as it is"
        )
    for path, _ in layers:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, nn.ReLU())
    return model
