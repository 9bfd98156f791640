"""The smooth twin of a spiking network: neurons that fire the surrogate's primitive instead of the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.layer import neuron_layers
from robustsnn.neurons.rules import GradientRule
from robustsnn.neurons.surrogate import Surrogate


@dataclass(frozen=True)
class _Smooth(LIF):
    """`LIF` with s[t] = P(u[t] - theta), so that all of `run` is differentiable by autograd."""

    surrogate: Surrogate = field(kw_only=True)

    def step(self, potential: Tensor) -> Tensor:
        return self.surrogate.primitive(potential - self.theta)


def _surrogate(rule: GradientRule) -> Surrogate:
    surrogate = getattr(rule, "surrogate", None)
    if surrogate is None or not rule.elementwise:
        raise UserError(
            f"neurons with the rule {rule!r} have no smooth twin, for want of a fixed surrogate; use STBP, for example "
            f"by gradient_rule(model, STBP())"
        )
    return surrogate


@contextmanager
def smooth_forward(model: nn.Module) -> Iterator[None]:
    """Inside the block all neuron layers of `model` fire P(u[t] - theta) in place of the step H(u[t] - theta).

    P is the primitive of the surrogate of the layer's rule at entry, and dP/du the slope that the rule puts in place
    of the step's derivative; resets use the smooth spikes. The network is then a differentiable function of its
    input (as smooth as P), and autograd gives its exact gradient: backpropagation through time with that
    surrogate, taken at the smooth potentials. A reset counts in it also where `detach_reset` is set, since otherwise
    the gradient would be that of no function. Other logits, so another classifier: it serves to check theory.

    The passes record a graph step by step, eagerly. Afterwards, after an exception too, all is as it was. UserError
    for a model without neuron layers, and for rules without a fixed surrogate.
    """
    layers = neuron_layers(model)
    if not layers:
        raise UserError(f"{type(model).__name__} has no robustsnn neuron layers, so it has no smooth twin")
    if any("forward" in vars(layer) for layer in layers):
        raise UserError(f"the neuron layers of {type(model).__name__} are replaced already, by smooth_forward perhaps")
    twins = [_Smooth(**layer.neuron.values(), surrogate=_surrogate(layer.rule)) for layer in layers]
    try:
        for layer, twin in zip(layers, twins, strict=True):
            steps = layer.steps
            # An attribute of the object hides the method, and the hooks of the layer still run.
            layer.forward = lambda current, twin=twin, steps=steps: twin.spikes(current, steps)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
