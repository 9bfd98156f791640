"""The one attack loop: threat x start x step rule x gradient rule x loss."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from robustsnn.attacks.gradient import gradient_at, mend
from robustsnn.attacks.start import AtImage, Start
from robustsnn.attacks.step import Iterate, StepRule
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_images
from robustsnn.errors import UserError
from robustsnn.losses import TARGETED, check_logits, correct, cross_entropy, dlr, margin
from robustsnn.modes import batch_statistics, frozen
from robustsnn.neurons import GradientRule, Memory, gradient_rule
from robustsnn.types import Images, Labels, Loss, TargetedLoss

_NAMES = {cross_entropy: "ce", margin: "margin", dlr: "dlr", **{t: t.__name__[9:].replace("_", "-") for t in TARGETED}}


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

    @property
    def label(self) -> str:
        """A short name for tables and progress, for example "apgd-ce/arctan-2"."""
        ...

    black_box: ClassVar[bool]
    """It asks the model for nothing but logits, or does not ask it at all."""

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt: ...


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
        loss: what to ascend, `[B, K], [B] -> [B]`; with `targets`, `[B, K], [B], [B] -> [B]`.
        steps: gradient steps per restart, >= 1.
        restarts: how often to begin anew with the samples that still stand.
        keep: "worst" as above. "last" returns the last iterate without judging any, as adversarial
            training does: one forward pass less and no sample left out.
        targets: ascend towards each of the so many strongest rivals of the clean image, one run each.
        draws: passes per step over whose losses and gradients the mean is taken (expectation over
            transformation, Athalye et al. 2018), for models that draw random numbers. A sample is then left
            alone only once all draws misclassify it. A rule's memory moves at the first draw alone.
        batch_statistics: craft while batch norms use the statistics of the batch. Such a model is another
            one than evaluation judges, and its samples are coupled; some released codes do it.
    """

    threat: Threat
    step: StepRule
    start: Start = field(default_factory=AtImage)
    rule: GradientRule | None = None
    loss: Loss | TargetedLoss = cross_entropy
    steps: int = 10
    restarts: int = 1
    keep: Literal["worst", "last"] = "worst"
    targets: int = 0
    draws: int = 1
    batch_statistics: bool = False

    black_box: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("restarts", 1), ("targets", 0), ("draws", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)}: an attack needs at least {least}")
        if self.keep == "last" and self.restarts * max(1, self.targets) > 1:
            raise UserError("keep='last' with several restarts or targets would discard all but one; use keep='worst'")
        if self.loss in _NAMES and (self.loss in TARGETED) != (self.targets > 0):
            needed = "needs targets >= 1" if self.loss in TARGETED else "takes no target; use a targeted loss"
            raise UserError(f"targets={self.targets} with loss={_NAMES[self.loss]}: that loss {needed}")

    @property
    def label(self) -> str:
        """Step rule, loss and gradient rule: "apgd-ce/arctan-2"; "own" is the rule of the model itself."""
        step = self.step.label
        if step == "pgd" and self.steps == 1:
            step = "fgsm" if isinstance(self.start, AtImage) else "rfgsm"
        loss = _NAMES.get(self.loss) or repr(self.loss)  # type: ignore[call-overload]
        return f"{step}-{loss}{'-t' if self.targets else ''}/{self.rule.label if self.rule else 'own'}"

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Images:
        return self.run(model, x, y, generator=generator).images

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch. Without a generator a fresh one with seed 0 is used."""
        check_images(x, y, self.threat.low, self.threat.high)
        x = x.detach()
        attempt = Attempt.none(x)
        if len(x) == 0:
            return attempt
        with frozen(model), batch_statistics(model) if self.batch_statistics else nullcontext():
            search = _Search(self, model, x, y, attempt, Streams.of(generator, x))
            for _ in range(self.restarts):
                for target in search.targets():
                    search.restart(target)
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
        self, attack: Attack, model: nn.Module, x: Images, y: Labels, attempt: Attempt, streams: Streams
    ) -> None:
        self.attack, self.model, self.x, self.y = attack, model, x, y
        self.attempt, self.streams = attempt, streams
        self.worst_loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.rivals: list[Labels] = []  # by strength at the clean image, strongest first

    def targets(self) -> list[Labels | None]:
        """The target classes of the runs to make; one None for an untargeted attack."""
        attack = self.attack
        if not attack.targets:
            return [None]
        if not self.rivals:
            logits, judged = self.look(self.x, self.y)
            self.attempt.forwards += attack.draws
            if attack.keep == "worst":
                everywhere = torch.arange(len(self.x), device=self.x.device)
                self.record(everywhere, self.x, margin(logits, self.y), judged)
            others = logits.scatter(1, self.y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
            self.rivals = list(others[:, : logits.shape[1] - 1].T[: attack.targets])
        return [*self.rivals]

    def restart(self, target: Labels | None) -> None:
        """One ascent with the samples that stand; `at` holds their positions in the batch."""
        attack = self.attack
        at = (~self.broken).nonzero()[:, 0]
        if not len(at):
            return
        with gradient_rule(self.model, attack.rule) as memory:
            z = attack.start(attack.threat, self.x[at], self.streams[at])
            state = attack.step.init(z)
            for k in range(attack.steps):
                loss, gradient, judged, badness = self.differentiate(z, at, target, memory)
                if attack.keep == "worst":
                    self.record(at, z, badness, judged)
                    stand = judged.nonzero()[:, 0]
                    if not len(stand):
                        return
                    if len(stand) < len(at):
                        at, z, loss, gradient = at[stand], z[stand], loss[stand], gradient[stand]
                        state = _select(state, stand)
                        memory.select(stand)
                now = Iterate(k, attack.steps, self.x[at], z, loss, gradient, attack.threat)
                z, state = attack.step.update(state, now)
        if attack.keep == "last":
            self.attempt.images[at] = z
            return
        logits, judged = self.look(z, self.y[at])
        self.attempt.forwards[at] += attack.draws
        self.record(at, z, self.badness(logits, at, target), judged)

    @torch.no_grad()
    def look(self, z: Images, y: Labels) -> tuple[Tensor, Tensor]:
        """Mean logits over the draws, and whether any draw is classified correctly."""
        total, judged = torch.zeros(()), torch.zeros(len(z), dtype=torch.bool, device=z.device)
        for _ in range(self.attack.draws):
            logits = self.model(z)
            check_logits(logits, y)
            total = total.to(logits) + logits / self.attack.draws
            judged = judged | correct(logits, y)
        return total, judged

    def loss(self, logits: Tensor, at: Tensor, target: Labels | None) -> Tensor:
        """The attack's loss `[B]` of these samples."""
        given = (self.y[at],) if target is None else (self.y[at], target[at])
        return self.attack.loss(logits, *given)

    def badness(self, logits: Tensor, at: Tensor, target: Labels | None) -> Tensor:
        """What the worst point is chosen by: the loss, or the margin where runs have different targets."""
        if target is not None:
            return margin(logits, self.y[at])
        return self.loss(logits, at, target).float()

    def differentiate(
        self, z: Images, at: Tensor, target: Labels | None, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss, its gradient at z, whether z is classified correctly, and how bad it is.

        Means over the draws. Counts and mends the gradient.
        """
        y, draws = self.y[at], self.attack.draws
        losses, gradients = torch.zeros(len(z), device=z.device), torch.zeros_like(z)
        badness, judged = torch.zeros_like(losses), torch.zeros(len(z), dtype=torch.bool, device=z.device)
        for draw in range(draws):
            memory.hold(draw > 0)
            logits, loss, gradient = gradient_at(self.model, z, y, lambda logits: self.loss(logits, at, target))
            gradients += gradient / draws
            losses += loss.float() / draws
            badness += self.badness(logits, at, target) / draws
            judged |= correct(logits, y)
        memory.hold(False)
        self.attempt.forwards[at] += draws
        self.attempt.backwards[at] += draws
        gradients, nan, zero = mend(gradients)
        self.attempt.nan_gradient[at] |= nan
        self.attempt.zero_gradient[at] |= zero & ~nan
        if bool(zero.any()):
            lost = zero.nonzero()[:, 0]
            gradients[lost] = self.streams[at[lost]].normal(*z.shape[1:]).to(gradients)
        return losses, gradients, judged, badness

    def record(self, at: Tensor, z: Images, badness: Tensor, judged: Tensor) -> None:
        """Keep z where it is worse than the worst so far."""
        was, now = self.broken[at], ~judged
        worse = (now & ~was) | ((now == was) & (badness > self.worst_loss[at]))
        self.attempt.images[at[worse]] = z.detach()[worse]
        self.worst_loss[at[worse]] = badness[worse].float()
        self.broken[at] |= now


def _select(state: Any, stand: Tensor) -> Any:
    """The state of the samples that stand."""
    return type(state)(*(tensor[stand] for tensor in state))
