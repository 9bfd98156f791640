"""A network of foreign neurons, recorded: any gradient rule acts on dynamics that are not ours.

A network that loops over time calls each neuron layer once per step, and its loop is in its own code. A rule of ours
looks at a layer's whole current `[T, B, ...]`, which is complete only when the loop has ended. So the network runs once
as it is, and every call of a neuron layer is a cut of the autograd graph: what goes in is kept, what comes out is a new
leaf. Afterwards the pieces are put together again in another order, layer by layer instead of step by step:

    x -> piece -> I_1 [T, B, ...] -> neurons 1 -> s_1 [T, B, ...] -> piece -> I_2 -> ... -> piece -> logits

A piece is an autograd function with the values that are known already; its backward pass goes through the part of the
graph that was recorded. The neurons are layers of `RecordedNeurons`, called as layers of ours are, so that rules,
hooks and searches find in them what they find in ours. Within a layer the framework's own step is differentiated, with
the slope that the rule gives in place of the step's derivative: whatever the step does, a synaptic current, a delayed
reset or an adaptive threshold, stays in the gradient.

Needed is an order of the layers: no spike may reach a current of the same or an earlier layer (a recurrence within a
layer, that its own step makes, is part of the step).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.interop.steps import RecordedNeurons, Steps, filled, gradients, no_second


@dataclass
class _Cut:
    """Leaves of the recorded graph, and how they make one tensor of the graph that is put together."""

    leaves: list[Tensor]
    whole: Callable[[list[Tensor]], Tensor]

    def gradient(self, found: list[Tensor | None]) -> Tensor | None:
        """That of the one tensor; None where no leaf has any."""
        return None if all(g is None for g in found) else self.whole(filled(found, self.leaves))


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
        no_second()
        of = [(o, g.to(o)) for o, g in zip(ctx.out, ctx.split(upstreams[0]), strict=True) if o.requires_grad]
        wanted = [cut for cut, needed in zip(ctx.cuts, ctx.needs_input_grad[4:], strict=True) if needed]
        found = iter(gradients(of, [leaf for cut in wanted for leaf in cut.leaves]))
        made = [
            cut.gradient([next(found) for _ in cut.leaves]) if needed else None
            for cut, needed in zip(ctx.cuts, ctx.needs_input_grad[4:], strict=True)
        ]
        return None, None, None, None, *made


class Tape:
    """One pass of a network, and the same pass put together again layer by layer."""

    def __init__(self, layers: dict[nn.Module, RecordedNeurons]) -> None:
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
        def enter(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
            if steps not in self.order:
                self.order.append(steps)
            steps.layer.called(module)
            if not arguments:  # the current by its name, that of the first parameter
                first = next(iter(signature(module.forward).parameters))
                arguments, named = (named[first],), {name: value for name, value in named.items() if name != first}
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
        """The logits as a function of x by way of the `RecordedNeurons` layers; the pass was that of x."""
        cuts, known = [_Cut([self.leaf], lambda found: found[0])], [x]
        for steps in self.order:
            layer = steps.layer
            value = layer.whole([call.detach() for call in steps.inputs])

            def split(g: Tensor, layer: RecordedNeurons = layer, steps: Steps = steps) -> list[Tensor]:
                return layer.calls(g, steps.inputs)

            current = _Piece.apply(value, split, steps.inputs, list(cuts), *known)
            spikes = layer.replay(current, steps)
            # Behind the layer may come its spikes, and its membrane, which is a function of its current.
            cuts += [_Cut(steps.outputs, layer.whole), _Cut(steps.currents, layer.whole)]
            known += [spikes, current]
        return _Piece.apply(self.logits, self._alone, [self.logits], cuts, *known)  # type: ignore[no-any-return]
