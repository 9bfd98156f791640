"""One layer of foreign neurons in one pass: its steps as they were, and a layer of ours that stands for it.

What a spike does in its own layer (a reset, a recurrence) is separate from what it does behind it. Behind it, it is a
leaf, and dL/ds[t] comes back all at once; a rule turns it into dL/du[t] by a slope, and the framework's own steps carry
that on, with the same slope in the reset.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.interop.own import Own, slope_of
from robustsnn.neurons import LIF, GradientRule, Neurons


@dataclass(frozen=True)
class Nominal(LIF):
    """What is known of a foreign neuron in the words of ours: the leak, threshold and gain that rate rules ask for.

    Its potentials are known only during a pass, see `SeenDynamics`.
    """

    def run(self, current: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """UserError: these neurons take their steps in their own framework."""
        raise UserError(
            "recorded neurons show their potentials during a pass only; those of a replaced network, always"
        )


@dataclass(frozen=True, eq=False)
class SeenDynamics(Nominal):
    """The dynamics of one layer in one pass: potentials and spikes as they were, the gradient through its own steps."""

    steps: Steps = field(kw_only=True)

    def run(self, current: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The recorded (u[t], s[t]); the current is known to be the recorded one."""
        for distance, spike in zip(self.steps.distances, self.steps.spikes, strict=True):
            yield distance.detach() + self.theta, spike

    def through_time(self, upstream: Tensor, trace: list[tuple[Tensor, Tensor]], slopes: list[Tensor]) -> list[Tensor]:
        """See `LIF.through_time`; by autograd through the framework's steps."""
        return self.steps.pull(upstream, slopes, attached=not self.detach_reset)


class _ForeignSpike(torch.autograd.Function):
    """The spike that the framework fired, to the neuron's own state; its derivative is what the pass is told later.

    What a spike does in its layer (a reset) is separate from what it does behind it: the latter enters at `distances`.
    """

    @staticmethod
    def forward(ctx: Any, distance: Tensor, spike: Tensor, steps: Steps, t: int) -> Tensor:
        # Weak, since the steps hold the graph that this is a part of: autograd's circles are never collected.
        ctx.steps, ctx.t = weakref.ref(steps), t
        return spike.clone()

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        steps = ctx.steps()
        return upstreams[0] * steps.slope(ctx.t) if steps.attached else None, None, None, None


class Steps:
    """What one neuron layer did in one pass.

    inputs: what it was called with, call by call, part of the graph before it; currents: the same as leaves, from which
    its own steps were taken. distances: v[t] = u[t] - theta in that graph, step by step; spikes: s[t]. outputs: the
    spikes of each call as leaves, from which the rest of the network goes on.
    """

    def __init__(self, layer: RecordedNeurons) -> None:
        self.layer = layer
        self.inputs: list[Tensor] = []
        self.currents: list[Tensor] = []
        self.distances: list[Tensor] = []
        self.spikes: list[Tensor] = []
        self.owns: list[Callable[[Tensor], Tensor]] = []
        self.outputs: list[Tensor] = []
        self.inner: list[Tensor] = []  # `outputs` before they were cut
        self.slopes: list[Tensor] | None = None
        self.attached = not layer.neuron.detach_reset

    def fire(self, distance: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
        """The spikes of v = u - theta of one step, in place of the framework's own function of it."""
        shape, step = distance.shape, self.layer.unfold(self.currents[-1])[0]
        if distance.numel() == step.numel():  # some flatten what they get
            distance = distance.view_as(step)
        with torch.no_grad():
            spike = own(distance.detach())
        self.distances.append(distance)
        self.spikes.append(spike)
        self.owns.append(own)
        return _ForeignSpike.apply(distance, spike, self, len(self.spikes) - 1).view(shape)  # type: ignore[no-any-return]

    def slope(self, t: int) -> Tensor:
        """ds[t]/du[t]: what the rule gave, or the framework's own where a membrane is read without any rule."""
        return slope_of(self.owns[t], self.distances[t]) if self.slopes is None else self.slopes[t]

    def pull(self, upstream: Tensor, slopes: list[Tensor], attached: bool) -> list[Tensor]:
        """dL/dI[t] of dL/ds[t], with these slopes; `attached`: also through the spike in the reset."""
        before, self.slopes, self.attached = self.attached, slopes, attached
        at = [(v, upstream[t].to(v) * slopes[t]) for t, v in enumerate(self.distances) if v.requires_grad]
        try:
            found = gradients(at, self.currents)
        finally:
            self.slopes, self.attached = None, before
        return list(self.layer.whole(filled(found, self.currents)).unbind())

    def dynamics(self) -> SeenDynamics:
        """The layer's neuron with what it did here."""
        neuron = self.layer.neuron
        return SeenDynamics(**{f.name: getattr(neuron, f.name) for f in fields(LIF)}, steps=self)


@dataclass(frozen=True)
class OwnSteps(Own):
    """`Own` of a recorded layer: its slopes are those of the steps it took, each with the threshold it had then."""

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        assert isinstance(neuron, SeenDynamics)
        slopes = [neuron.steps.slope(t) for t in range(len(upstream))]
        return torch.stack(neuron.through_time(upstream, [], slopes))


class RecordedNeurons(Neurons):
    """A layer of foreign neurons, over all steps of a pass that is recorded; called by the tape alone.

    Args:
        name: of the layer in its network.
        neuron: its constants in our words.
        rule: the layer's own rule, STBP with the framework's surrogate.
        sequence: from the foreign layer to `unfold` and `fold`, see `Framework.sequence`.
        module: the foreign layer.
    """

    def __init__(
        self,
        name: str,
        neuron: Nominal,
        rule: OwnSteps,
        sequence: Callable[[nn.Module], tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]],
        module: nn.Module,
    ) -> None:
        super().__init__(neuron, 1, rule)
        self.name, self.sequence = name, sequence
        self.called(module)
        self.seen: SeenDynamics | None = None

    def called(self, module: nn.Module) -> None:
        """The foreign layer is about to be called: how it takes sequences may have changed since the last time."""
        self.unfold, self.fold = self.sequence(module)

    def whole(self, calls: list[Tensor]) -> Tensor:
        """`[T, B, ...]` of what was given call by call."""
        return torch.cat([self.unfold(call) for call in calls])

    def calls(self, whole: Tensor, like: list[Tensor]) -> list[Tensor]:
        """The inverse of `whole`."""
        parts = whole.split([len(self.unfold(call)) for call in like])
        return [self.fold(part) for part in parts]

    def replay(self, current: Tensor, steps: Steps) -> Tensor:
        """The spikes of a pass, `[T, B, ...]`, differentiable by the layer's rule."""
        nominal, seen = self.neuron, steps.dynamics()
        self.neuron = self.seen = seen
        try:
            return self(current)  # type: ignore[no-any-return]
        finally:
            self.neuron, self.seen = nominal, None

    def forward(self, current: Tensor) -> Tensor:
        if self.seen is None:
            raise UserError("recorded neurons are called by the network that they are recorded in, not on their own")
        return _FireAsSeen.apply(current, self.seen, self.rule)  # type: ignore[no-any-return]


class _FireAsSeen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: SeenDynamics, rule: GradientRule) -> Tensor:
        ctx.save_for_backward(current)
        ctx.neuron, ctx.rule = neuron, rule
        return torch.stack(neuron.steps.spikes)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        no_second()
        return ctx.rule.input_gradient(upstreams[0], *ctx.saved_tensors, ctx.neuron), None, None


def no_second() -> None:
    """UserError under create_graph=True."""
    if torch.is_grad_enabled():
        raise UserError("recorded neurons have no second derivatives (create_graph=True); a replaced network has them")


def gradients(of: list[tuple[Tensor, Tensor]], at: list[Tensor]) -> list[Tensor | None]:
    """Gradients at leaves of a sum of products, None where there is none; the graph is kept."""
    if not of or not at:
        return [None] * len(at)
    tensors, weights = zip(*of, strict=True)
    return list(torch.autograd.grad(tensors, at, weights, retain_graph=True, allow_unused=True))


def filled(found: list[Tensor | None], leaves: list[Tensor]) -> list[Tensor]:
    """Zeros where there is no gradient."""
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]
