"""The weighted residual addition of wide residual networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.neurons.fused import compiles, run


class Mix(nn.Module):
    """c_0 shortcut + c_1 branch, the residual addition of `WideBlock` as a module, so that hooks can see it.

    The weights `[2]` are the block's parameter and the last argument. Large tensors are read and written once per
    direction, by a compiled kernel; that is the same up to rounding (of bfloat16, there is less).
    """

    def forward(self, branch: Tensor, shortcut: Tensor, weights: Tensor) -> Tensor:
        if _alike(branch, shortcut) and compiles(branch.numel(), branch.device):
            return _Mix.apply(branch, shortcut, weights)  # type: ignore[no-any-return]
        return weights[0] * shortcut + weights[1] * branch


def _alike(branch: Tensor, shortcut: Tensor) -> bool:
    """Whether both are `[T, B, C, H, W]` of one shape and precision, channels last in memory."""
    if branch.ndim != 5 or branch.shape != shortcut.shape or branch.dtype != shortcut.dtype:
        return False
    return branch.dtype != torch.float64 and all(_last(x).is_contiguous() for x in (branch, shortcut))


def _last(x: Tensor) -> Tensor:
    """Channels last."""
    return x.permute(0, 1, 3, 4, 2)


def _forward(branch: Tensor, shortcut: Tensor, weights: Tensor) -> Tensor:
    return (weights[0] * shortcut.float() + weights[1] * branch.float()).to(branch.dtype)


def _backward(upstream: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    g = upstream.float()
    return (weights[1] * g).to(upstream.dtype), (weights[0] * g).to(upstream.dtype)


def _of_weights(upstream: Tensor, branch: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
    g = upstream.float()
    return (g * shortcut.float()).sum(), (g * branch.float()).sum()


def _flat(x: Tensor) -> Tensor:
    """All elements in memory order; a view."""
    return _last(x).reshape(-1)


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_flat`."""
    return flat.view(_last(like).shape).permute(0, 1, 4, 2, 3)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, branch: Tensor, shortcut: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(branch, shortcut, weights)
        return _shaped(run(branch.numel(), _forward, (), _flat(branch), _flat(shortcut), weights), branch)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        branch, shortcut, weights = ctx.saved_tensors
        (upstream,) = upstreams
        if torch.is_grad_enabled():  # under create_graph=True: plain operations, which have derivatives
            both = torch.stack([(upstream * shortcut).sum(), (upstream * branch).sum()])
            return weights[1] * upstream, weights[0] * upstream, both.to(weights.dtype)
        of_branch, of_shortcut = run(branch.numel(), _backward, (), _flat(upstream), weights)
        of_weights = None
        if ctx.needs_input_grad[2]:
            of_weights = torch.stack(
                run(branch.numel(), _of_weights, (), _flat(upstream), _flat(branch), _flat(shortcut))
            )
        return _shaped(of_branch, branch), _shaped(of_shortcut, branch), of_weights
