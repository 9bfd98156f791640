"""Sums that need many digits, on devices that may lack float64 (Apple's `mps`)."""

from __future__ import annotations

import torch
from torch import Tensor

LACKING = {"mps"}
"""Types of devices without float64."""


def widest(device: torch.device | str) -> torch.dtype:
    """The float of most digits that a device has: float64, or float32."""
    return torch.float32 if torch.device(device).type in LACKING else torch.float64


def wide(x: Tensor) -> Tensor:
    """x in the widest float of its device."""
    return x.to(widest(x.device))


def exactly(x: Tensor) -> Tensor:
    """x where float64 can be computed: where it is, or on the CPU. For verdicts, which nothing may round."""
    return x if widest(x.device) == torch.float64 else x.cpu()
