"""The protocols that the rooms speak to each other."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from torch import Tensor

Images: TypeAlias = Tensor
"""float [B, C, H, W], pixel values in [0, 1]."""

Labels: TypeAlias = Tensor
"""int64 [B], in 0 .. K-1."""

Logits: TypeAlias = Tensor
"""float [B, K]."""


class Loss(Protocol):
    """Logits and labels to one number per sample, `[B, K], [B] -> [B]`; larger is worse for the model."""

    def __call__(self, logits: Logits, y: Labels) -> Tensor: ...


class TargetedLoss(Protocol):
    """Like `Loss`, for a target class per sample: `[B, K], [B], [B] -> [B]`; larger is nearer to the target."""

    def __call__(self, logits: Logits, y: Labels, target: Labels) -> Tensor: ...
