"""Encoders: images without time in, input currents with a leading time dimension out."""

from __future__ import annotations

from torch import Tensor, nn

from robustsnn.types import Images


class Direct(nn.Module):
    """Direct coding: the normalised image itself is the input current at every time step.

    Returns `[1, B, C, H, W]`. A time dimension of length one means "the same at every step" throughout
    the library, so the first convolution runs once and not T times; the first neurons repeat it.
    """

    def forward(self, x: Images) -> Tensor:
        return x[None]
