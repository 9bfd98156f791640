"""Do the neuron layers differentiate by the rule that they are given?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.probe import Probe
from robustsnn.neurons import STBP, Arctan, GradientRule, Neurons, neuron_layers
from robustsnn.neurons.integrate import LIF


class Constant:
    """dL/dI = 1, whatever comes from above: no rule that is honest, but one that nobody can overlook."""

    elementwise: ClassVar[bool] = False
    label = "constant"

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        return torch.ones_like(current)


def obedience(probe: Probe) -> list[Check]:
    """Flag rules-without-effect.

    All layers get a wide surrogate, so that nothing is cut off; then one of them after the other `Constant`, and the
    input gradient must change for some image. A layer that no pass calls has no say, unless that is true of all. Nor has
    one whose spikes another layer repeats that does obey: a copy of the network that carries the gradient, while the
    values are those of the original, hides nothing.
    """
    layers = neuron_layers(probe.model)
    wide: GradientRule = STBP(Arctan(2.0))
    with _watching(layers) as spikes:
        probe.gradient(wide)
    usual = probe.gradient(wide).nan_to_num()
    deaf = []
    for one in layers:
        with ExitStack() as given:
            for layer in layers:
                given.enter_context(_given(layer, Constant() if layer is one else wide))
            change = probe.gradient(None).nan_to_num() - usual
        deaf.append(bool((change.flatten(1).norm(dim=1) <= 1e-4 * usual.flatten(1).norm(dim=1)).all()))
    silent = [layer for layer, is_deaf in zip(layers, deaf, strict=True) if is_deaf]
    obeyed = {spikes[layer] for layer in layers if layer in spikes and layer not in silent}
    ignoring = [layer for layer in silent if layer in spikes and spikes[layer] not in obeyed]
    text = f"{len(ignoring)} of the {len(spikes)} neuron layers that are called pay no attention to the gradient rule"
    if all(deaf):
        text = f"no gradient rule has any effect on any of {len(layers)} neuron layers"
    raised = bool(ignoring) or all(deaf)
    return [Check(FLAGS["rules-without-effect"], raised, text, len(silent) / len(layers))]


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
