"""The fast minimum-norm attack: how far is the nearest misclassified point?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.attacks import grey
from robustsnn.attacks.attempt import Attempt, at_least, shown
from robustsnn.attacks.calling import Called
from robustsnn.attacks.passes import differentiate, judged, rivals
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_call, per_sample
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels
from robustsnn.ground.widest import wide, widest
from robustsnn.losses import margin, targeted_margin
from robustsnn.neurons import GradientRule, gradient_rule


@dataclass(frozen=True)
class MinimumNorm(Called):
    """Fast minimum-norm attack (Pintor et al. 2021), Linf and L2: ascends the margin in a ball that is drawn tighter.

    With shift d = z - x, margin m and its gradient g, step k = 0 .. steps - 1 sets the radius of each sample

        r <- max(||d|| + |m| / ||g||_dual, (1 + gamma_k) r)   not misclassified yet: where a linear model would turn
        r <- (1 + gamma_k / 10) r                             correct again
        r <- min((1 - gamma_k) r, smallest norm found)        misclassified

    and moves d <- clip(d + alpha_k g / ||g||_2) into the ball of radius r and the data range. alpha_k and gamma_k
    fall along a cosine. Three differences from the source, for the rugged margins and surrogate slopes of spiking
    networks: r never shrinks before something was found; it then grows ten times slower, so that more points are tried
    in each ball; and where g vanishes, d moves in a random direction and r grows by the threat's eps. In a threat with
    grey levels the model is shown the nearest levels to z.

    `run` returns the smallest misclassified point that was found if it lies within the threat; otherwise the worse
    of its projection and the worst correctly classified point seen inside. `distances` gives the norms themselves.

    Args:
        threat: Linf or L2; its eps bounds what `run` returns, and is no bound for `distances`.
        rule: gradient rule for the neurons; None leaves each layer its own.
        steps: gradient steps per descent.
        restarts: descents; the first begins at the image, the others at a random point of the threat.
        targets: descend towards each of the so many strongest rivals of the clean image, one descent each, on
            z_t - z_y in place of the margin.
        alpha: first step in L2 norm, in units of the data range; the last is a hundredth of it.
        gamma: first relative change of the radius; the last is a fiftieth of it.
        draws: passes whose mean margins and gradients are taken, for models that draw random numbers; a point is
            then misclassified only if it is in all draws.
    """

    threat: Threat
    rule: GradientRule | None = None
    steps: int = 100
    restarts: int = 1
    targets: int = 0
    alpha: float = 1.0
    gamma: float = 0.05
    draws: int = 1
    black_box: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threat.norm not in ("Linf", "L2"):
            raise UserError(f"MinimumNorm on {self.threat.norm}: it is defined for Linf and L2")
        at_least(self, steps=1, restarts=1, targets=0, draws=1)
        if not 0 < self.alpha < math.inf or not 0 < self.gamma < 1:
            raise UserError(f"alpha={self.alpha!r}, gamma={self.gamma!r}: needed are alpha > 0 and 0 < gamma < 1")

    @property
    def label(self) -> str:
        return f"fmn{'-t' if self.targets else ''}/{self.rule.label if self.rule else 'own'}"

    @property
    def passes(self) -> int:
        """Two a step and one for the last point of every descent, one for the clean image, one for a projection."""
        return self.draws * (self.restarts * max(1, self.targets) * (2 * self.steps + 1) + 2)

    def __repr__(self) -> str:
        return shown(self)

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch. Later descents leave out the samples that are broken within the threat."""
        with frozen(model):
            search = self._search(model, x, y, generator, self.threat.eps)
            return search.within() if len(x) else search.attempt

    def distances(
        self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None
    ) -> tuple[Images, Tensor]:
        """The nearest misclassified points that were found, and their distance (float64 `[B]`).

        An upper bound of the true minimum. 0 where the image itself is misclassified; inf, and the image, where
        nothing was found.
        """
        with frozen(model):
            search = self._search(model, x, y, generator, 0.0)
        return search.nearest, search.norm

    def _search(self, model: nn.Module, x: Images, y: Labels, generator: Randomness, enough: float) -> _NearestSearch:
        x, y = check_call(self.threat, model, x, y)
        search = _NearestSearch(self, model, x, y, Streams.of(generator, x))
        if len(x):
            others = search.judge()
            for restart in range(self.restarts):
                for target in others[: self.targets] if self.targets else [None]:
                    search.descend((search.norm > enough).nonzero()[:, 0], target, restart > 0)
        return search


class _NearestSearch:
    """The nearest misclassified points so far, and the worst other points inside the threat."""

    def __init__(self, attack: MinimumNorm, model: nn.Module, x: Images, y: Labels, streams: Streams) -> None:
        self.attack, self.threat, self.model = attack, attack.threat, model
        self.x, self.y, self.streams = x, y, streams
        self.attempt = Attempt.none(x)
        self.nearest = x.clone()
        self.norm = torch.full((len(x),), torch.inf, dtype=widest(x.device), device=x.device)
        self.inside = x.clone()
        self.margin = torch.full((len(x),), -torch.inf, device=x.device)

    def judge(self) -> list[Labels]:
        """Judge the clean images; the other classes by strength there, strongest first."""
        logits, self.margin, stands = judged(self.model, self.x, self.y, self.attack.draws)
        self.attempt.forwards += self.attack.draws
        self.norm[~stands] = 0
        return rivals(logits, self.y)

    def descend(self, at: Tensor, target: Labels | None, somewhere: bool) -> None:
        """One descent with the samples at these positions."""
        if not len(at):
            return
        attack, threat, x, y = self.attack, self.threat, self.x[at], self.y[at]
        scale = threat.high - threat.low
        z = threat.sample(x, self.streams[at]) if somewhere else x.clone()
        radius = threat.distance(self.allowed(z), x)
        found = torch.full_like(radius, torch.inf)

        def loss(logits: Tensor) -> Tensor:
            return margin(logits, y) if target is None else targeted_margin(logits, y, target[at])

        with gradient_rule(self.model, attack.rule) as memory:
            for k in range(attack.steps):
                shown = self.allowed(z)
                seen = differentiate(self.model, shown, y, loss, attack.draws, memory, self.attempt, at)
                seen.replace_zeros(self.streams, at)
                wrong = ~seen.stands
                self.record(at, shown, seen.margin, seen.stands)
                fall = (1 + math.cos(math.pi * k / attack.steps)) / 2
                gamma = attack.gamma * (0.02 + 0.98 * fall)
                alpha = attack.alpha * scale * (0.01 + 0.99 * fall)
                size = threat.distance(shown, x)
                found = torch.where(wrong, torch.minimum(found, size), found)
                g = wide(seen.gradient).flatten(1)
                dual = g.abs().sum(1) if threat.norm == "Linf" else g.norm(dim=1)
                # The loss is NaN where some draws are; those that are not keep the sample standing.
                gap = -wide(seen.loss).clamp_max(0).nan_to_num(0.0, neginf=-torch.inf)
                ahead = torch.where(seen.dead, threat.eps, gap / dual)
                searching = torch.maximum(size + ahead, radius * (1 + gamma))
                grown = torch.where(found.isinf(), searching, radius * (1 + gamma / 10))
                radius = torch.where(wrong, torch.minimum(radius * (1 - gamma), found), grown)
                step = g / g.norm(dim=1, keepdim=True) * alpha
                z = self.clip(z + step.view_as(z).to(z), x, radius)
        z = self.allowed(z)
        _, value, stands = judged(self.model, z, y, attack.draws)
        self.attempt.forwards[at] += attack.draws
        self.record(at, z, value, stands)

    def clip(self, z: Images, x: Images, radius: Tensor) -> Images:
        """Into the ball of that radius per sample, and the data range."""
        shift = z - x
        if self.threat.norm == "Linf":
            limit = per_sample(radius.to(x), x)
            shift = torch.minimum(torch.maximum(shift, -limit), limit)
        else:
            length = self.threat.distance(z, x).clamp_min(1e-300)
            shift = shift * per_sample((radius / length).clamp_max(1).to(x), x)
        return (x + shift).clamp(self.threat.low, self.threat.high)

    def allowed(self, z: Images) -> Images:
        """The point that the model is shown for z; it may lie outside the threat."""
        return z if self.threat.levels is None else grey.nearest(z, self.threat.levels)

    def record(self, at: Tensor, z: Images, value: Tensor, right: Tensor) -> None:
        """Keep z where it is the nearest misclassified point, or the worst correct one within the threat."""
        size = self.threat.distance(z, self.x[at])
        nearer = ~right & (size < self.norm[at])
        self.nearest[at[nearer]], self.norm[at[nearer]] = z[nearer], size[nearer]
        worse = right & (size <= self.threat.eps) & (value > self.margin[at])
        self.inside[at[worse]], self.margin[at[worse]] = z[worse], value[worse]

    def within(self) -> Attempt:
        """The attempt, with points that lie inside the threat."""
        self.attempt.images = torch.where(per_sample(self.norm <= self.threat.eps, self.x), self.nearest, self.inside)
        beyond = ((self.norm > self.threat.eps) & self.norm.isfinite()).nonzero()[:, 0]
        if len(beyond):
            z, y = self.threat.project(self.nearest[beyond], self.x[beyond]), self.y[beyond]
            _, value, stands = judged(self.model, z, y, self.attack.draws)
            self.attempt.forwards[beyond] += self.attack.draws
            worse = (value > self.margin[beyond]) | ~stands
            self.attempt.images[beyond[worse]] = z[worse]
        return self.attempt
