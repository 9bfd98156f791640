"""Frequency coding: the image through a low-pass that narrows from step to step."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from robustsnn.encoders.checks import integer
from robustsnn.ground.door import said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Positive
from robustsnn.ground.types import Images


class Frequency(nn.Module):
    """A low-pass per step, `[B, C, H, W]` -> `[T, B, C, H, W]`: the frequency encoding of FEEL-SNN.

        code[t] = |IFFT(M[t] FFT(x))|,   M[t] keeps the frequencies -r[t] <= f < r[t] of both axes
        r[t] = ceil(R - shrink t),       R = half of the longer side, rounded up

    Radii of FEEL are 16, 14, ..., 2 at 32x32 pixels and 32, 30, 28, 26 at 64x64: shrink = 2 at both sizes. The first
    step keeps everything and is x itself. For even sizes the box has -r but not r, so what it leaves is
    complex; FEEL's code takes the modulus, which is not linear: it turns a wave of frequency -r = r into a
    constant. `part="real"` is the linear alternative, with half of that wave.

    A filtered image may overshoot: the code is not confined to [0, 1] (the modulus is >= 0).

    Gradient: exact, through the transforms; at a modulus of 0 it is taken as 0. Source: Xu et al., NeurIPS 2024.

    Args:
        steps: T.
        shrink: pixels of radius lost per step, > 0 and below R / (T - 1); small images need less than 2.
        part: "modulus" or "real".
    """

    def __init__(self, steps: int, shrink: Positive = 2, part: Literal["modulus", "real"] = "modulus") -> None:
        super().__init__()
        self.steps = integer("Frequency", "steps", steps)
        if not isinstance(shrink, int | float) or not 0 < shrink < math.inf:
            raise UserError(f"Frequency(shrink={said_of(shrink)}): must be a number > 0")
        if part not in ("modulus", "real"):
            raise UserError(f"Frequency(part={said_of(part)}): allowed are modulus, real")
        self.shrink = shrink
        self.part = part

    def radii(self, height: int, width: int) -> list[int]:
        """r[t] for images of that size; UserError if nothing would be left at the last step."""
        half = (max(height, width) + 1) // 2
        if self.shrink * (self.steps - 1) >= half:
            raise UserError(
                f"Frequency(steps={self.steps}, shrink={self.shrink:g}) leaves nothing of {height}x{width} images at "
                f"the last step; give a shrink below {half / (self.steps - 1):g}"
            )
        return [math.ceil(half - self.shrink * t) for t in range(self.steps)]

    def forward(self, x: Images) -> Tensor:
        height, width = x.shape[-2:]
        dtype = x.dtype
        if dtype in (torch.float16, torch.bfloat16):  # torch has no transform of these
            x = x.float()
        spectrum = torch.fft.fft2(x)
        rows, columns = (torch.fft.fftfreq(n, 1 / n, device=x.device).round() for n in (height, width))
        code = []
        for radius in self.radii(height, width):
            keep = ((rows >= -radius) & (rows < radius))[:, None] & (columns >= -radius) & (columns < radius)
            if 2 * radius >= max(height, width):
                code.append(x)  # also exact where the modulus of a rounding error would point anywhere
                continue
            left = torch.fft.ifft2(spectrum * keep)
            code.append(left.abs() if self.part == "modulus" else left.real)
        return torch.stack(code).to(dtype)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, shrink={self.shrink:g}, part={self.part!r}"
