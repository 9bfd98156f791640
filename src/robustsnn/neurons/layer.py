"""The neuron layer of a network, and the context manager that swaps its gradient rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from robustsnn.ground.door import check_kind, check_whole
from robustsnn.ground.errors import UserError
from robustsnn.neurons.flow import ResetFlow
from robustsnn.neurons.fused import fire
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.rules import STBP, GradientRule


class Neurons(nn.Module):
    """A layer of spiking neurons: currents `[T, B, ...]` (or `[1, B, ...]`) -> spikes `[T, B, ...]`.

    It has no parameters and no state: each call starts from an empty membrane.

    Args:
        neuron: the dynamics, for example `IF()`.
        steps: T, the number of time steps.
        rule: how to differentiate; `gradient_rule` swaps it for a while.
    """

    def __init__(self, neuron: LIF, steps: int, rule: GradientRule | None = None) -> None:
        super().__init__()
        check_kind("neuron", neuron, LIF, "robustsnn.neurons.LIF(tau=0.5)")
        check_whole("steps", steps, of=", time steps of a spiking network")
        if rule is not None:
            check_kind("rule", rule, GradientRule, "robustsnn.neurons.STBP(), or None")
        self.neuron = neuron
        self.steps = steps
        self.rule: GradientRule = rule if rule is not None else STBP()

    def forward(self, current: Tensor) -> Tensor:
        return fire(current, self.steps, self.neuron, self.rule)

    def extra_repr(self) -> str:
        return f"{self.neuron}, steps={self.steps}, rule={self.rule}"


def neuron_layers(model: nn.Module) -> list[Neurons]:
    """All neuron layers of a model, in the order of registration."""
    return [module for module in model.modules() if isinstance(module, Neurons)]


class Memory:
    """What the rules of all layers remember during one run; nothing, for most rules."""

    def __init__(self, rules: list[GradientRule]) -> None:
        self._remembering = [rule for rule in rules if hasattr(rule, "select")]

    def select(self, at: Tensor) -> None:
        """Keep what belongs to these samples of the batch; the following passes have these alone."""
        for rule in self._remembering:
            rule.select(at)  # type: ignore[attr-defined]

    def hold(self, held: bool) -> None:
        """While held, passes use what is remembered and leave it as it is."""
        for rule in self._remembering:
            rule.held = held  # type: ignore[attr-defined]


@contextmanager
def gradient_rule(model: nn.Module, rule: GradientRule | None) -> Iterator[Memory]:
    """Differentiate all neuron layers of `model` by `rule` inside the block; None changes nothing.

    Each layer gets its own rule back at the end, after an exception too. The forward pass is not
    affected. A rule that remembers starts afresh at each entry, layer by layer; the `Memory` that is yielded
    must be told when samples leave the batch. Raises UserError if the model has no neuron layers, since the
    rule would silently do nothing.
    """
    if rule is None:
        yield Memory([])
        return
    layers = neuron_layers(model)
    if not layers:
        raise UserError(
            f"gradient rule {rule!r} asked of {type(model).__name__}, which has no robustsnn neuron layers; "
            f"use rule=None to attack it by its own autograd"
        )
    previous = [(layer.rule, layer.neuron) for layer in layers]
    inner = rule.rule if isinstance(rule, ResetFlow) else rule
    begin = getattr(inner, "begin", None)
    try:
        for layer in layers:
            layer.rule = begin() if begin is not None else inner
            if isinstance(rule, ResetFlow):
                layer.neuron = rule.neuron(layer.neuron)  # the forward pass does not look at the flow
        yield Memory([layer.rule for layer in layers])
    finally:
        for layer, (old, neuron) in zip(layers, previous, strict=True):
            layer.rule, layer.neuron = old, neuron
