"""The margin of a spiking network, graded by how near the neurons before the read-out are to firing otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.attacks.corners import CornerSearch, Query
from robustsnn.attacks.passes import Verdict, judged
from robustsnn.ground.errors import UserError
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import margin
from robustsnn.neurons import Neurons, neuron_layers


@dataclass(frozen=True, repr=False)
class GradedSearch(CornerSearch):
    """`CornerSearch` by the graded margin: many flips change no spike, and by the margin all of them look alike.

    It looks into the network, so it is no black box; a network without neuron layers of ours is searched by the margin.

    Args:
        grade: the width of `graded`, in thresholds. From 0.1 to 0.5 much the same was found on digits; 1 is too wide.
    """

    grade: float = 0.25
    black_box: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.grade <= 10:
            raise UserError(f"GradedSearch(grade={self.grade!r}): allowed is above 0 up to 10 thresholds")

    @property
    def label(self) -> str:
        return f"graded-{super().label}"

    def query(self, model: nn.Module, x: Images) -> AbstractContextManager[Query]:
        """The graded margin in place of the margin."""
        return graded(model, self.grade, x)


@contextmanager
def graded(model: nn.Module, width: float, x: Images) -> Iterator[Query]:
    """Yield a query like `judged`, of which the loss is the graded margin; who stands is decided by spikes alone.

    The margin m of a network of spikes is constant over large regions, and says nothing of how near their borders
    are. With the potentials u[t], the spikes s[t] and the threshold theta of the last neuron layer,

        m + sum over t and neurons of  dm/ds[t] (sigmoid((u[t] - theta) / (width theta)) - s[t])

    is the margin that the read-out would have, to first order, if these neurons fired by degrees: exact for a linear
    read-out, as long as the strongest rival is the same. It costs one backward pass through the read-out alone and is
    not a gradient of the network: the input has none in it. Deeper layers fire as they do; graded too, they helped
    less (measured on digits).

    For models without neuron layers of ours the query is `judged`. `x` is one image or more, for
    a pass that finds out which layer is the last. Inside the block the forward of this layer is replaced; afterwards,
    after an exception too, all is as it was.
    """
    last = _last(model, x[:1])
    if last is None:
        yield judged
        return
    watch = _Watch(last, width)
    last.forward = watch.forward  # type: ignore[method-assign]
    try:
        yield watch.query
    finally:
        del last.forward


def _last(model: nn.Module, x: Images) -> Neurons | None:
    """The neuron layer that is called last in a forward pass."""
    called: list[nn.Module] = []
    handles = [layer.register_forward_hook(lambda layer, *_: called.append(layer)) for layer in neuron_layers(model)]
    try:
        if handles:
            with torch.no_grad():
                model(x)
    finally:
        for handle in handles:
            handle.remove()
    last = called[-1] if called else None
    return last if isinstance(last, Neurons) and "forward" not in vars(last) else None


class _Watch:
    """Fires as its layer does, and keeps the spikes as a leaf of autograd, with what grades add to them."""

    def __init__(self, layer: Neurons, width: float) -> None:
        self.layer, self.fire, self.width = layer, layer.forward, width * layer.neuron.theta
        self.leaf = self.change = torch.zeros(0)

    def forward(self, current: Tensor) -> Tensor:
        with torch.no_grad():
            spikes, neuron = self.fire(current), self.layer.neuron
            steps = [
                torch.sigmoid((potential - neuron.theta) / self.width) - spike
                for potential, spike in neuron.run(current, self.layer.steps)
            ]
        self.leaf, self.change = spikes.detach().requires_grad_(), torch.stack(steps)
        return self.leaf

    def query(self, model: nn.Module, z: Images, y: Labels, draws: int) -> Verdict:
        def recorded(z: Images) -> Logits:
            with torch.enable_grad():  # nothing before the leaf needs a gradient, so nothing before it is recorded
                return model(z)  # type: ignore[no-any-return]

        def value(logits: Logits) -> Tensor:
            with torch.enable_grad():
                plain = margin(logits, y)
                if not plain.requires_grad:  # the logits are cut off from the layer, or do not come from it
                    return plain
                (gradient,) = torch.autograd.grad(plain.sum(), self.leaf, allow_unused=True)
            grade = 0.0 if gradient is None else (gradient * self.change).transpose(0, 1).flatten(1).sum(1)
            return plain.detach() + grade

        return judged(recorded, z, y, draws, value)
