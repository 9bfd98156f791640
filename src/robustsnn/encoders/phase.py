"""Weighted phase coding: the binary digits of a pixel, one per step."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from robustsnn.encoders.bpda import swap
from robustsnn.encoders.checks import integer
from robustsnn.encoders.smoothed import Rounding
from robustsnn.ground.door import check_kind
from robustsnn.ground.ranges import Within
from robustsnn.ground.types import Images

Period = Annotated[int, Within(least=1, most=16)]
"""K, digits of a pixel."""


class Phase(Rounding):
    """Weighted phase code: `[B, C, H, W]` -> `[T, B, C, H, W]`, the first K binary digits of the pixel in turn.

        b[i] = digit i (the highest first) of q = min(floor(2^K x), 2^K - 1) / 2^K,      i = t mod K
        code[t] = w[i] b[i],      w[i] = 2^-(1 + i)

    so that the steps of one period add up to q, which is x rounded down. 1.0 is coded as 1 - 2^-K, all digits
    one. With K = 8 the grey level k/255 has the digits of the integer k, for all 256 of them and with a
    margin far above float rounding: 256 k/255 lies k/255 above k. (Codes that divide 8-bit images by 256 emit
    the same spikes.) Real-valued pixels are rounded down, those outside of [0, 1] are clipped.

    Gradient: straight-through, by the slope of the least-squares line of each digit on a uniform pixel,

        dcode[t]/dx = w[i] a[i],      a[i] = w[i] / sum_j w[j]^2        (a[0] = 1.5, a[1] = 0.75, ... for large K)

    whose sum over a period is exactly 1, the derivative of the identity that q rounds. A slope of one
    for every spike instead would trust the lowest digit, which says least about where the pixel is, as much
    as the highest: `BPDA(Phase(...), lambda x: x.expand(T, *x.shape))` is that.

    Source: Kim et al., Neurocomputing 2018; T = 10 and K = 8 are those of the sparsity-trail paper.

    Args:
        steps: T; a period that it cuts short leaves out low digits.
        period: K, 1 to 16.
        weighted: False emits bare spikes, w = 1 in the code (a stays), as released codes do that take them
            from SpikingJelly; the network must then find out by itself which step is worth what.
    """

    def __init__(self, steps: int = 10, period: Period = 8, weighted: bool = True) -> None:
        super().__init__()
        self.steps = integer("Phase", "steps", steps)
        self.period = integer("Phase", "period", period, most=16)
        check_kind("weighted", weighted, bool, "True")
        self.weighted = weighted

    def forward(self, x: Images) -> Tensor:
        phase = (torch.arange(self.steps, device=x.device) % self.period).view(-1, 1, 1, 1, 1)
        weight = torch.exp2(-1.0 - phase).to(x.dtype)
        top = 2**self.period
        level = (x.detach() * top).floor().clamp(0, top - 1).nan_to_num(0).int()  # the cast of NaN is undefined
        code = ((level >> (self.period - 1 - phase)) & 1).to(x.dtype)
        slope = weight * (3 / (1 - 4.0**-self.period))  # w / sum_j w[j]^2
        if self.weighted:
            code, slope = weight * code, weight * slope
        return swap(code, slope * x)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, period={self.period}, weighted={self.weighted}"
