"""Another gradient for pixelwise encoders: the slope of their average over a range of pixel values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.encoders.bpda import BPDA, swap
from robustsnn.ground.door import check_callable, check_number
from robustsnn.ground.types import Images


class Rounding(nn.Module):
    """An encoder or front end that rounds each pixel on its own, so that its gradient can only be a stand-in."""


def _is_rounding(module: nn.Module) -> bool:
    # What stands behind a rounding sees levels, so only the whole chain sees how a level jumps.
    chained = type(module) is nn.Sequential and len(module) > 0 and all(map(_is_rounding, module))
    return chained or isinstance(module, Rounding)


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """The roundings of a model, a chain of them as one; those in `BPDA` and `Smoothed` are differentiated already."""
    if _is_rounding(module):
        yield module
    elif not isinstance(module, BPDA | Smoothed):
        for child in module.children():
            yield from _outermost(child)


def _smoothed(front: Callable[[Tensor], Tensor], exact: Tensor, x: Images, width: float) -> Tensor:
    with torch.no_grad():
        slope = (front(x + width) - front(x - width)) / (2 * width)
    return swap(exact, slope * x)


@contextmanager
def smoothing(model: nn.Module, width: float | None) -> Iterator[None]:
    """Differentiate all `Rounding` modules of `model` as `Smoothed` does inside the block; None changes nothing.

    An `nn.Sequential` of nothing else, as `nn.Sequential(Discretise(4), Phase())`, is one module: differences are taken
    through all of it. Before an encoder of another kind (`Direct`, or `Frequency` and `Poisson`, which no difference
    per pixel describes) only the front end is smoothed, and the encoder keeps its gradient. What `BPDA` or `Smoothed`
    holds is left alone. Outputs are bit-identical. All is as it was at the end, after an exception too.
    """
    hooks = []
    try:
        for module in _outermost(model) if width is not None else ():

            def stand_in(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
                assert width is not None
                return _smoothed(module.forward, output.detach(), inputs[0], width)

            hooks.append(module.register_forward_hook(stand_in))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def rounds(model: nn.Module) -> bool:
    """Whether `smoothing` would change the gradient of this model."""
    return any(True for _ in _outermost(model))


class Smoothed(nn.Module):
    """`front(x)` forward; backward the derivative of its mean over pixels within `width` of x, for each pixel alone.

        d/dx E front(x + u),   u uniform in [-width, width],      is   (front(x + width) - front(x - width)) / (2 width)

    Exact for front ends that look at each pixel on its own and do not draw: `Phase`, `Latency`, `Rate`,
    `Discretise`. It sees which digits a perturbation of that size can flip at this pixel, where the encoders' own rules
    have one slope for all pixels. Neither finds all that the other finds: attack with both. The output is
    bit-identical, so `model.encoder = Smoothed(model.encoder, 4/255)` is the same network.

    Args:
        front: a pixelwise front end, defined a little outside of [0, 1] too, as those of this package are.
        width: in pixel units, > 0; below half of the distance between the pixel values that front tells apart,
            most slopes are 0.
    """

    def __init__(self, front: Callable[[Tensor], Tensor], width: float) -> None:
        super().__init__()
        check_callable("front", front, "robustsnn.encoders.Phase(8)")
        check_number("width", width, above=0, most=1)
        self.front = front
        self.width = width

    def forward(self, x: Images) -> Tensor:
        with torch.no_grad():
            exact = self.front(x)
        return _smoothed(self.front, exact, x, self.width)

    def extra_repr(self) -> str:
        return f"width={self.width:g}"
