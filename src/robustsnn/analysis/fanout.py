"""Which outputs of a convolution or linear layer an input entry reaches, padding, stride and groups included."""

from __future__ import annotations

from typing import TypeAlias

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
    parameters = {"layer.weight": weight}
    if layer.bias is not None:
        parameters["layer.bias"] = torch.zeros(layer.bias.shape, dtype=torch.float64)
    with torch.enable_grad():
        ones = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
        output = torch.func.functional_call(_Bare(layer), parameters, ones)
        (count,) = torch.autograd.grad(output.sum(), ones)
    return count[0].round()


class _Bare(nn.Module):
    """A layer without its hooks, which may be what asks."""

    def __init__(self, layer: Weighted) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.forward(x)
