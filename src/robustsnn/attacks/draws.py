"""Models that draw random numbers: a query is several forward passes, and one unlucky pass decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustsnn.attacks.attack import Attempt
from robustsnn.attacks.gradient import gradient_at, mend
from robustsnn.errors import UserError
from robustsnn.losses import check_logits, correct, margin
from robustsnn.neurons import Memory
from robustsnn.types import Images, Labels


class Verdict(NamedTuple):
    """What a query says of `[B]` points."""

    logits: Tensor  # [B, K] mean over the draws
    margin: Tensor  # float32 [B], mean over the draws; NaN if any is
    stands: Tensor  # bool [B]: some draw classifies it correctly


class Slope(NamedTuple):
    """What a gradient says of `[B]` points."""

    loss: Tensor  # float32 [B], mean over the draws
    gradient: Tensor  # mean over the draws, non-finite entries taken as zero
    dead: Tensor  # bool [B]: the gradient is zero everywhere
    margin: Tensor  # as in Verdict
    stands: Tensor  # as in Verdict


@torch.no_grad()
def judged(model: nn.Module, z: Images, y: Labels, draws: int) -> Verdict:
    """Query z by so many forward passes; the caller counts them. UserError if the logits do not fit the labels."""
    total, value = torch.zeros((), device=z.device), torch.zeros(len(z), device=z.device)
    stands = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for _ in range(draws):
        logits = model(z)
        check_logits(logits, y)
        total = total.to(logits) + logits / draws
        value += margin(logits, y) / draws
        stands |= correct(logits, y)
    return Verdict(total, value, stands)


def differentiate(
    model: nn.Module,
    z: Images,
    y: Labels,
    loss: Callable[[Tensor], Tensor],
    draws: int,
    memory: Memory,
    attempt: Attempt,
    at: Tensor,
) -> Slope:
    """The gradient of a loss of the logits at z; counted in `attempt` at the positions `at`.

    The memory of a gradient rule moves at the first draw alone.
    """
    losses, value = torch.zeros(len(z), device=z.device), torch.zeros(len(z), device=z.device)
    gradients = torch.zeros_like(z)
    stands = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for draw in range(draws):
        memory.hold(draw > 0)
        logits, now, gradient = gradient_at(model, z, y, loss)
        losses += now.float() / draws
        gradients += gradient / draws
        value += margin(logits, y) / draws
        stands |= correct(logits, y)
    memory.hold(False)
    gradients, nan, dead = mend(gradients)
    attempt.forwards[at] += draws
    attempt.backwards[at] += draws
    attempt.nan_gradient[at] |= nan
    attempt.zero_gradient[at] |= dead & ~nan
    return Slope(losses, gradients, dead, value, stands)


def check_draws(draws: int) -> None:
    """UserError below 1."""
    if draws < 1:
        raise UserError(f"draws={draws}: a query needs at least 1 forward pass")


def shown(attack: Any) -> str:
    """The constructor call of a dataclass with a field `draws`, which is named only where it is not 1.

    Random streams are derived from it, so a model that draws nothing has the numbers that it had without the field.
    """
    named = [f for f in fields(attack) if f.name != "draws" or attack.draws != 1]
    return f"{type(attack).__name__}({', '.join(f'{f.name}={getattr(attack, f.name)!r}' for f in named)})"
