"""Rate coding: the share of steps with a spike is the pixel, by chance or evenly spread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustsnn.encoders.bpda import swap
from robustsnn.encoders.checks import integer
from robustsnn.encoders.smoothed import Rounding
from robustsnn.ground.types import Images


class Poisson(nn.Module):
    """Bernoulli spikes: `[B, C, H, W]` -> `[T, B, C, H, W]`, each 1 with probability x, on its own.

        code[t] = 1[U < x],   U uniform in [0, 1), fresh in every call        E code[t] = x

    A pixel at 0 never fires, one at 1 always. Gradient: straight-through, 1 at every step, which is the
    derivative of the expectation. The gradient of the network behind it differs from draw to draw, so attacks
    should average over several: `draws` of `robustsnn.attacks.Attack`.

    Draws from torch's global generator of the device of x, or from `generator`; a CPU generator works for
    images on a GPU, and gives them the numbers that it gives on the CPU.

    Args:
        steps: T.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = integer("Poisson", "steps", steps)

    def forward(self, x: Images, generator: torch.Generator | None = None) -> Tensor:
        device = x.device if generator is None else generator.device
        # Not rand_like: which pixel gets which number must not depend on the memory layout or dtype of x.
        draws = torch.rand(self.steps, *x.shape, generator=generator, device=device, dtype=torch.float32)
        code = (draws.to(x.device) < x).to(x.dtype)
        return swap(code, x.expand_as(code))

    def extra_repr(self) -> str:
        return f"steps={self.steps}"


class Rate(Rounding):
    """Evenly spread spikes: `[B, C, H, W]` -> `[T, B, C, H, W]`, n = round(T x) of them, without chance.

        code[t] = floor(((t + 1) n + c) / T) - floor((t n + c) / T),      c = floor(T / 2)

    in integers, so that no rounding adds up; c centres the spikes. Gradient: straight-through, 1 at
    every step, so that the rate (1/T) sum_t code[t] has slope 1. No grey level k/255 lies on a tie. Pixels
    outside of [0, 1] are clipped.

    Args:
        steps: T.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = integer("Rate", "steps", steps)

    def forward(self, x: Images) -> Tensor:
        # No integer stands for NaN, and the cast of one is huge: it counts as black.
        count = (x.detach().nan_to_num(0).clamp(0, 1) * self.steps).round().int()
        step = torch.arange(self.steps + 1, device=x.device, dtype=torch.int32).view(-1, 1, 1, 1, 1)
        spikes = ((step * count + self.steps // 2) // self.steps).diff(dim=0)
        return swap(spikes.to(x.dtype), x.expand_as(spikes))

    def extra_repr(self) -> str:
        return f"steps={self.steps}"
