"""Which outputs of a convolution or linear layer an input entry reaches, padding, stride and groups included."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Weighted: TypeAlias = nn.Linear | nn.modules.conv._ConvNd
"""A layer that multiplies by a weight: linear, or a convolution (also transposed) of any dimension."""


def weighted_layers(model: nn.Module) -> dict[str, Weighted]:
    """All linear layers and convolutions by name, in order of registration."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Weighted)}


def fan_out(layer: Weighted, shape: tuple[int, ...], used: Tensor | None = None) -> Tensor:
    """For each entry of an input of this shape (without batch) the number of outputs that it is multiplied into.

    The layer with all weights 1 (or `used`, 0 or 1 for each) and no bias is run on ones; the derivative of the sum of
    its outputs is the count. In a 3x3 convolution with padding 1 a corner reaches 4 positions, not 9. Returns
    float64 whole numbers, on the CPU.
    """
    weight = torch.ones(layer.weight.shape, dtype=torch.float64) if used is None else used.double().cpu()
    with torch.enable_grad():
        ones = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
        output = _bare(layer, weight).forward(ones)
        (count,) = torch.autograd.grad(output.sum(), ones)
    return count[0].round()


def _bare(layer: Weighted, weight: Tensor) -> Weighted:
    """The layer as torch defines it, with this weight and no bias: without hooks, parametrisations and the like."""
    kind = next(cls for cls in type(layer).__mro__ if cls.__module__.startswith("torch.nn.modules."))
    bare: Any = object.__new__(kind)
    kept = {key: value for key, value in vars(layer).items() if key not in ("weight", "bias")}
    bare.__dict__.update(kept, _parameters={"weight": weight, "bias": None})
    return bare
