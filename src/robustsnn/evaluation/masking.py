"""Checks for gradient masking: is the robustness that was measured real, or did the attack fail?

All look at a few images that the model classifies correctly (the probe), with gradients of the rules and losses
of the suite that was run. Conditions and their meaning are in `flags`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.square import Square
from robustsnn.attacks.start import AtImage, Uniform
from robustsnn.attacks.step import APGD, GradientStep
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.suites import Suite
from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.judge import Judge, repeats
from robustsnn.losses import TARGETED, margin
from robustsnn.modes import evaluating, frozen
from robustsnn.neurons import ASSG, RGA, STBP, Arctan, GradientRule, gradient_rule, neuron_layers
from robustsnn.outcome import Outcomes, breaks
from robustsnn.seeds import derived, seeded

PROBE = 64
"""How many images are probed."""


def has_gradient(model: nn.Module, x: Tensor) -> bool:
    """Whether logits in eval mode are connected to the input."""
    with frozen(model), torch.enable_grad():
        leaf = x[:1].detach().clone().requires_grad_()
        logits = model(leaf)
        return logits.requires_grad and torch.autograd.grad(logits.sum(), leaf, allow_unused=True)[0] is not None


@dataclass
class Probe:
    """The images that are probed, and the attacks of the suite in a smaller form.

    Args:
        model: as it was attacked (for the encoded space, from behind the encoder).
        x, y: images that it classifies correctly, at most `PROBE`.
        standing: `[B]` bool, which of them the suite left standing.
        suite: what was run, fitted to the model.
        judge: who says what is broken.
        seed: of what is drawn.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    standing: np.ndarray
    suite: Suite
    judge: Judge
    seed: int

    @cached_property
    def gradient_attacks(self) -> list[Attack]:
        """The suite's gradient attacks."""
        return [attack for _, attack in self.suite.members() if isinstance(attack, Attack)]

    @cached_property
    def rules(self) -> list[GradientRule | None]:
        """The suite's gradient rules, each once."""
        return list({repr(attack.rule): attack.rule for attack in self.gradient_attacks}.values())

    @cached_property
    def spiking(self) -> bool:
        """Whether rules can be swapped."""
        return bool(neuron_layers(self.model))

    def run(self, attack: Any, at: np.ndarray | None = None) -> np.ndarray:
        """Which of the probed images (of those at `at`) an attack breaks, by a fresh pass."""
        which = np.arange(len(self.x)) if at is None else at
        broken = np.zeros(len(self.x), bool)
        if len(which):
            x, y = self.x[which], self.y[which]
            name = repr(attack)
            streams = Streams([derived(self.seed, "probe", name, int(i)) for i in which], x.device)
            with seeded(self.seed, "probe", name):
                found = attack.run(self.model, x, y, generator=streams).images
                broken[which] = ~(self.judge(self.model, found, y)[0] < 0).cpu().numpy()
        return broken

    def gradient(self, rule: GradientRule | None, loss: Any = margin) -> Tensor:
        """Input gradient of a loss under a rule, shape of x."""
        with frozen(self.model), gradient_rule(self.model, rule), torch.enable_grad():
            leaf = self.x.detach().clone().requires_grad_()
            return torch.autograd.grad(loss(self.model(leaf), self.y).sum(), leaf)[0]

    @torch.no_grad()
    def margins(self, z: Tensor) -> Tensor:
        """Margins at z, `[B]`."""
        with evaluating(self.model):
            return margin(self.model(z), self.y)

    def pgd(self, rule: GradientRule | None, steps: int, eps: float | None = None, start: bool = True) -> Attack:
        """PGD on the margin inside the suite's threat, or one of another radius."""
        threat = self.suite.threat
        if eps is not None:
            threat = replace(threat, eps=max(1, int(eps)) if threat.norm == "L0" else eps)  # type: ignore[type-var]
        step = GradientStep(threat.eps if steps == 1 else 2.5 * threat.eps / steps)
        draws = max(attack.draws for attack in self.gradient_attacks)
        return Attack(threat, step, Uniform() if start else AtImage(), rule, margin, steps, draws=draws)


def checks(probe: Probe, found: Outcomes, members: list[tuple[str, Any]]) -> list[Check]:
    """All checks that apply, in the order of `FLAGS`. `found` and `members` are those of the suite."""
    made = [*_answers(probe, found), *_gradients(probe, found), *_attacks(probe, found, members)]
    order = list(FLAGS)
    return sorted(made, key=lambda check: order.index(check.flag.name))


def rule_sets(probe: Probe) -> dict[str, Any] | None:
    """Which gradient rule breaks which probed image, by APGD on the margin in 10 steps; None for fewer than two."""
    rules = [rule for rule in probe.rules if rule is not None][:8]
    if len(rules) < 2:
        return None
    eps = probe.suite.threat.eps
    sets = {rule.label: probe.run(replace(probe.pgd(rule, 10), step=APGD(2 * eps))) for rule in rules}
    return breaks(sets, f"gradient rules, APGD on the margin in 10 steps, {len(probe.x)} images")


def _share(mask: Any) -> float:
    return float(np.mean(np.asarray(mask, dtype=float))) if len(mask) else 0.0


def _many(count: int, n: int, share: float) -> bool:
    """More than a share of n, and at least 2."""
    return count >= 2 and count > share * n


def _answers(probe: Probe, found: Outcomes) -> list[Check]:
    """What forward passes alone tell."""
    model, x = probe.model, probe.x
    same, any_seed = repeats(model, x)
    with torch.no_grad(), evaluating(model):
        logits = model(x)
        half = len(x) // 2
        # Same shape and position, other neighbours: rounding is the same, so any difference is coupling.
        neighbours = torch.cat([x[:half], (x[half:].flip(0) * 0.5).roll(1, -1)])
        alone = model(neighbours)[:half]
    lists = found.clean_margin
    nan = int(np.isnan(lists).sum())
    tied = int((lists == 0).sum())
    if same and any_seed:
        moved = (alone - logits[:half]).abs().flatten(1).amax(1) > 1e-5 * (1 + logits[:half].abs().flatten(1).amax(1))
        coupled = int(moved.sum())
    else:
        coupled = 0  # cannot be told apart from the randomness
    sums = logits.float().sum(1)
    probabilities = bool(((logits >= 0) & (logits <= 1)).all()) and bool(((sums - 1).abs() < 1e-4).all())
    n = len(lists)
    return [
        Check(FLAGS["nan-logits"], nan > 0, f"{nan} of {n} clean images get a NaN logit", nan / n),
        Check(FLAGS["ties"], tied > 0.01 * n, f"{tied} of {n} images have two equal largest logits", tied / n),
        Check(FLAGS["state"], not same, f"logits {'repeat' if same else 'do not repeat'} under equal random seeds"),
        Check(
            FLAGS["random"],
            same and not any_seed,
            f"logits {'are the same' if any_seed else 'differ'} under different random seeds",
        ),
        Check(
            FLAGS["coupled"],
            coupled > 0,
            f"{coupled} of {half} images change their logits with their neighbours in the batch",
            coupled / half if half else 0.0,
        ),
        Check(
            FLAGS["probabilities"],
            probabilities,
            "the outputs are probabilities" if probabilities else "the outputs are no probabilities",
        ),
    ]


def _gradients(probe: Probe, found: Outcomes) -> list[Check]:
    """What gradients at the clean images tell."""
    connected = has_gradient(probe.model, probe.x)
    made = [
        Check(
            FLAGS["no-gradient"],
            not connected,
            "the logits are connected to the input" if connected else "the logits are not connected to the input",
        )
    ]
    if not connected or not probe.gradient_attacks:
        return made
    pairs = {
        (repr(attack.rule), repr(attack.loss)): (attack.rule, margin if attack.loss in TARGETED else attack.loss)
        for attack in probe.gradient_attacks
    }
    n = len(probe.x)
    largest, broken_numbers = (
        torch.zeros(n, device=probe.x.device),
        torch.zeros(n, dtype=torch.bool, device=probe.x.device),
    )
    for rule, loss in pairs.values():
        gradient = probe.gradient(rule, loss).flatten(1)
        finite = gradient.isfinite()
        broken_numbers |= ~finite.all(1)
        largest = torch.maximum(largest, torch.where(finite, gradient, 0).abs().amax(1).float())
    zero, tiny = int((largest == 0).sum()), int(((largest > 0) & (largest < 1e-12)).sum())
    nan = int(broken_numbers.sum()) + int(found.nan_gradient.any(0).sum())
    of = f"of {n} images, under {len(pairs)} pairs of rule and loss"
    made += [
        Check(FLAGS["zero-gradient"], zero > 0.05 * n, f"{zero} {of}, have a gradient of exactly zero", zero / n),
        Check(
            FLAGS["tiny-gradient"], zero + tiny > 0.05 * n and tiny > 0, f"{tiny} {of}, have none above 1e-12", tiny / n
        ),
        Check(FLAGS["nan-gradient"], nan > 0, f"{nan} images met a gradient with NaN or infinity", nan / n),
    ]
    made += [_direction(probe), *_agreement(probe)]
    if probe.spiking:
        single = len(probe.rules) < 2
        names = [rule.label if rule is not None else "own" for rule in probe.rules]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        rules = f"{len(names)} gradient rule{'s' if len(names) > 1 else ''} ({shown})"
        made.append(Check(FLAGS["single-surrogate"], single, rules, float(len(names))))
    return made


def _direction(probe: Probe) -> Check:
    """Central differences of the margin along the signs of the gradient, at radii up to eps."""
    threat, best = probe.suite.threat, 0.0
    for rule in probe.rules:
        gradient = probe.gradient(rule).nan_to_num()
        score = torch.zeros(len(probe.x), device=probe.x.device)
        for part in (0.25, 0.5, 1.0):
            step = threat.steepest(gradient, part * threat.eps)
            rise = probe.margins((probe.x + step).clamp(threat.low, threat.high)) - probe.margins(
                (probe.x - step).clamp(threat.low, threat.high)
            )
            score += rise.sign()
        # A network of spikes is constant on small steps; what does not move at all says nothing either way.
        agree = float(((score > 0).float() + 0.5 * (score == 0).float()).mean())
        best = max(best, agree)
    return Check(
        FLAGS["gradient-mismatch"],
        best < 0.65,
        f"along the best rule's gradient the margin rises for {100 * best:.0f} % of the images",
        best,
    )


def _agreement(probe: Probe) -> list[Check]:
    """Cosine and signs of the own gradient against reference rules."""
    if not probe.spiking:
        return []
    own = probe.gradient(None).nan_to_num().flatten(1).double()
    cosines, signs, norms = [], [], []
    references: tuple[GradientRule, ...] = (STBP(Arctan(2.0)), RGA(), ASSG())
    for rule in references:
        other = probe.gradient(rule).nan_to_num().flatten(1).double()
        cosines.append(float(torch.nn.functional.cosine_similarity(own, other, dim=1, eps=1e-300).mean()))
        signs.append(float((own.sign() == other.sign()).double().mean()))
        norms.append(float(other.norm(dim=1).median()))
    told = ", ".join(
        f"{rule.label} {cosine:.2f} ({100 * sign:.0f} % of signs, norm {norm:.2g})"
        for rule, cosine, sign, norm in zip(references, cosines, signs, norms, strict=True)
    )
    text = f"cosine of the own gradient (norm {float(own.norm(dim=1).median()):.2g}) with {told}"
    return [Check(FLAGS["rules-disagree"], max(cosines) < 0.1, text, max(cosines))]


def _attacks(probe: Probe, found: Outcomes, members: list[tuple[str, Any]]) -> list[Check]:
    """What small attacks on the probe tell."""
    model, n, eps = probe.model, len(probe.x), probe.suite.threat.eps
    made = [_black_box(probe, found, members)]
    if not probe.gradient_attacks or not has_gradient(model, probe.x):
        return made
    rules = probe.rules
    # The same gradient for both: the suite's first rule.
    one = int(probe.run(probe.pgd(rules[0], 1, start=False)).sum())
    many = int(probe.run(probe.pgd(rules[0], 20, start=False)).sum())
    text = f"one step breaks {one} of {n}, twenty steps {many}"
    made.append(Check(FLAGS["one-step-beats-iterative"], _many(one - many, n, 0.03), text, (one - many) / n))
    threat, size = probe.suite.threat, float(probe.x[0].numel())
    largest = {"L2": size**0.5 * (threat.high - threat.low), "L0": size}.get(threat.norm, threat.high - threat.low)
    radii = [radius for radius in (eps / 2, eps, 2 * eps) if radius <= largest]
    fallen = [int(probe.run(probe.pgd(rules[0], 10, radius)).sum()) for radius in radii]
    drop = max((smaller - larger for smaller, larger in pairwise(fallen)), default=0)
    counts = ", ".join(f"{count} at {radius / eps:g} eps" for radius, count in zip(radii, fallen, strict=True))
    text = f"broken of {n}: {counts}"
    made.append(Check(FLAGS["loss-not-increasing"], _many(drop, n, 0.03), text, drop / n))
    broken = np.zeros(n, bool)
    for rule in rules[:8]:
        at = np.flatnonzero(~broken)
        broken |= probe.run(probe.pgd(rule, 30, largest), at)
    stands = int((~broken).sum())
    made.append(
        Check(
            FLAGS["unbounded-attack-fails"],
            stands > 0.05 * n,
            f"{stands} of {n} stand without a limit on eps",
            stands / n,
        )
    )
    made.append(_convergence(probe))
    return made


def _convergence(probe: Probe) -> Check:
    """The suite's longest gradient attacks with twice the steps, on what the suite left standing."""
    n, at = len(probe.x), np.flatnonzero(probe.standing)
    longest = max(attack.steps for attack in probe.gradient_attacks)
    fell = np.zeros(n, bool)
    for attack in [a for a in probe.gradient_attacks if a.steps == longest][:4]:
        longer = replace(attack, steps=2 * longest)
        fell |= probe.run(longer, np.flatnonzero(probe.standing & ~fell))
    more = int(fell.sum())
    text = f"{2 * longest} steps break {more} of the {len(at)} probed images that stood after {longest}"
    return Check(FLAGS["not-converged"], _many(more, n, 0.02), text, more / n)


def _black_box(probe: Probe, found: Outcomes, members: list[tuple[str, Any]]) -> Check:
    """Images that only attacks without gradients broke: of the suite, and a small search on the probe."""
    black = [row for row, (_, attack) in enumerate(members) if attack.black_box]
    white = [row for row in range(len(members)) if row not in black]
    n = len(found.correct)
    if black:
        only = int((found.broken[black].any(0) & ~found.broken[white].any(0)).sum()) if white else 0
        text = f"{only} of {n} images are broken by black-box attacks of the suite alone"
        return Check(FLAGS["black-box-beats-white-box"], _many(only, n, 0.02), text, only / n)
    threat = probe.suite.threat
    at = np.flatnonzero(probe.standing)
    fell = probe.run(RandomSearch(threat, "uniform", 50), at)
    if threat.norm in ("Linf", "L2"):
        fell |= probe.run(Square(threat, 300), np.flatnonzero(probe.standing & ~fell))
    only, n = int(fell.sum()), len(probe.x)
    text = f"a short random search and Square break {only} of {n} probed images that the suite left standing"
    return Check(FLAGS["black-box-beats-white-box"], _many(only, n, 0.02), text, only / n)
