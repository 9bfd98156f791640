"""Passes of one sample at a time, for gradients at the weights: those of a batch add up and lose the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.judge import device_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.seeds import seeded
from robustsnn.ground.types import Images, Labels, Logits, Loss
from robustsnn.losses import check_logits
from robustsnn.neurons import GradientRule, gradient_rule


def name_of(value: Any) -> str:
    """How a loss or a rule is called in a file; "" for None."""
    return "" if value is None else getattr(value, "__name__", None) or repr(value)


def first_samples(model: nn.Module, data: Data, samples: int, least: int) -> tuple[Images, Labels]:
    """The first `samples` images and labels on the model's device; UserError if there are fewer than `least`."""
    if samples < least:
        raise UserError(f"samples={samples}: at least {least} are needed")
    x, y = labelled(data)
    if len(x) < least:
        raise UserError(f"{len(x)} images: at least {least} are needed")
    device = device_of(model, x)
    return x[:samples].to(device), y[:samples].to(device)


@contextmanager
def differentiating(model: nn.Module, rule: GradientRule | None) -> Iterator[None]:
    """Eval mode, a gradient at each parameter, the rule at all neurons; everything as it was afterwards."""
    with evaluating(model), all_weights(model), torch.enable_grad(), gradient_rule(model, rule):
        yield


def gradients_at(logits: Logits, y: Labels, loss: Loss, at: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of the summed loss at each tensor; None where it does not depend on it."""
    check_logits(logits, y)
    finite(logits.detach(), "a logit")
    value = loss(logits, y)
    if value.shape != y.shape:
        raise UserError(f"the loss returned shape {tuple(value.shape)}; needed is one loss per sample")
    found = torch.autograd.grad(value.sum(), list(at), allow_unused=True)
    for gradient in found:
        if gradient is not None:
            finite(gradient, "a gradient")
    return list(found)


def weights_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Matrices and kernels by name: parameters with at least two dimensions, so no biases and no norms."""
    found = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    if not found:
        raise UserError(f"{type(model).__name__} has no weight matrices or kernels, so there is no gradient to look at")
    return found


@contextmanager
def all_weights(model: nn.Module) -> Iterator[None]:
    """All parameters have a gradient inside the block; each is as it was after it."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(parameter.is_floating_point())
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


def draws_numbers(model: nn.Module, x: Images) -> bool:
    """Whether a pass takes numbers from torch's generators, even if the logits do not show it."""

    def states() -> list[Tensor]:
        there = [torch.cuda.get_rng_state(x.device)] if x.is_cuda else []
        there += [torch.mps.get_rng_state()] if x.is_mps else []
        return [torch.get_rng_state(), *there]

    with seeded(0, "draws"), torch.no_grad():
        before = states()
        model(x)
        return not all(map(torch.equal, before, states()))


def finite(value: float | Tensor, what: str) -> None:
    """UserError if any of it is NaN or infinite."""
    if not torch.isfinite(torch.as_tensor(value)).all():
        raise UserError(
            f"{what} is not finite (NaN or infinity), so there is no trail; check the weights of the network, and the "
            f"loss and the attack if it is not the network"
        )
