"""Where time goes: folded into the batch for layers without memory, averaged at the readout."""

from __future__ import annotations

from torch import Tensor, nn


class Fold(nn.Sequential):
    """Layers without memory, applied to all time steps at once: `[T, B, ...]` -> `[T, B, ...]`.

    T and B are folded into one batch dimension and unfolded after; a view, no copy.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])
