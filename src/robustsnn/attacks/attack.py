"""The one attack loop: threat x start x step rule x gradient rule x loss."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from robustsnn.attacks.start import AtImage, Start
from robustsnn.attacks.step import Iterate, StepRule
from robustsnn.attacks.threat import Threat, check_images
from robustsnn.errors import UserError
from robustsnn.losses import check_logits, correct, cross_entropy
from robustsnn.modes import frozen
from robustsnn.neurons import GradientRule, gradient_rule
from robustsnn.types import Images, Labels, Loss


@dataclass
class Attempt:
    """What an attack found and what it cost; all but `images` are `[B]`."""

    images: Images
    forwards: Tensor  # int: forward passes of the model
    backwards: Tensor  # int: backward passes to the input
    zero_gradient: Tensor  # bool: some gradient of the sample was exactly zero everywhere
    nan_gradient: Tensor  # bool: some gradient of the sample held NaN or infinity

    @staticmethod
    def none(x: Images) -> Attempt:
        """The clean images at no cost."""
        count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return Attempt(x.clone(), count, count.clone(), count.bool(), count.bool())


class Attacker(Protocol):
    """Anything that perturbs images within a threat; what suites and evaluation need of an attack."""

    @property
    def threat(self) -> Threat: ...

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator | None = None) -> Attempt: ...


@dataclass(frozen=True)
class Attack:
    """Ascend a loss inside a threat, and return the worst point that was seen.

    Calling it, `attack(model, x, y, generator=g) -> x_adv`, leaves x, the model's mode, its parameters,
    their gradients and its gradient rules as they were, after an exception too. "Worst" is a
    misclassified point before any other, then the larger loss; a sample is left alone once it is
    misclassified. A sample whose gradient vanishes moves in a random direction instead of standing
    still; it is counted in `Attempt`, as are NaN gradients, whose non-finite entries are taken as zero.

    Args:
        threat: which points are allowed.
        step: how to move.
        start: where to begin.
        rule: gradient rule for the neurons; None leaves each layer its own.
        loss: what to ascend, `[B, K], [B] -> [B]`.
        steps: gradient steps per restart, >= 1.
        restarts: how often to begin anew with the samples that still stand.
        keep: "worst" as above. "last" returns the last iterate without judging any, as adversarial
            training does: one forward pass less and no sample left out.
    """

    threat: Threat
    step: StepRule
    start: Start = field(default_factory=AtImage)
    rule: GradientRule | None = None
    loss: Loss = cross_entropy
    steps: int = 10
    restarts: int = 1
    keep: Literal["worst", "last"] = "worst"

    def __post_init__(self) -> None:
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: an attack needs at least 1")
        if self.keep == "last" and self.restarts > 1:
            raise UserError("keep='last' with restarts > 1 would discard all but one restart; use keep='worst'")

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator | None = None) -> Images:
        return self.run(model, x, y, generator=generator).images

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator | None = None) -> Attempt:
        """Attack a batch. Without a generator a fresh one with seed 0 is used."""
        check_images(x, y, self.threat.low, self.threat.high)
        x = x.detach()
        generator = generator if generator is not None else torch.Generator(x.device).manual_seed(0)
        attempt = Attempt.none(x)
        if len(x) == 0:
            return attempt
        search = _Search(self, model, x, y, attempt, generator)
        with frozen(model), gradient_rule(model, self.rule):
            for _ in range(self.restarts):
                search.restart()
        return attempt

    def __repr__(self) -> str:
        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            default = f.default_factory() if callable(f.default_factory) else f.default
            if value != default:
                shown.append(f"{f.name}={getattr(value, '__name__', None) or repr(value)}")
        return f"Attack({', '.join(shown)})"


class _Search:
    """One run of an `Attack`: the worst points so far and the random numbers."""

    def __init__(
        self, attack: Attack, model: nn.Module, x: Images, y: Labels, attempt: Attempt, generator: torch.Generator
    ) -> None:
        self.attack, self.model, self.x, self.y = attack, model, x, y
        self.attempt, self.generator = attempt, generator
        self.worst_loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def restart(self) -> None:
        """One ascent with the samples that stand; `at` holds their positions in the batch."""
        attack = self.attack
        at = (~self.broken).nonzero()[:, 0]
        if not len(at):
            return
        z = attack.start(attack.threat, self.x[at], self.generator)
        state = attack.step.init(z)
        for k in range(attack.steps):
            loss, gradient, judged = self.differentiate(z, at)
            if attack.keep == "worst":
                self.record(at, z, loss, judged)
                stand = judged.nonzero()[:, 0]
                if not len(stand):
                    return
                if len(stand) < len(at):
                    at, z, loss, gradient = at[stand], z[stand], loss[stand], gradient[stand]
                    state = _select(state, stand)
            now = Iterate(k, attack.steps, self.x[at], z, loss, gradient, attack.threat)
            z, state = attack.step.update(state, now)
        if attack.keep == "last":
            self.attempt.images[at] = z
            return
        with torch.no_grad():
            logits = self.model(z)
            self.attempt.forwards[at] += 1
            self.record(at, z, attack.loss(logits, self.y[at]).float(), correct(logits, self.y[at]))

    def differentiate(self, z: Images, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, its gradient at z, and whether z is classified correctly; counts and mends the gradient."""
        y = self.y[at]
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            logits = self.model(leaf)
            check_logits(logits, y)
            loss = self.attack.loss(logits, y)
            if loss.shape != y.shape:
                raise UserError(
                    f"{self.attack.loss!r} returned shape {tuple(loss.shape)}; needed is one loss per sample"
                )
            try:
                (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            except RuntimeError as error:
                if "does not require grad" not in str(error) and "have been used" not in str(error):
                    raise
                raise UserError(
                    f"{type(self.model).__name__} has no gradient with respect to its input; "
                    f"use a gradient-free attack, or a gradient rule that passes its discrete parts"
                ) from None
        self.attempt.forwards[at] += 1
        self.attempt.backwards[at] += 1
        finite = gradient.isfinite()
        nan = ~finite.flatten(1).all(1)
        gradient = torch.where(finite, gradient, 0)
        zero = gradient.flatten(1).abs().amax(1) == 0
        self.attempt.nan_gradient[at] |= nan
        self.attempt.zero_gradient[at] |= zero & ~nan
        if bool(zero.any()):
            noise = torch.randn(gradient.shape, generator=self.generator, device=self.generator.device)
            gradient[zero] = noise.to(gradient)[zero]
        return loss.detach().float(), gradient, correct(logits.detach(), y)

    def record(self, at: Tensor, z: Images, loss: Tensor, judged: Tensor) -> None:
        """Keep z where it is worse than the worst so far."""
        was, now = self.broken[at], ~judged
        worse = (now & ~was) | ((now == was) & (loss > self.worst_loss[at]))
        self.attempt.images[at[worse]] = z.detach()[worse]
        self.worst_loss[at[worse]] = loss[worse]
        self.broken[at] |= now


def _select(state: Any, stand: Tensor) -> Any:
    """The state of the samples that stand."""
    return type(state)(*(tensor[stand] for tensor in state))
