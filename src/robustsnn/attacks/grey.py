"""Grey levels: the points k / levels, k = 0 .. levels, which are all that a file of whole grey values can hold."""

from __future__ import annotations

import torch
from torch import Tensor

from robustsnn.ground.widest import wide

EIGHT_BITS = 255
"""The largest grey value of 8 bits."""


def shades(k: Tensor, levels: int, like: Tensor) -> Tensor:
    """k / levels in the precision of `like`, k cut to 0 .. levels: to the last bit what whole grey values give.

    Divided by a tensor, as `ImageSet.floats` does: CUDA kernels multiply by the inverse of a Python number.
    """
    return k.clamp(0, levels).to(like) / torch.full((), levels, dtype=like.dtype, device=like.device)


def nearest(z: Tensor, levels: int) -> Tensor:
    """Every entry rounded to the nearest grey level."""
    return shades(shade(z, levels), levels, z)


def shade(z: Tensor, levels: int) -> Tensor:
    """The whole number k of the nearest grey level, in the widest float of the device."""
    return (wide(z) * levels).round()


def budget(eps: float, levels: int) -> int:
    """The largest k with k / levels <= eps in float64: by how many levels an entry may move."""
    k = round(eps * levels)
    return k if k / levels <= eps else k - 1
