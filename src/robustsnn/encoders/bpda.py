"""Front ends without a useful gradient, and the substitute that stands in for them in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.door import check_callable
from robustsnn.ground.errors import UserError


class _Swap(torch.autograd.Function):
    """The first argument; its gradient goes to the second."""

    @staticmethod
    def forward(ctx: Any, exact: Tensor, smooth: Tensor) -> Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return None, upstreams[0]


def swap(exact: Tensor, smooth: Tensor) -> Tensor:
    """The numbers of `exact`, the gradient of `smooth`; both of one shape."""
    return _Swap.apply(exact, smooth)  # type: ignore[no-any-return]


class BPDA(nn.Module):
    """Backward pass differentiable approximation: `front(x)` forward, the gradient of `substitute(x)` backward.

    For front ends that have no useful gradient: quantisation, compression, spike encoders. The output is
    bit-identical to that of `front`. Source: Athalye et al., ICML 2018.

    Args:
        front: any map of tensors, a module or a function.
        substitute: a differentiable one with outputs of the same shape, near to it; the identity by default,
            which makes `front` straight-through.
    """

    def __init__(self, front: Callable[[Tensor], Tensor], substitute: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        check_callable("front", front, "robustsnn.encoders.Phase(8)")
        if substitute is not None:
            check_callable("substitute", substitute, "torch.nn.Identity()")
        self.front = front
        self.substitute = substitute

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            exact = self.front(x)
        smooth = x if self.substitute is None else self.substitute(x)
        if exact.shape != smooth.shape:
            raise UserError(
                f"BPDA: the front end gives shape {tuple(exact.shape)}, its substitute {tuple(smooth.shape)}; "
                f"give a substitute of the same shape"
            )
        return swap(exact, smooth)
