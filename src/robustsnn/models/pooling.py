"""Pooling by name: maximum, average, a mixture of both, or none."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.neurons.fused import compiles, run

Pooling = Literal["max", "average", "average-with-padding", "hybrid", "none"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class Halving(nn.AvgPool2d):
    """Average pooling 2x2 with stride 2, `[B, C, H, W]` -> `[B, C, H/2, W/2]`.

    torch's kernels for images with channels last in memory were a fifth of a VGG's training step on a GPU (measured on
    an H200), so there the pooling is compiled like neurons. Of spikes the average is exact in any order.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def _get_name(self) -> str:  # as printed, and digested, it is the layer that it computes
        return "AvgPool2d"

    def forward(self, input: Tensor) -> Tensor:  # named as in torch
        rows, even = input.permute(0, 2, 3, 1), not (input.shape[2] | input.shape[3]) & 1
        if input.is_cuda and even and rows.is_contiguous() and compiles(input.numel(), input.device):
            return _AvgPool2D.apply(rows).permute(0, 3, 1, 2)  # type: ignore[no-any-return]
        return super().forward(input)


class _AvgPool2D(torch.autograd.Function):
    """`[B, H, W, C]` -> `[B, H/2, W/2, C]`, both contiguous; named as torch's own, so that a trail knows it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        halved = run(x.numel(), _average, (), x.reshape(-1, 2, width // 2, 2, channels))
        return halved.view(batch, height // 2, width // 2, channels)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:  # type: ignore[override]
        batch, height, width, channels = upstream.shape
        rows = upstream.reshape(-1, width, channels)
        # Gradients are recorded under create_graph=True alone.
        spread = _spread(rows) if torch.is_grad_enabled() else run(4 * rows.numel(), _spread, (), rows)
        return spread.reshape(batch, 2 * height, 2 * width, channels)


def _average(x: Tensor) -> Tensor:
    """Of windows `[M, 2, W, 2, C]`."""
    return x.float().sum((1, 3)).mul(0.25).to(x.dtype)


def _spread(upstream: Tensor) -> Tensor:
    """A quarter to each pixel of the window: `[M, W, C]` -> `[M, 2, W, 2, C]`."""
    return (upstream * 0.25)[:, None, :, None, :].expand(-1, 2, -1, 2, -1).contiguous()


class HybridPool(nn.Module):
    """A convex mixture of maximum and average: `[B, C, H, W]` -> `[B, C, H', W']`.

        y = a max(x) + (1 - a) average(x)

    Its gradient is that of the average plus a peak at the maximum, so a is the knob of how sparse it is.

    Args:
        maximum, average: pooling layers with outputs of the same shape.
        share: a, fixed, in [0, 1]; None makes it learnable as sigmoid(logit), starting at 1/2 (where weight
            decay pulls it).
    """

    def __init__(self, maximum: nn.Module, average: nn.Module, share: float | None = None) -> None:
        super().__init__()
        if share is not None and not (isinstance(share, int | float) and 0 <= share <= 1):
            raise UserError(f"share={share!r} of the maximum in hybrid pooling: allowed is 0 to 1, or null to learn it")
        self.maximum = maximum
        self.average = average
        self.fixed = share
        self.logit = nn.Parameter(torch.zeros(())) if share is None else None

    @property
    def share(self) -> Tensor | float:
        """a, the weight of the maximum."""
        if self.logit is not None:
            return self.logit.sigmoid()
        assert self.fixed is not None  # the constructor sets one of the two
        return self.fixed

    def forward(self, x: Tensor) -> Tensor:
        return self.share * self.maximum(x) + (1 - self.share) * self.average(x)

    def extra_repr(self) -> str:
        return f"share={'learned' if self.fixed is None else self.fixed}"


def pool(
    kind: Pooling, kernel: int, stride: int | None = None, padding: int = 0, *, share: float | None = None
) -> nn.Module:
    """A pooling layer `[B, C, H, W]` -> `[B, C, H', W']`; "none" is the identity, at full size.

    Where gradients go, for the upstream y[p] of a window R[p]:

    * "max": all of it to one entry. Spikes tie nearly always, and torch takes the first maximum of the window
      in reading order (row by row); of a window of zeros that is its first pixel, which did not spike. The
      formula that gives y[p] to each entry equal to the maximum is not what happens.
    * "average": y[p] / |R[p]| to each entry (eq. 7 of the sparsity-trail paper). R[p] holds pixels of the image,
      not its padding (torch calls it count_include_pad=False, and defaults to the opposite), so that the average
      of a constant is that constant, padding is as absent as it is for the maximum, and the gradient that
      goes in comes out, at the border too. Windows without padding are the same either way.
    * "average-with-padding": y[p] / k^2, the padding counted as zeros (torch's default): what the code released
      with the sparsity-trail paper does. Borders of the image are dimmed, forward and backward.
    * "hybrid": the mixture of both, see `HybridPool`.

    Args:
        kind: one of `POOLINGS`.
        kernel, stride, padding: in pixels; the stride is the kernel if None.
        share: of the maximum in "hybrid", fixed; None learns it.
    """
    if share is not None and kind != "hybrid":
        raise UserError(f"share={share} has no effect on pooling={kind!r}; use pooling='hybrid'")
    if kind == "none":
        return nn.Identity()
    maximum = nn.MaxPool2d(kernel, stride, padding)
    average = nn.AvgPool2d(kernel, stride, padding, count_include_pad=kind == "average-with-padding")
    if kind == "max":
        return maximum
    if kind in ("average", "average-with-padding"):
        return average
    if kind == "hybrid":
        return HybridPool(maximum, average, share)
    raise UserError(f"pooling={kind!r}: allowed are {', '.join(POOLINGS)}")
