"""Step rules: how an attack moves, given the gradients it has seen. Memory only, no model.

A rule is a value with `init` and `update`. Its state is any tree of tensors whose first dimension is the batch, see
`state.select`, so that the loop can drop samples that are already broken.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from robustsnn.attacks.threat import Threat, per_sample
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import NotNegative
from robustsnn.ground.units import show_fraction
from robustsnn.ground.widest import wide, widest


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

    label: ClassVar[str]
    """A short name for tables."""

    def init(self, z: Tensor) -> Any: ...

    def update(self, state: Any, now: Iterate) -> tuple[Tensor, Any]: ...


@dataclass(frozen=True, repr=False)
class Sized:
    """A rule with a step size. Its repr names what is not usual: random numbers derive from it."""

    alpha: NotNegative

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        others = [(f.name, getattr(self, f.name)) for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        more = "".join(f", {name}={value:g}" for name, value in others)
        return f"{type(self).__name__}(alpha={show_fraction(self.alpha)}{more})"


@dataclass(frozen=True, repr=False)
class GradientStep(Sized):
    """z <- project(z + alpha * steepest(g)): for Linf the sign step of FGSM and PGD."""

    label: ClassVar[str] = "pgd"

    def init(self, z: Tensor) -> tuple[()]:
        return ()

    def update(self, state: tuple[()], now: Iterate) -> tuple[Tensor, tuple[()]]:
        return now.threat.project(now.z + now.threat.steepest(now.gradient, self.alpha), now.x), state


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


@dataclass(frozen=True, repr=False)
class APGD(Sized):
    """Auto-PGD (Croce and Hein 2020, alg. 1): momentum and a step size that halves where progress stalls.

        p = project(z_k + alpha steepest(g)),  z_{k+1} = project(z_k + m (p - z_k) + (1 - m)(z_k - z_{k-1}))

    with m = `momentum` (1 in the first step). At a checkpoint alpha is halved, per sample, and the search
    restarts from the best point if the loss rose in at most a share `rho` of the steps since the last
    checkpoint, or if alpha was kept there and the best loss has not improved since. As in the reference
    implementation, the first step counts as a rise if it ends at a positive loss.

    Args:
        alpha: the first step size; twice the radius of the threat in the source.
    """

    momentum: float = 0.75
    rho: float = 0.75
    label: ClassVar[str] = "apgd"

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
        before = state.last_loss if k > 1 else torch.zeros_like(now.loss)
        rises = state.rises + (now.loss > before) * (k > 0)
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


class MomentumState(NamedTuple):
    """The gradient accumulated so far."""

    gathered: Tensor


@dataclass(frozen=True, repr=False)
class Momentum(Sized):
    """MI-FGSM: m <- decay m + g / ||g||_1, z <- project(z + alpha steepest(m)). Source: Dong et al., CVPR 2018."""

    decay: float = 1.0
    label: ClassVar[str] = "mi-fgsm"

    def init(self, z: Tensor) -> MomentumState:
        return MomentumState(torch.zeros_like(z))

    def update(self, state: MomentumState, now: Iterate) -> tuple[Tensor, MomentumState]:
        unit = _scaled(now.gradient)
        size = unit.abs().flatten(1).mean(1).clamp_min(1e-12)
        gathered = self.decay * state.gathered + unit / per_sample(size, unit)
        z = now.threat.project(now.z + now.threat.steepest(gathered, self.alpha), now.x)
        return z, MomentumState(gathered)


def _scaled(gradient: Tensor) -> Tensor:
    """Divided by the sample's largest entry, so that squares of tiny gradients do not underflow."""
    peak = gradient.abs().flatten(1).amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / per_sample(peak, gradient)


def _along(threat: Threat, direction: Tensor, size: float | Tensor) -> Tensor:
    """A displacement of norm up to `size`: entries of a direction in [-1, 1] keep their ratio, also for Linf."""
    return direction * size if threat.norm == "Linf" else threat.steepest(direction, size)


class Moments(NamedTuple):
    """Running sums of the gradient and of its square."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True, repr=False)
class Adam(Sized):
    """z <- project(z + alpha m / sqrt(v)) with Adam's bias-corrected moments (Kingma and Ba 2015).

    The moments are kept in float64 where the device has it, so that tiny gradients count in full. For L2 the step has
    norm alpha.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    label: ClassVar[str] = "adam"

    def init(self, z: Tensor) -> Moments:
        zero = torch.zeros_like(z, dtype=widest(z.device))
        return Moments(zero, zero)

    def update(self, state: Moments, now: Iterate) -> tuple[Tensor, Moments]:
        g, k = wide(now.gradient), now.k + 1
        first = self.beta1 * state.first + (1 - self.beta1) * g
        second = self.beta2 * state.second + (1 - self.beta2) * g * g
        ratio = (first / (1 - self.beta1**k)) / ((second / (1 - self.beta2**k)).sqrt() + torch.finfo(g.dtype).tiny)
        z = now.threat.project(now.z + _along(now.threat, ratio.to(now.z.dtype), self.alpha), now.x)
        return z, Moments(first, second)


def halvings(steps: int) -> list[int]:
    """Iterations at which SA-PGD halves its step: APGD's checkpoints; for short runs the same shares of n.

    Below 34 steps APGD's windows, rounded to whole steps, would halve at nearly every one.
    """
    if steps >= 34:
        return apgd_checkpoints(steps)[1:]
    shares = accumulate((0.22, 0.19, 0.16, 0.13, 0.10, 0.07, 0.06, 0.06))
    return sorted({round(share * steps) for share in shares} - {0})


@dataclass(frozen=True, repr=False)
class SAPGD(Sized):
    """Stable adaptive PGD: momentum over an RMS of the gradient, per entry, and a step that halves on schedule.

        m <- decay m + g / mean|g|,   v <- decay2 v + g^2 / mean(g^2),   d = clip(m / (sqrt(v) + 1e-12), -1, 1)
        z <- project(z + alpha d)

    The means run over all entries of a sample; alpha starts at the radius of the threat and is halved at
    `halvings(steps)`. Gradients are scaled before they are squared, so none underflows. Source: arXiv
    2512.22522, where the method is given for Linf. For L2 the step has norm alpha, along d: nearer to the signs of the
    gradient than to the gradient, so other rules serve L2 better.
    """

    decay: float = 0.5
    decay2: float = 0.8
    label: ClassVar[str] = "sa-pgd"

    def init(self, z: Tensor) -> Moments:
        return Moments(torch.zeros_like(z), torch.zeros_like(z))

    def update(self, state: Moments, now: Iterate) -> tuple[Tensor, Moments]:
        g = _scaled(now.gradient)
        square = g * g
        first = self.decay * state.first + g / per_sample(g.abs().flatten(1).mean(1).clamp_min(1e-12), g)
        second = self.decay2 * state.second + square / per_sample(square.flatten(1).mean(1).clamp_min(1e-12), g)
        direction = (first / (second.sqrt() + 1e-12)).clamp(-1, 1)
        alpha = self.alpha / 2 ** sum(point <= now.k for point in halvings(now.steps))
        return now.threat.project(now.z + _along(now.threat, direction, alpha), now.x), Moments(first, second)
