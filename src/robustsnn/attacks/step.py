"""Step rules: how an attack moves, given the gradients it has seen. Memory only, no model.

A rule is a value with `init` and `update`. Its state is a NamedTuple of tensors whose first dimension
is the batch, so that the loop can drop samples that are already broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from robustsnn.attacks.threat import Threat, per_sample
from robustsnn.errors import UserError
from robustsnn.units import show_fraction


class Iterate(NamedTuple):
    """What a step rule is shown at iteration k = 0 .. steps - 1."""

    k: int
    steps: int
    x: Tensor  # the clean images
    z: Tensor  # the current points
    loss: Tensor  # [B] at z
    gradient: Tensor  # of the loss at z; zero gradients and NaN have been replaced
    threat: Threat


class StepRule(Protocol):
    """Pure functions: `init` makes the state, `update` returns the next points and state."""

    def init(self, z: Tensor) -> Any: ...

    def update(self, state: Any, now: Iterate) -> tuple[Tensor, Any]: ...


def _check_alpha(rule: object, alpha: float) -> None:
    if not 0 <= alpha < float("inf"):
        raise UserError(f"{type(rule).__name__}(alpha={alpha!r}): the step size must be >= 0; the loss is ascended")


@dataclass(frozen=True)
class GradientStep:
    """z <- project(z + alpha * steepest(g)): for Linf the sign step of FGSM and PGD."""

    alpha: float

    def __post_init__(self) -> None:
        _check_alpha(self, self.alpha)

    def init(self, z: Tensor) -> tuple[()]:
        return ()

    def update(self, state: tuple[()], now: Iterate) -> tuple[Tensor, tuple[()]]:
        return now.threat.project(now.z + now.threat.steepest(now.gradient, self.alpha), now.x), state

    def __repr__(self) -> str:
        return f"GradientStep(alpha={show_fraction(self.alpha)})"


class APGDState(NamedTuple):
    """What APGD remembers of each sample."""

    previous: Tensor  # z_{k-1}
    best: Tensor  # the point of largest loss so far
    best_gradient: Tensor
    best_loss: Tensor
    last_loss: Tensor
    alpha: Tensor  # step size
    rises: Tensor  # loss increases since the last checkpoint
    halved: Tensor  # whether alpha was halved at the last checkpoint
    best_at_checkpoint: Tensor


def apgd_checkpoints(steps: int) -> list[int]:
    """Iterations at which APGD considers halving: windows of 0.22 n, each 0.03 n shorter, at least 0.06 n."""
    window, shrink, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    points = [0]
    while points[-1] < steps:
        points.append(points[-1] + window)
        window = max(window - shrink, least)
    return points


@dataclass(frozen=True)
class APGD:
    """Auto-PGD (Croce and Hein 2020, alg. 1): momentum and a step size that halves where progress stalls.

        p = project(z_k + alpha steepest(g)),  z_{k+1} = project(z_k + m (p - z_k) + (1 - m)(z_k - z_{k-1}))

    with m = `momentum` (1 in the first step). At a checkpoint alpha is halved, per sample, and the search
    restarts from the best point if the loss rose in at most a share `rho` of the steps since the last
    checkpoint, or if alpha was kept there and the best loss has not improved since.

    Args:
        alpha: the first step size; twice the radius of the threat in the source.
    """

    alpha: float
    momentum: float = 0.75
    rho: float = 0.75

    def __post_init__(self) -> None:
        _check_alpha(self, self.alpha)

    def init(self, z: Tensor) -> APGDState:
        low = torch.full((len(z),), -torch.inf, device=z.device)
        zero = torch.zeros(len(z), device=z.device)
        alpha = torch.full_like(zero, self.alpha)
        return APGDState(z, z, torch.zeros_like(z), low, low, alpha, zero, zero.bool(), low)

    def update(self, state: APGDState, now: Iterate) -> tuple[Tensor, APGDState]:
        k, z, gradient = now.k, now.z, now.gradient
        better = now.loss > state.best_loss
        best = torch.where(per_sample(better, z), z, state.best)
        best_gradient = torch.where(per_sample(better, z), gradient, state.best_gradient)
        best_loss = torch.where(better, now.loss, state.best_loss)
        rises = state.rises + (now.loss > state.last_loss) * (k > 0)
        alpha, halved, mark = state.alpha, state.halved, state.best_at_checkpoint
        if k == 0:
            halved, mark = torch.ones_like(halved), best_loss
        checkpoints = apgd_checkpoints(now.steps)
        if k in checkpoints[1:]:
            window = k - checkpoints[checkpoints.index(k) - 1]
            stalled = (rises <= self.rho * window) | (~halved & (best_loss <= mark))
            alpha = torch.where(stalled, alpha / 2, alpha)
            z = torch.where(per_sample(stalled, z), best, z)
            gradient = torch.where(per_sample(stalled, z), best_gradient, gradient)
            halved, mark, rises = stalled, best_loss, torch.zeros_like(rises)
        project, size = now.threat.project, per_sample(alpha, z)
        target = project(z + now.threat.steepest(gradient, size), now.x)
        m = 1.0 if k == 0 else self.momentum
        following = project(z + m * (target - z) + (1 - m) * (z - state.previous), now.x)
        return following, APGDState(z, best, best_gradient, best_loss, now.loss, alpha, rises, halved, mark)

    def __repr__(self) -> str:
        more = "".join(f", {k}={v:g}" for k, v in (("momentum", self.momentum), ("rho", self.rho)) if v != 0.75)
        return f"APGD(alpha={show_fraction(self.alpha)}{more})"
