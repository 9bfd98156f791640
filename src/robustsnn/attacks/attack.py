"""The one attack loop: threat x start x step rule x gradient rule x loss."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt, at_least, shown
from robustsnn.attacks.calling import Called
from robustsnn.attacks.passes import differentiate, judged, rivals
from robustsnn.attacks.start import AtImage, Start
from robustsnn.attacks.state import select
from robustsnn.attacks.step import Iterate, StepRule
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_call
from robustsnn.encoders import smoothing
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import batch_statistics, frozen
from robustsnn.ground.types import Images, Labels, Logits, Loss, TargetedLoss
from robustsnn.ground.units import show_fraction
from robustsnn.losses import TARGETED, cross_entropy, dlr, margin
from robustsnn.neurons import GradientRule, ResetFlow, gradient_rule

_NAMES = {cross_entropy: "ce", margin: "margin", dlr: "dlr", **{t: t.__name__[9:].replace("_", "-") for t in TARGETED}}


@dataclass(frozen=True)
class Attack(Called):
    """Ascend a loss inside a threat, and return the worst point that was seen.

    Calling it, `attack(model, x, y, generator=g) -> x_adv`, leaves x, the model's mode, its parameters,
    their gradients and its gradient rules as they were, after an exception too. "Worst" is a
    misclassified point before any other, then the larger loss; a sample is left alone once it is
    misclassified. A sample whose gradient vanishes moves in a random direction instead of standing
    still; it is counted in `Attempt`, as are NaN gradients, whose non-finite entries are taken as zero.

    In a threat with grey levels the steps move in the ball of all values, and the model is shown the nearest allowed
    point, whose gradient is taken for the next step: so moves of less than a level add up.

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
        smoothing: differentiate encoders that round pixels by the slope of their mean over pixels within this
            distance, see `encoders.Smoothed`; None leaves each its own gradient.
        batch_statistics: craft while batch norms use the statistics of the batch. Such a model is another
            one than evaluation judges, and its samples are coupled; some released codes do it.
        mix: another gradient rule. The gradient is then the mean of that of `rule` and of its own, a pass for each, and
            neither is scaled before: the larger one leads. See `mix_pgd`.
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
    smoothing: float | None = None
    batch_statistics: bool = False
    mix: GradientRule | None = None

    black_box: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(self, steps=1, restarts=1, targets=0, draws=1)
        if self.mix is not None and any(isinstance(r, ResetFlow) or hasattr(r, "begin") for r in (self.rule, self.mix)):
            raise UserError(
                f"mix={self.mix!r} with rule={self.rule!r}: rules that remember or turn the reset's gradient "
                f"do not mix; use others, such as STBP, HART and RGA"
            )
        if self.smoothing is not None and not 0 < self.smoothing <= 1:
            raise UserError(f"smoothing={self.smoothing!r}: a distance in (0, 1] in pixel units is needed, or None")
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
        smooth = f"/smoothed {show_fraction(self.smoothing)}" if self.smoothing else ""
        rule = "+".join(r.label if r else "own" for r in (self.rule, self.mix)[: self.gradients])
        return f"{step}-{loss}{'-t' if self.targets else ''}/{rule}{smooth}"

    @property
    def gradients(self) -> int:
        """Gradients that a step takes the mean of, one for each rule."""
        return 1 if self.mix is None else 2

    @property
    def passes(self) -> int:
        """Per run two a gradient, one for the last point unless keep="last"; one to choose targets. Times the draws."""
        a_run = 2 * self.gradients * self.steps + (self.keep == "worst")
        return self.draws * (self.restarts * max(1, self.targets) * a_run + (self.targets > 0))

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch. Without a generator a fresh one with seed 0 is used."""
        x, y = check_call(self.threat, model, x, y)
        attempt = Attempt.none(x)
        if len(x) == 0:
            return attempt
        mode = batch_statistics(model) if self.batch_statistics else nullcontext()
        with frozen(model), mode, smoothing(model, self.smoothing):
            search = _Search(self, model, x, y, attempt, Streams.of(generator, x))
            targets = search.targets()
            for _ in range(self.restarts):
                for target in targets:
                    search.restart(target)
        return attempt

    def __repr__(self) -> str:
        return shown(self, [f.name for f in fields(self)])


class _Search:
    """One run of an `Attack`: the worst points so far and the random numbers."""

    def __init__(
        self, attack: Attack, model: nn.Module, x: Images, y: Labels, attempt: Attempt, streams: Streams
    ) -> None:
        self.attack, self.model, self.x, self.y = attack, model, x, y
        self.attempt, self.streams = attempt, streams
        self.worst_loss = torch.full((len(x),), -torch.inf, device=x.device)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def targets(self) -> Sequence[Labels | None]:
        """The target classes of the runs to make; one None for an untargeted attack."""
        attack = self.attack
        if not attack.targets:
            return [None]
        verdict = judged(self.model, self.x, self.y, attack.draws)
        self.attempt.forwards += attack.draws
        if attack.keep == "worst":
            self.record(torch.arange(len(self.x), device=self.x.device), self.x, verdict.loss, verdict.stands)
        return rivals(verdict.logits, self.y)[: attack.targets]

    def restart(self, target: Labels | None) -> None:
        """One ascent with the samples that stand; `at` holds their positions in the batch."""
        attack = self.attack
        at = (~self.broken).nonzero()[:, 0]
        if not len(at):
            return

        def loss(logits: Logits) -> Tensor:
            return attack.loss(logits, *((self.y[at],) if target is None else (self.y[at], target[at])))

        with gradient_rule(self.model, attack.rule) as memory:
            free = attack.threat.free
            z = attack.start(free, self.x[at], self.streams[at])
            state = attack.step.init(z)
            for k in range(attack.steps):
                shown = self.allowed(z, at)
                found = differentiate(self.model, shown, self.y[at], loss, attack.draws, memory, self.attempt, at)
                if attack.mix is not None:
                    with gradient_rule(self.model, attack.mix) as other:
                        also = differentiate(self.model, shown, self.y[at], loss, attack.draws, other, self.attempt, at)
                    found = found.mean(also)
                found.replace_zeros(self.streams, at)
                value, gradient = found.loss, found.gradient
                if attack.keep == "worst":
                    # Losses towards different targets do not compare.
                    self.record(at, shown, value if target is None else found.margin, found.stands)
                    stand = found.stands.nonzero()[:, 0]
                    if not len(stand):
                        return
                    if len(stand) < len(at):
                        state = select(state, stand, len(at))
                        at, z, value, gradient = at[stand], z[stand], value[stand], gradient[stand]
                        memory.select(stand)
                now = Iterate(k, attack.steps, self.x[at], z, value, gradient, free)
                z, state = attack.step.update(state, now)
        z = self.allowed(z, at)
        if attack.keep == "last":
            self.attempt.images[at] = z
            return
        verdict = judged(self.model, z, self.y[at], attack.draws, loss if target is None else None)
        self.attempt.forwards[at] += attack.draws
        self.record(at, z, verdict.loss, verdict.stands)

    def allowed(self, z: Images, at: Tensor) -> Images:
        """The point that the model is shown for the point z of a step rule."""
        threat = self.attack.threat
        return z if threat.levels is None else threat.project(z, self.x[at])

    def record(self, at: Tensor, z: Images, value: Tensor, stands: Tensor) -> None:
        """Keep z where it is worse than the worst so far."""
        was, now = self.broken[at], ~stands
        worse = (now & ~was) | ((now == was) & (value > self.worst_loss[at]))
        self.attempt.images[at[worse]] = z.detach()[worse]
        self.worst_loss[at[worse]] = value[worse].float()
        self.broken[at] |= now
