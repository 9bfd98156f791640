"""Latency coding: one spike per pixel, the earlier the brighter."""

from __future__ import annotations

import torch
from torch import Tensor

from robustsnn.encoders.bpda import swap
from robustsnn.encoders.checks import integer
from robustsnn.encoders.smoothed import Rounding
from robustsnn.ground.types import Images


class Latency(Rounding):
    """Time to first spike: `[B, C, H, W]` -> `[T, B, C, H, W]`, one spike at t = round((T - 1)(1 - x)).

    White fires at once, black at the last step. No grey level k/255 lies on a tie. Pixels outside of [0, 1]
    are clipped.

    Gradient: that of the linear interpolation between the two steps around u = (T - 1)(1 - x). With
    k = min(floor(u), T - 2),

        code[k] ~ k + 1 - u,   code[k + 1] ~ u - k,      so   dcode[k]/dx = T - 1,   dcode[k + 1]/dx = 1 - T

    and none elsewhere: a brighter pixel moves its spike towards the earlier of the two. The mean spike time
    sum_t t code[t] so has the exact slope -(T - 1), at whole u (black, white) too. Straight-through with
    slope 1 at every step would ask for more spikes, of which there always is one.

    Args:
        steps: T >= 2.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = integer("Latency", "steps", steps, least=2)

    def forward(self, x: Images) -> Tensor:
        last = self.steps - 1
        step = torch.arange(self.steps, device=x.device).view(-1, 1, 1, 1, 1)
        u = last * (1 - x)
        time = u.detach().clamp(0, last)
        before = time.floor().clamp(max=last - 1)
        code = (step == time.round()).to(x.dtype)
        later, earlier = (step == before + 1).to(x.dtype), (step == before).to(x.dtype)
        return swap(code, (later - earlier) * u)

    def extra_repr(self) -> str:
        return f"steps={self.steps}"
