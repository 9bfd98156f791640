"""A network of foreign neurons, recorded: any gradient rule acts on dynamics that are not ours.

A network that loops over time calls each neuron layer once per step, and its loop is in its own code. A rule of ours
looks at a layer's whole current `[T, B, ...]`, which is complete only when the loop has ended. So the network runs once
as it is, and every call of a neuron layer is a cut of the autograd graph: what goes in is kept, what comes out is a new
leaf. Afterwards the pieces are put together again in another order, layer by layer instead of step by step:

    x -> piece -> I_1 [T, B, ...] -> neurons 1 -> s_1 [T, B, ...] -> piece -> I_2 -> ... -> piece -> logits

A piece is an autograd function with the values that are known already; its backward pass goes through the part of the
graph that was recorded. The neurons are `Recorded` layers, called as layers of ours are, so that rules, hooks and
searches find in them what they find in ours. Within a layer the framework's own step is differentiated, with the slope
that the rule gives in place of the step's derivative: whatever the step does, a synaptic current, a delayed reset or an
adaptive threshold, stays in the gradient.

Needed is an order of the layers: no spike may reach a current of the same or an earlier layer (a recurrence within a
layer, that its own step makes, is part of the step).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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

    Its potentials are known only during a pass, see `Seen`.
    """

    def run(self, current: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """UserError: these neurons take their steps in their own framework."""
        raise UserError(
            "recorded neurons show their potentials during a pass only; those of a replaced network, always"
        )


@dataclass(frozen=True, eq=False)
class Seen(Nominal):
    """The dynamics of one layer in one pass: potentials and spikes as they were, the gradient through its own steps."""

    steps: Steps = field(kw_only=True)

    def run(self, current: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The recorded (u[t], s[t]); the current is known to be the recorded one."""
        for distance, spike in zip(self.steps.distances, self.steps.spikes, strict=True):
            yield distance.detach() + self.theta, spike

    def through_time(self, upstream: Tensor, trace: list[tuple[Tensor, Tensor]], slopes: list[Tensor]) -> list[Tensor]:
        """See `LIF.through_time`; by autograd through the framework's steps."""
        return self.steps.pull(upstream, slopes, attached=not self.detach_reset)


class _Step(torch.autograd.Function):
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

    def __init__(self, layer: Recorded) -> None:
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
        """The spikes of v = u - theta, in place of the framework's own function of it."""
        with torch.no_grad():
            spike = own(distance.detach())
        self.distances.append(distance)
        self.spikes.append(spike)
        self.owns.append(own)
        return _Step.apply(distance, spike, self, len(self.spikes) - 1)  # type: ignore[no-any-return]

    def slope(self, t: int) -> Tensor:
        """ds[t]/du[t]: what the rule gave, or the framework's own where a membrane is read without any rule."""
        return slope_of(self.owns[t], self.distances[t]) if self.slopes is None else self.slopes[t]

    def pull(self, upstream: Tensor, slopes: list[Tensor], attached: bool) -> list[Tensor]:
        """dL/dI[t] of dL/ds[t], with these slopes; `attached`: also through the spike in the reset."""
        before, self.slopes, self.attached = self.attached, slopes, attached
        at = [(v, upstream[t].to(v) * slopes[t]) for t, v in enumerate(self.distances) if v.requires_grad]
        try:
            found = _gradients(at, self.currents)
        finally:
            self.slopes, self.attached = None, before
        return list(self.layer.whole(_filled(found, self.currents)).unbind())

    def dynamics(self) -> Seen:
        """The layer's neuron with what it did here."""
        neuron = self.layer.neuron
        return Seen(**{f.name: getattr(neuron, f.name) for f in fields(LIF)}, steps=self)


@dataclass(frozen=True)
class OwnSteps(Own):
    """`Own` of a recorded layer: its slopes are those of the steps it took, each with the threshold it had then."""

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        assert isinstance(neuron, Seen)
        slopes = [neuron.steps.slope(t) for t in range(len(upstream))]
        return torch.stack(neuron.through_time(upstream, [], slopes))


class Recorded(Neurons):
    """A layer of foreign neurons, over all steps of a pass that is recorded; called by the tape alone.

    Args:
        name: of the layer in its network.
        neuron: its constants in our words.
        rule: the layer's own rule, STBP with the framework's surrogate.
        fold, unfold: from what the layer takes and gives in one call to `[t, B, ...]`, and back.
    """

    def __init__(
        self,
        name: str,
        neuron: Nominal,
        rule: OwnSteps,
        unfold: Callable[[Tensor], Tensor],
        fold: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(neuron, 1, rule)
        self.name, self.unfold, self.fold = name, unfold, fold
        self.seen: Seen | None = None

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
        return _Fire.apply(current, self.seen, self.rule)  # type: ignore[no-any-return]


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, neuron: Seen, rule: GradientRule) -> Tensor:
        ctx.save_for_backward(current)
        ctx.neuron, ctx.rule = neuron, rule
        return torch.stack(neuron.steps.spikes)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        _no_second()
        return ctx.rule.input_gradient(upstreams[0], *ctx.saved_tensors, ctx.neuron), None, None


def _no_second() -> None:
    if torch.is_grad_enabled():
        raise UserError("recorded neurons have no second derivatives (create_graph=True); a replaced network has them")


def _gradients(of: list[tuple[Tensor, Tensor]], at: list[Tensor]) -> list[Tensor | None]:
    """Gradients at leaves of a sum of products, None where there is none; the graph is kept."""
    if not of or not at:
        return [None] * len(at)
    tensors, weights = zip(*of, strict=True)
    return list(torch.autograd.grad(tensors, at, weights, retain_graph=True, allow_unused=True))


def _filled(found: list[Tensor | None], leaves: list[Tensor]) -> list[Tensor]:
    """Zeros where there is no gradient."""
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


@dataclass
class _Cut:
    """Leaves of the recorded graph, and how they make one tensor of the graph that is put together."""

    leaves: list[Tensor]
    whole: Callable[[list[Tensor]], Tensor]

    def gradient(self, found: list[Tensor | None]) -> Tensor | None:
        """That of the one tensor; None where no leaf has any."""
        return None if all(g is None for g in found) else self.whole(_filled(found, self.leaves))


class _Piece(torch.autograd.Function):
    """A part of the recorded graph between cuts, as one function of what the cuts became."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        split: Callable[[Tensor], list[Tensor]],
        out: list[Tensor],
        cuts: list[_Cut],
        *_: Tensor,
    ) -> Tensor:
        ctx.split, ctx.out, ctx.cuts = split, out, cuts
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        _no_second()
        of = [(o, g.to(o)) for o, g in zip(ctx.out, ctx.split(upstreams[0]), strict=True) if o.requires_grad]
        wanted = [cut for cut, needed in zip(ctx.cuts, ctx.needs_input_grad[4:], strict=True) if needed]
        found = iter(_gradients(of, [leaf for cut in wanted for leaf in cut.leaves]))
        made = [
            cut.gradient([next(found) for _ in cut.leaves]) if needed else None
            for cut, needed in zip(ctx.cuts, ctx.needs_input_grad[4:], strict=True)
        ]
        return None, None, None, None, *made


class Tape:
    """One pass of a network, and the same pass put together again layer by layer."""

    def __init__(self, layers: dict[nn.Module, Recorded]) -> None:
        self.steps = {module: Steps(layer) for module, layer in layers.items()}
        self.order: list[Steps] = []
        self.leaf = self.logits = torch.zeros(0)  # where the pass begins, and where it ends
        self._cut: dict[int, Tensor] = {}  # spikes as the network sees them -> as their layer knows them

    @contextmanager
    def recording(self, listen: Callable[[nn.Module, Steps], Any]) -> Iterator[None]:
        """Cut the network at its neuron layers inside the block; `listen(module, steps)` lets one fire by `steps`."""
        with ExitStack() as stack:
            for module, steps in self.steps.items():
                stack.enter_context(listen(module, steps))
                before = module.register_forward_pre_hook(self._before(steps), with_kwargs=True)
                stack.callback(before.remove)
                stack.callback(module.register_forward_hook(self._after(steps)).remove)
            yield

    def _before(self, steps: Steps) -> Callable[..., Any]:
        def enter(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
            if steps not in self.order:
                self.order.append(steps)
            current, *state = arguments
            leaf = current.detach().requires_grad_()
            steps.inputs.append(current)
            steps.currents.append(leaf)
            # A spike that comes back as a state is the neuron's own business.
            back = [self._cut.get(id(value), value) for value in state]
            return (leaf, *back), {name: self._cut.get(id(value), value) for name, value in named.items()}

        return enter

    def _after(self, steps: Steps) -> Callable[..., Any]:
        def leave(_: nn.Module, __: Any, output: Any) -> Any:
            spikes = output[0] if isinstance(output, tuple) else output
            leaf = spikes.detach().requires_grad_()
            self._cut[id(leaf)] = spikes
            steps.outputs.append(leaf)
            steps.inner.append(spikes)
            return (leaf, *output[1:]) if isinstance(output, tuple) else leaf

        return leave

    def _alone(self, g: Tensor) -> list[Tensor]:
        """`split` of the last piece; by it the graph keeps the tape, and what was recorded, for its backward pass."""
        return [g]

    def replay(self, x: Tensor) -> Tensor:
        """The logits as a function of x by way of the `Recorded` layers; the pass was that of x."""
        cuts, known = [_Cut([self.leaf], lambda found: found[0])], [x]
        for steps in self.order:
            layer = steps.layer
            value = layer.whole([call.detach() for call in steps.inputs])

            def split(g: Tensor, layer: Recorded = layer, steps: Steps = steps) -> list[Tensor]:
                return layer.calls(g, steps.inputs)

            current = _Piece.apply(value, split, steps.inputs, list(cuts), *known)
            spikes = layer.replay(current, steps)
            # Behind the layer may come its spikes, and its membrane, which is a function of its current.
            cuts += [_Cut(steps.outputs, layer.whole), _Cut(steps.currents, layer.whole)]
            known += [spikes, current]
        return _Piece.apply(self.logits, self._alone, [self.logits], cuts, *known)  # type: ignore[no-any-return]
