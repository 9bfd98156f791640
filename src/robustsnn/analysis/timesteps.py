"""A network run with another number of time steps than it was built for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from robustsnn.encoders import Frames, Latency
from robustsnn.ground.errors import UserError
from robustsnn.neurons import neuron_layers


def steps_of(model: nn.Module) -> int:
    """T of its neuron layers (the most, if they differ); 1 for a network without any."""
    return max((layer.steps for layer in neuron_layers(model)), default=1)


@contextmanager
def running_for(model: nn.Module, steps: int) -> Iterator[None]:
    """Run neurons and encoder for `steps` time steps inside the block; each as it was at the end.

    Weights, norms and thresholds stay, so this is the network that was trained with its own T, and not the one
    that training with `steps` gives. Set is `steps` of each module that has one and is meant for the network's T.

    Raises UserError for networks without neuron layers, on event frames (the data fix T), and where an encoder
    cannot do with so few steps.
    """
    if steps < 1:
        raise UserError(f"steps={steps}: a spiking network needs at least one time step")
    if not neuron_layers(model):
        raise UserError(f"{type(model).__name__} has no robustsnn neuron layers, so it has no number of time steps")
    built = steps_of(model)
    timed: list[Any] = [m for m in model.modules() if getattr(m, "steps", None) == built]
    if steps != built:
        if any(isinstance(module, Frames) for module in timed):
            raise UserError(
                f"this network takes recordings of {built} frames, so it cannot run for {steps} steps; train one "
                f"network on recordings cut into {steps} frames, and give networks as {{T: model}}, data as {{T: data}}"
            )
        if steps < 2 and any(isinstance(module, Latency) for module in timed):
            raise UserError(f"steps={steps}: latency coding needs at least 2 time steps")
    try:
        for module in timed:
            module.steps = steps
        yield
    finally:
        for module in timed:
            module.steps = built
