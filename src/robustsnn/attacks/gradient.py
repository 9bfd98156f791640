"""The gradient that attacks follow: taken, mended and counted in one place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustsnn.errors import UserError
from robustsnn.losses import check_logits
from robustsnn.types import Images, Labels


def gradient_at(
    model: nn.Module, z: Images, y: Labels, loss: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """(logits, loss `[B]`, input gradient of its sum) at z, all detached.

    UserError if the logits do not fit the labels, the loss is not one number per sample, or the model's output is
    not connected to its input.
    """
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        logits = model(leaf)
        check_logits(logits, y)
        value = loss(logits)
        if value.shape != y.shape:
            raise UserError(f"the loss returned shape {tuple(value.shape)}; needed is one loss per sample")
        try:
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        except RuntimeError as error:
            if "does not require grad" not in str(error) and "have been used" not in str(error):
                raise
            raise UserError(
                f"{type(model).__name__} has no gradient with respect to its input; "
                f"use a gradient-free attack, or BPDA for its discrete parts"
            ) from None
    return logits.detach(), value.detach(), gradient


def mend(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient with non-finite entries taken as zero; which samples had such; which have nothing left.

    A sample that has NaN entries alone counts as the former, `[B]` bool both.
    """
    finite = gradient.isfinite()
    nan = ~finite.flatten(1).all(1)
    gradient = torch.where(finite, gradient, 0)
    return gradient, nan, gradient.flatten(1).abs().amax(1) == 0
