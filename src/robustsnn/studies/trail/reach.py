"""Why an entry of a gradient is zero: it was passed on, or the operation itself added it, and how.

An operation is a linear map of gradients, from its output to its input. An entry at the input is *connected* to
entries at the output by the structure of the operation, as if all weights were one; it *hears* those among them
that weights, slopes and winners at these images let through.

    passed on   connected to at least one entry, all of which are zero
    added       any other zero: deaf to the non-zero entries, or connected to none; else what it hears cancels
                or underflows

Where the structure of an operation is not known here, nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.studies.trail.graph import stem
from robustsnn.studies.trail.layout import Layout
from robustsnn.studies.trail.private import SAVED, saved
from robustsnn.studies.trail.spikes import Fired, neurons


@dataclass(frozen=True)
class Zeros:
    """Where the gradient at an input is zero, by origin; bool masks in its shape.

    A zero in none of the masks was added by cancellation or underflow. `fired` is there for neurons.
    """

    passed: Tensor
    architectural: Tensor
    natural: Tensor
    fired: Fired | None = None


def zeros(node: Any, edge: int, given: Tensor, upstream: Tensor, layout: Layout, n: int) -> Zeros | None:
    """The zeros of `given`, the gradient at input `edge` of an operation that got `upstream`; None if not known.

    Call it from a hook of the node: it needs what the node saved. `layout` is that of `upstream`, with n samples.
    """
    zero = given == 0
    lit = upstream != 0
    name = stem(node)
    if name == "Fire" and hasattr(node, "neuron"):
        heard = neurons(node, lit)
        if heard is None:
            return None
        passed = zero & ~heard.connected
        deaf = zero & heard.connected & ~heard.heard
        return Zeros(passed, deaf & ~heard.by_spikes, deaf & heard.by_spikes, heard.fired)
    reach = _reach(node, name, edge, given)
    if reach is None:
        return None
    if not bool(zero.any()):  # the usual case; the maps cost a pass through the operation each
        return Zeros(zero, zero, zero)
    connected, hears = reach
    passed = zero & ~connected(lit)
    if bool(passed.any()):  # what is connected to nothing, as the pixels that a stride skips, was not passed on
        passed = passed & connected(torch.ones_like(lit))
    deaf = zero & ~passed
    if bool(deaf.any()):
        deaf = deaf & ~hears(lit)
    if name == "Mul":
        spiking = _any_to(lit & _spiking_zeros(node, edge, upstream, layout, n), given)
        return Zeros(passed, deaf & ~spiking, deaf & spiking)
    return Zeros(passed, deaf, torch.zeros_like(zero))


_Map = Callable[[Tensor], Tensor]

# Operations whose entries are connected one to one; the gradient at each is the upstream times a factor.
_ELEMENTWISE = {
    "Relu", "Threshold", "LeakyRelu", "Hardtanh", "Hardsigmoid", "Hardswish", "Clamp", "ClampMin", "ClampMax", "Elu",
    "Gelu", "Silu", "Softplus", "Sigmoid", "Tanh", "Exp", "Sqrt", "Sin", "Cos", "Atan", "Pow", "Abs", "Neg",
    "Add", "Sub", "Rsub", "Div", "Where", "MaskedFill", "Maximum", "Minimum",
}  # fmt: skip
# Maps without negative coefficients, where nothing can cancel: they show their structure themselves.
_POSITIVE = {
    "AvgPool2D", "AvgPool3D", "AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "Mean", "Sum", "Expand", "Repeat", "Index",
    "IndexSelect", "Gather", "ConstantPadNd", "UpsampleNearest2D", "UpsampleBilinear2D",
}  # fmt: skip


def _reach(node: Any, name: str, edge: int, given: Tensor) -> tuple[_Map, _Map] | None:
    """Two maps of masks, from the output to the input: where an entry is connected to the mask, and hears of it."""

    def own(lit: Tensor) -> Tensor:
        found = node(lit.to(given))
        return _any_to((found[edge] if isinstance(found, tuple) else found) != 0, given)

    def same(lit: Tensor) -> Tensor:
        return _any_to(lit, given)

    if name == "Convolution":
        weight = saved(node, "weight")
        return _convolution(node, given, torch.ones_like(weight), 0.5), _convolution(node, given, weight.abs(), 0)
    if name in ("MaxPool2DWithIndices", "MaxPool3DWithIndices"):
        return _windows(node, given), own
    if name == "AdaptiveMaxPool2D":
        return (lambda lit: torch.ops.aten._adaptive_avg_pool2d_backward(lit.to(given), given) > 0), own
    if name in ("Addmm", "Mm", "Bmm"):
        return _product(node, name, edge, given)
    if name == "NativeBatchNorm":
        return None if saved(node, "training") else (same, own)
    if name == "Mul":
        factor = _factor(node, edge) != 0
        return same, lambda lit: _any_to(lit & factor, given)
    if name in _ELEMENTWISE:
        return same, own
    if name in _POSITIVE:
        return own, own
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        return _custom(node, edge, given)
    return None


def _any_to(mask: Tensor, like: Tensor) -> Tensor:
    """A mask in the shape of `like`, "or" taken over what was broadcast."""
    return mask if mask.shape == like.shape else mask.float().sum_to_size(like.shape) > 0


def _convolution(node: Any, given: Tensor, weight: Tensor, least: float) -> _Map:
    """Backwards through the convolution with another weight; `least` is below the smallest sum, above rounding."""
    geometry = [saved(node, name) for name in SAVED["Convolution"][1:]]

    def spread(lit: Tensor) -> Tensor:
        back = torch.ops.aten.convolution_backward
        return back(lit.to(weight), given.to(weight), weight, None, *geometry, [True, False, False])[0] > least

    return spread


def _windows(node: Any, given: Tensor) -> _Map:
    """Every entry of a pooling window is connected to the window's output."""
    kernel, stride, padding, dilation = (list(saved(node, name)) for name in SAVED["MaxPool2DWithIndices"])
    stride = stride or kernel
    dims = len(kernel)
    transposed = F.conv_transpose2d if dims == 2 else F.conv_transpose3d

    def spread(lit: Tensor) -> Tensor:
        planes = lit.to(given).reshape(-1, 1, *lit.shape[-dims:])
        full = transposed(planes, torch.ones(1, 1, *kernel).to(given), stride=stride, dilation=dilation)
        # `full` has the padding at all sides; its last windows may hang over the image or stop short of its end.
        for dim, (pad, size) in enumerate(zip(padding, given.shape[-dims:], strict=True), start=-dims):
            short = max(0, pad + size - full.shape[dim])
            full = F.pad(full, [0, 0] * (-dim - 1) + [0, short]).narrow(dim, pad, size)
        return full.reshape(given.shape) > 0.5

    return spread


def _product(node: Any, name: str, edge: int, given: Tensor) -> tuple[_Map, _Map] | None:
    """Matrix products; the gradient of the left factor is upstream times the right one, and the reverse."""
    left, right = SAVED[name]
    place = edge - (name == "Addmm")
    if place not in (0, 1):
        return None
    other = saved(node, left if place else right).mT.abs()

    def connected(lit: Tensor) -> Tensor:
        return lit.any(-2 if place else -1, keepdim=True).expand(given.shape)

    def hears(lit: Tensor) -> Tensor:
        return (other.to(given) @ lit.to(given) if place else lit.to(given) @ other.to(given)) > 0

    return connected, hears


def _factor(node: Any, edge: int) -> Tensor | float:
    """What a product multiplies the gradient of this input with."""
    return saved(node, "other" if edge == 0 else "self")


def _spiking_zeros(node: Any, edge: int, upstream: Tensor, layout: Layout, n: int) -> Tensor:
    """Where the factor is zero and, in the whole sample, nothing but zeros and ones: spikes, or their absence."""
    factor = _factor(node, edge)
    if not isinstance(factor, Tensor):  # a plain number, as TorchScript saves it, is no spike
        return torch.zeros_like(upstream, dtype=torch.bool)
    factor = factor.expand_as(upstream)
    spikes = layout.rows((factor == 0) | (factor == 1), n).all(1)
    return (factor == 0) & layout.spread(spikes, upstream)


def _custom(node: Any, edge: int, given: Tensor) -> tuple[_Map, _Map] | None:
    """A foreign autograd function: probed whether it acts element by element; if not, nothing is known."""

    def own(upstream: Tensor) -> Tensor | None:
        found = node.apply(upstream)
        return found[edge] if isinstance(found, tuple) else found

    mask = torch.rand(given.shape, generator=torch.Generator().manual_seed(0)).to(given.device) < 0.5
    try:
        whole, some, others = own(torch.ones_like(given)), own(mask.to(given)), own((~mask).to(given))
    except (RuntimeError, ValueError, IndexError, TypeError):
        return None  # its output has another shape than its input, or it can be asked but once
    if whole is None or some is None or others is None or whole.shape != given.shape:
        return None
    if not (torch.equal(some, whole * mask) and torch.equal(others, whole * ~mask)):
        return None
    return (lambda lit: lit), (lambda lit: lit & (whole != 0))
