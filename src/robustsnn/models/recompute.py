"""Less memory for more time: parts of a network are computed again in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robustsnn.ground.errors import UserError
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import neuron_layers
from robustsnn.neurons.normed import apart, watched


@contextmanager
def recomputed(model: nn.Module) -> Iterator[None]:
    """Train `model` with less memory inside the block: what its segments compute is not kept, but their inputs.

    The body of a `Classifier` is cut after each layer of neurons and each residual block, see `segments`. In a
    training pass with gradients, each segment keeps its input alone, all T steps of it, and what lies inside it is
    computed again when the backward pass comes to it (Chen et al. 2016). A backward pass so costs one forward
    more: a natural step 4 units for 3, a step of gradient sparsity regularisation, with its two backward passes, 10
    for 7. The numbers are the same, bit for bit: each segment sees all of its batch and all T steps, so that its batch
    statistics are the same; running statistics move once; random layers draw the same numbers; and autocast and second
    derivatives are as they would be. In eval mode, so in attacks and evaluation, nothing is different.

    Hooks on containers between the body and its segments are not called in training passes.

    UserError for a model without a `body` that is an `nn.Sequential` with neuron layers in it.
    """
    body = getattr(model, "body", None)
    if not isinstance(body, nn.Sequential):
        raise UserError(
            f"{type(model).__name__} cannot be recomputed: it needs a body that is an nn.Sequential, as the models of "
            f"this library have; leave train.recompute off"
        )
    parts, tail = segments(body)
    if not parts:
        raise UserError(f"{type(model).__name__} cannot be recomputed: its body has no neuron layers to cut it after")
    plain = body.forward

    def forward(x: Tensor) -> Tensor:
        if not (body.training and torch.is_grad_enabled()):
            return plain(x)
        for segment in parts:
            x = checkpoint(segment, x, use_reentrant=False, context_fn=_contexts(segment))
        return tail(x)

    body.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del body.forward


def segments(body: nn.Sequential) -> tuple[list[Layers], Layers]:
    """The layers of a body in the order of their calls, cut after each one that neurons are in, and the rest.

    Containers are taken apart, but for `Fold`. What follows the last neurons is the rest: the backward pass
    begins there, so nothing is saved by computing it again.
    """
    parts, layers = [], []
    for layer in _flat(body):
        layers.append(layer)
        if neuron_layers(layer):
            parts.append(Layers(*layers))
            layers = []
    return parts, Layers(*layers)


def _flat(container: nn.Sequential) -> Iterator[nn.Module]:
    for child in container:
        if isinstance(child, nn.Sequential) and not isinstance(child, Fold):
            yield from _flat(child)
        else:
            yield child


class _Again(AbstractContextManager[None]):
    """While a segment is computed again its buffers are copies, so that running statistics do not move twice.

    Entered once per backward pass, so it is no generator, which could be entered once in all.
    """

    def __init__(self, segment: nn.Module, separate: bool) -> None:
        self.segment, self.separate = segment, separate
        self.inside = ExitStack()
        self.before: list[tuple[nn.Module, dict[str, Tensor | None]]] = []

    def __enter__(self) -> None:
        self.inside.enter_context(apart(self.separate))
        self.before = [(module, dict(module._buffers)) for module in self.segment.modules() if module._buffers]
        for module, buffers in self.before:
            module._buffers.update({name: None if b is None else b.clone() for name, b in buffers.items()})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, buffers in self.before:
            module._buffers.update(buffers)
        self.inside.close()


def _contexts(segment: nn.Module) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """What is around the first pass of a segment, and around those that compute it again.

    Hooks may be gone by then, so whether norms and neurons run apart for their sake is decided once.
    """

    def both() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        separate = any(watched(module) for module in segment.modules())
        return apart(separate), _Again(segment, separate)

    return both
