"""Do the neuron layers differentiate by the rule that they are given?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.points import corner
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.widest import wide
from robustsnn.neurons import STBP, Arctan, GradientRule, Neurons, neuron_layers
from robustsnn.neurons.integrate import LIF

DEAF = 1e-3
"""A smaller share of the gradient is no change. In honest residual networks of 36 layers the least is above 0.1."""


class Turned:
    """A rule with the wrong sign: no honest one, but nobody can overlook it through whom a gradient goes."""

    elementwise: ClassVar[bool] = False

    def __init__(self, rule: GradientRule) -> None:
        self.rule, self.label = rule, f"turned-{rule.label}"

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        return -self.rule.input_gradient(upstream, current, neuron)


def obedience(probe: Probe) -> list[Check]:
    """Flag rules-without-effect.

    All layers get a wide surrogate, so that nothing is cut off; then one of them after the other `Turned`, and the
    input gradient must change for some image, at the images and at a corner of the threat. Else the layer
    differentiates by something else than its rule, or gets no gradient from above and another network's is shown.

    A layer that the margins do not depend on has no say, unless that is true of all. Nor has one whose spikes another
    layer repeats that does obey: a copy of the network that carries the gradient, while the values are those of the
    original, hides nothing.
    """
    layers, most = neuron_layers(probe.model), 0.0
    text = f"all of {len(layers)} neuron layers obey the gradient rule where they have a say"
    raised = False
    for name, z in (("at the images", probe.x), ("at corners", corner(probe))):
        silent, ignoring, called = _silent(probe, z, layers)
        most = max(most, len(silent) / len(layers))
        if len(silent) == len(layers):
            raised, text = True, f"no gradient rule has any effect on any of {len(layers)} neuron layers"
        elif ignoring and not raised:
            raised = True
            text = (
                f"{ignoring} of the {called} neuron layers that are called pay no attention to the gradient rule {name}"
            )
    return [Check(FLAGS["rules-without-effect"], raised, text, most)]


def _silent(probe: Probe, z: Tensor, layers: list[Neurons]) -> tuple[list[Neurons], int, int]:
    """The layers whose rule changes nothing at z, how many of them ought to, and how many are called."""
    arctan: GradientRule = STBP(Arctan(2.0))
    with _watching(layers) as spikes:
        probe.gradient(arctan, at=z)
    usual = probe.gradient(arctan, at=z).nan_to_num()
    silent = []
    for one in layers:
        with ExitStack() as given:
            for layer in layers:
                given.enter_context(_given(layer, Turned(arctan) if layer is one else arctan))
            change = probe.gradient(None, at=z).nan_to_num() - usual
        moved, whole = (wide(part.flatten(1)).norm(dim=1) for part in (change, usual))
        if bool((moved <= DEAF * whole).all()):
            silent.append(one)
    obeyed = {spikes[layer] for layer in layers if layer in spikes and layer not in silent}
    ignoring = [one for one in silent if one in spikes and spikes[one] not in obeyed and _matters(probe, z, one)]
    return silent, len(ignoring), len(spikes)


def _matters(probe: Probe, z: Tensor, layer: Neurons) -> bool:
    """Whether margins change when the layer fires where it does not, and the other way round."""

    def swap(module: nn.Module, _: object, spikes: Tensor) -> Tensor:
        return 1 - spikes

    before = probe.margins(z)
    hook = layer.register_forward_hook(swap)
    try:
        return not torch.equal(probe.margins(z), before)
    finally:
        hook.remove()


@contextmanager
def _given(layer: Neurons, rule: GradientRule) -> Iterator[None]:
    """A rule for one layer, which gets its own back."""
    before, layer.rule = layer.rule, rule
    try:
        yield
    finally:
        layer.rule = before


@contextmanager
def _watching(layers: list[Neurons]) -> Iterator[dict[nn.Module, str]]:
    """The layers that are called inside the block, as it goes, each with a digest of the spikes of its last call."""
    called: dict[nn.Module, str] = {}

    def look(module: nn.Module, _: object, spikes: Tensor) -> None:
        called[module] = hashlib.sha256(spikes.detach().bool().cpu().contiguous().numpy().tobytes()).hexdigest()

    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()
