"""What a layer of spiking neurons does to zeros of the gradient, under whichever rule it is differentiated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from robustsnn.ground.errors import UserError
from robustsnn.neurons.rules import Connects


@dataclass(frozen=True)
class Fired:
    """Which neurons never fired, and which at every step; `[1, B, ...]`."""

    silent: Tensor
    saturated: Tensor


@dataclass(frozen=True)
class Heard:
    """Masks over the input current `[T or 1, B, ...]`: what is connected to, and hears, non-zero spike gradients.

    `by_spikes` says that what is deaf is so for what the neuron did: it never or always fired, or a reset
    cut the way through time; else its potential is where the rule has no slope.
    """

    connected: Tensor
    heard: Tensor
    by_spikes: Tensor
    fired: Fired


def neurons(node: Any, lit: Tensor) -> Heard | None:
    """See `Heard`; `lit` `[T, B, ...]` says where the gradient at the spikes is not zero.

    None for a rule that does not say what it connects.

    Asks the rule itself, with a gradient of one at one step after the other, so nothing can cancel.
    """
    rule, neuron = node.rule, node.neuron
    connects = getattr(rule, "connects", None)
    if connects is None:
        return None
    if connects not in get_args(Connects):
        raise UserError(f"{rule!r}: connects={connects!r}; allowed are {', '.join(map(repr, get_args(Connects)))}")
    count = lit.shape[0]
    (current,) = node.saved_tensors
    constant = current.shape[0] == 1
    everywhere = current.expand(count, *current.shape[1:])
    spikes = neuron.spikes(everywhere, count)
    silent, saturated = (spikes == 0).all(0, keepdim=True), (spikes == 1).all(0, keepdim=True)
    connected, heard, entered = (torch.zeros_like(lit) for _ in range(3))
    held = getattr(rule, "held", None)
    try:
        if held is not None:
            rule.held = True  # a rule that remembers uses what it knows, and learns nothing from being asked
        for t in range(count):
            one = torch.zeros_like(everywhere)
            one[t] = 1
            answer = rule.input_gradient(one, everywhere, neuron) != 0
            heard |= answer & lit[t]
            to = _steps(connects, t, count)
            connected[to] |= lit[t]
            entered[to] |= lit[t] & answer[t]
    finally:
        if held is not None:
            rule.held = held
    if constant:
        connected, heard, entered = (mask.any(0, keepdim=True) for mask in (connected, heard, entered))
    return Heard(connected, heard, silent | saturated | entered, Fired(silent, saturated))


def _steps(connects: Connects, t: int, count: int) -> slice:
    """The steps of the current that the spike of step t is connected to, in the backward pass of a rule."""
    return {"later": slice(0, t + 1), "same": slice(t, t + 1), "all": slice(0, count)}[connects]
