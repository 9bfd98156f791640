"""Checks for gradient masking: is the robustness that was measured real, or did the attack fail?

All look at a few images that the model classifies correctly (the probe), with gradients of the rules and losses
of the suite that was run. Conditions and their meaning are in `flags`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.binary import Flips
from robustsnn.attacks.corners import CornerSearch
from robustsnn.attacks.graded import GradedSearch
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.square import Square
from robustsnn.attacks.start import Boundary
from robustsnn.attacks.step import APGD, SAPGD
from robustsnn.evaluation.consistency import answers, consistency, lasting
from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.judge import repeats
from robustsnn.evaluation.obedience import obedience
from robustsnn.evaluation.points import corner
from robustsnn.evaluation.probe import Probe
from robustsnn.evaluation.relation import relation
from robustsnn.evaluation.resolution import coarse, erratic, stuck
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.widest import wide
from robustsnn.interop import unreached
from robustsnn.losses import cross_entropy, margin
from robustsnn.neurons import ASSG, RGA, STBP, Arctan, GradientRule, ResetFlow
from robustsnn.records.outcome import Outcomes, breaks

Checking: TypeAlias = Callable[[Probe, Outcomes], Check | Sequence[Check]]
"""A check of somebody's own: of the probe, and of what the suite found. Each result has a `flags.Flag`."""


def checks(probe: Probe, found: Outcomes, more: Sequence[Checking] = ()) -> list[Check]:
    """All checks that apply, in the order of `FLAGS`, and `more` behind them. `found` are those of the suite.

    A probe may be empty, if no image is classified correctly; only the checks of clean logits are then left.
    """
    made = _answers(found)
    if len(probe.x):
        same, any_seed = repeats(probe.model, probe.x)
        first = answers(probe)
        made += [*_repeats(probe, same, any_seed), *_gradients(probe, found)]
        if same and any_seed:  # otherwise what follows cannot be told apart from chance
            made += [_coupling(probe), *consistency(probe)]
            if not isinstance(probe.suite.threat, Flips):
                made.append(erratic(probe))
        made += _attacks(probe)
        made.append(lasting(probe, found, first, same))
        for check in more:
            said = check(probe, found)
            added = [said] if isinstance(said, Check) else list(said)
            if not all(isinstance(one, Check) for one in added):
                raise UserError(f"flag {check!r:.80} gave {said!r:.80}; needed is a robustsnn.evaluation.flags.Check")
            made += added
    order = {name: number for number, name in enumerate(FLAGS)}
    return sorted(made, key=lambda check: order.get(check.flag.name, len(order)))


def rule_sets(probe: Probe) -> dict[str, Any] | None:
    """Which gradient rule breaks which probed image, by APGD on the margin in 10 steps; None for fewer than two.

    Of each kind of rule the suite's first is taken, at most eight in all.
    """
    kinds: dict[str, GradientRule] = {}
    for rule in probe.rules:
        if rule is not None:
            kinds.setdefault(rule.label.split("-")[0], rule)
    rules = list(kinds.values())[:8]
    if len(rules) < 2 or probe.suite.threat.norm == "L0":
        return None
    eps = probe.suite.threat.eps
    sets = {rule.label: probe.run(replace(probe.pgd(rule, 10), step=APGD(2 * eps))) for rule in rules}
    return breaks(sets, f"gradient rules, APGD on the margin in 10 steps, {len(probe.x)} images")


def _many(count: float, n: int, share: float) -> bool:
    """More than a share of n, and at least 2."""
    return count >= 2 and count > share * n


def _answers(found: Outcomes) -> list[Check]:
    """What the logits of all clean images tell."""
    n = len(found.clean_margin)
    nan, tied = int(np.isnan(found.clean_margin).sum()), int((found.clean_margin == 0).sum())
    return [
        Check(FLAGS["nan-logits"], nan > 0, f"{nan} of {n} clean images get a NaN logit", nan / n),
        Check(FLAGS["ties"], tied > 0.01 * n, f"{tied} of {n} images have two equal largest logits", tied / n),
    ]


def _repeats(probe: Probe, same: bool, any_seed: bool) -> list[Check]:
    """What forward passes of the probe tell; `same` and `any_seed` are what `repeats` found."""
    logits = answers(probe)
    made = [
        Check(
            FLAGS["random"],
            same and not any_seed,
            f"logits {'are the same' if any_seed else 'differ'} under different random seeds",
        ),
        coarse(probe),
    ]
    sums = logits.float().sum(1)
    probabilities = bool(((logits >= 0) & (logits <= 1)).all()) and bool(((sums - 1).abs() < 1e-4).all())
    text = f"the outputs are {'' if probabilities else 'no '}probabilities"
    return [*made, Check(FLAGS["probabilities"], probabilities, text)]


@torch.no_grad()
def _coupling(probe: Probe) -> Check:
    """Logits beside corners of the threat against logits beside black and white images, and those of the corners too.

    A search asks for many neighbours of an image at once, and a model may answer all of them alike.
    Shape and position are the same in both, and so is rounding: any difference is coupling.
    """
    model, x, threat = probe.model, probe.x, probe.suite.threat
    extremes, n = torch.full_like(x, threat.low), len(x)
    extremes[::2] = threat.high
    near = corner(probe)
    moved = torch.zeros(n, dtype=torch.bool, device=x.device)
    with evaluating(model):
        for asked, beside in ((x, near), (near, x)):
            in_front = [model(torch.cat([asked, rest]))[:n].float().nan_to_num() for rest in (beside, extremes)]
            behind = [model(torch.cat([rest, asked]))[n:].float().nan_to_num() for rest in (beside, extremes)]
            for usual, other in (in_front, behind):
                moved |= (usual - other).abs().amax(1) > 1e-5 * (1 + usual.abs().amax(1))
    count = int(moved.sum())
    text = f"{count} of {n} images change their logits with their neighbours in the batch"
    return Check(FLAGS["coupled"], count > 0, text, count / n)


def _gradients(probe: Probe, found: Outcomes) -> list[Check]:
    """What single gradients tell."""
    text = f"the logits are {'' if probe.connected else 'not '}connected to the input"
    made = [Check(FLAGS["no-gradient"], not probe.connected, text), _foreign(probe)]
    if not probe.gradient_attacks:
        return made
    pairs: dict[tuple[str, str], tuple[GradientRule | None, Any]] = {}
    for attack in probe.gradient_attacks:
        rule, loss = getattr(attack, "rule", None), getattr(attack, "loss", margin)
        pairs[repr(rule), repr(loss)] = rule, margin if getattr(attack, "targets", 0) else loss
    n = len(probe.x)
    largest = torch.zeros(n, device=probe.x.device)
    odd = torch.zeros(n, dtype=torch.bool, device=probe.x.device)
    looked = 0
    for rule, loss in pairs.values():
        if looked >= 4 and bool((largest >= 1e-12).all()):
            break  # what the attacks themselves met is counted too
        looked += 1
        gradient = probe.gradient(rule, loss).flatten(1)
        finite = gradient.isfinite()
        odd |= ~finite.all(1)
        largest = torch.maximum(largest, torch.where(finite, gradient, 0).abs().amax(1).float())
    zero, tiny = int((largest == 0).sum()), int(((largest > 0) & (largest < 1e-12)).sum())
    of = f"of {n} images, under {looked} pairs of rule and loss"
    nan, met, tried = int(odd.sum()), int(found.nan_gradient.any(0).sum()), int(found.attacked.any(0).sum())
    text = f"{nan} of {n} probed and {met} of {tried} attacked images met a gradient with NaN or infinity"
    made += [
        Check(FLAGS["zero-gradient"], zero > 0.05 * n, f"{zero} {of}, have a gradient of exactly zero", zero / n),
        Check(
            FLAGS["tiny-gradient"], zero + tiny > 0.05 * n and tiny > 0, f"{tiny} {of}, have none above 1e-12", tiny / n
        ),
        Check(FLAGS["nan-gradient"], nan + met > 0, text, max(nan / n, met / max(1, tried))),
    ]
    made += [_direction(probe), *_agreement(probe)]
    if probe.judge.votes == 1 and not isinstance(probe.suite.threat, Flips):  # binary inputs cannot be differenced
        made += relation(probe)
    made += stuck(probe)
    if probe.spiking:
        made += obedience(probe)
        single = len(probe.rules) < 2
        names = [rule.label if rule is not None else "own" for rule in probe.rules]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        rules = f"{len(names)} gradient rule{'s' if len(names) > 1 else ''} ({shown})"
        made.append(Check(FLAGS["single-surrogate"], single, rules, float(len(names))))
    return made


def _foreign(probe: Probe) -> Check:
    """Neurons of other frameworks that rules do not reach."""
    names = unreached(probe.model)
    listed = "; ".join(f"{name} ({why})" for name, why in list(names.items())[:4])
    left = f"; {probe.left_out} attacks of the suite are left out" if probe.left_out else ""
    text = f"rules do not reach {len(names)} layers of foreign neurons{': ' if names else ''}{listed}{left}"
    return Check(FLAGS["foreign-gradient"], bool(names), text, float(len(names)))


def _direction(probe: Probe) -> Check:
    """Central differences of the margin along the signs of the gradient, at radii up to eps.

    A network of spikes is constant on small steps. Images that do not move say nothing and are left out.
    """
    threat, n = probe.suite.threat, len(probe.x)
    best, wrong, moved = 0.0, 0, 0
    for rule in probe.rules:
        if best > 0.9:
            break
        gradient = probe.gradient(rule).nan_to_num()
        score = torch.zeros(n, device=probe.x.device)
        for part in (0.25, 0.5, 1.0):
            step = threat.steepest(gradient, part * threat.eps)
            rise = probe.margins((probe.x + step).clamp(threat.low, threat.high)) - probe.margins(
                (probe.x - step).clamp(threat.low, threat.high)
            )
            score += rise.sign()
        up, down = int((score > 0).sum()), int((score < 0).sum())
        if up + down and up / (up + down) >= best:
            best, wrong, moved = up / (up + down), down, up + down
    text = f"along a rule's gradient the margin rises for {100 * best:.0f} % of the {moved} images of {n} that move"
    return Check(FLAGS["gradient-mismatch"], 8 * moved >= n and _many(wrong, moved, 0.35), text, best)


def _agreement(probe: Probe) -> list[Check]:
    """Cosine and signs of the own gradient against reference rules."""
    if not probe.spiking:
        return []
    own = wide(probe.gradient(None).nan_to_num().flatten(1))
    tiny = torch.finfo(own.dtype).tiny
    cosines, signs, norms = [], [], []
    references: tuple[GradientRule, ...] = (STBP(Arctan(2.0)), RGA(), ASSG())
    for rule in references:
        other = wide(probe.gradient(rule).nan_to_num().flatten(1))
        cosines.append(float(torch.nn.functional.cosine_similarity(own, other, dim=1, eps=tiny).mean()))
        signs.append(float(wide(own.sign() == other.sign()).mean()))
        norms.append(float(other.norm(dim=1).median()))
    told = ", ".join(
        f"{rule.label} {cosine:.2f} ({100 * sign:.0f} % of signs, norm {norm:.2g})"
        for rule, cosine, sign, norm in zip(references, cosines, signs, norms, strict=True)
    )
    text = f"cosine of the own gradient (norm {float(own.norm(dim=1).median()):.2g}) with {told}"
    return [Check(FLAGS["rules-disagree"], max(cosines) < 0.1, text, max(cosines))]


def _attacks(probe: Probe) -> list[Check]:
    """What small attacks on the probe tell."""
    if not probe.gradient_attacks:
        return []
    made = [_black_box(probe)]
    if probe.suite.threat.norm != "L0":  # there are no larger and smaller steps between 0 and 1
        made.append(_steps(probe))
    return [*made, *_radii(probe), *_convergence(probe)]


def _steps(probe: Probe) -> Check:
    """One step and twenty, by the same gradient: that of the suite's first rule."""
    n = len(probe.x)
    one, many = (int(probe.run(probe.pgd(probe.rules[0], steps, start=False)).sum()) for steps in (1, 20))
    text = f"one step breaks {one} of {n}, twenty steps {many}"
    return Check(FLAGS["one-step-beats-iterative"], _many(one - many, n, 0.03), text, (one - many) / n)


def _radii(probe: Probe) -> list[Check]:
    """Growing radii, and the largest there is."""
    threat, rules, n = probe.suite.threat, probe.rules, len(probe.x)
    size, span = float(probe.x[0].numel()), threat.high - threat.low
    largest = {"L2": size**0.5 * span, "L0": size}.get(threat.norm, span)
    radii = [radius for radius in (threat.eps / 2, threat.eps, 2 * threat.eps) if 0 < radius <= largest]
    fallen = [int(probe.run(probe.pgd(rules[0], 10, radius)).sum()) for radius in radii]
    drop = max((smaller - larger for smaller, larger in pairwise(fallen)), default=0)
    counts = ", ".join(f"{count} at {r / threat.eps:g} eps" for r, count in zip(radii, fallen, strict=True))
    broken = np.zeros(n, bool)
    for rule in rules[:8]:
        broken |= probe.run(probe.pgd(rule, 30, largest), np.flatnonzero(~broken))
    stands = int((~broken).sum())
    text = f"{stands} of {n} stand without a limit on eps"
    return [
        Check(FLAGS["loss-not-increasing"], _many(drop, n, 0.03), f"broken of {n}: {counts}", drop / n),
        Check(FLAGS["unbounded-attack-fails"], stands > 0.05 * n, text, stands / n),
    ]


def _convergence(probe: Probe) -> list[Check]:
    """Longer runs, new starts and a search on what the suite left standing, until the flag is raised or none is left.

    First two of the suite's longest gradient attacks with twice their steps; then SA-PGD from three starts under the
    adaptive rule with a detached reset and under the own one; then a search over corners that begins at random. Steps
    are three times the suite's largest number, at most 300, and queries ten times that, so that the check of a short
    suite is short.
    """
    counted = [attack for attack in probe.gradient_attacks if isinstance(attack, Attack | MinimumNorm)]
    if not counted:
        return []
    threat, draws, left = probe.suite.threat, probe.draws, probe.survivors or probe
    longest = max(attack.steps for attack in counted)
    longer: list[Any] = [replace(a, steps=2 * longest, restarts=1) for a in counted if a.steps == longest][:2]
    steps, rules = min(300, 3 * longest), (ResetFlow(ASSG(), "detached"), None) if probe.spiking else (None,)
    step = SAPGD(threat.eps) if threat.norm == "Linf" else APGD(2 * threat.eps)
    longer += [Attack(threat, step, Boundary(), rule, cross_entropy, steps, 3, draws=draws) for rule in rules]
    if threat.norm == "Linf":
        longer.append(GradedSearch(threat, 10 * steps, draws=draws))
    n, fell = int(left.standing.sum()), np.zeros(len(left.x), bool)
    for attack in longer:
        if not _many(int(fell.sum()), n, 0.02):
            fell |= left.run(attack, np.flatnonzero(left.standing & ~fell))
    more = int(fell.sum())
    longer_runs = f"up to {2 * longest} steps, {steps} from 3 starts and a search of {10 * steps} queries"
    text = f"{longer_runs} break {more} of {n} images that the suite left standing"
    return [Check(FLAGS["not-converged"], _many(more, n, 0.02), text, more / max(1, n))]


def _black_box(probe: Probe) -> Check:
    """A search that begins anywhere against gradient attacks that begin anywhere, both on all probed images.

    The search has 300 queries, the gradient attacks 50 steps of APGD for each of at most four rules. Where gradients
    point the way they break more; spiking networks leave a few images to the search alone, and the count allows it.
    """
    threat, n, flag = probe.suite.threat, len(probe.x), FLAGS["black-box-beats-white-box"]
    blind = probe.run(RandomSearch(threat, "uniform", 50, draws=probe.draws))
    if threat.norm in ("Linf", "L2") and probe.x.ndim >= 4:
        small = CornerSearch if threat.norm == "Linf" else Square
        blind |= probe.run(small(threat, 300, draws=probe.draws), np.flatnonzero(~blind))
    white = np.zeros(n, bool)
    for rule in probe.rules[:4]:
        longer = probe.pgd(rule, 50)
        if isinstance(longer, Attack):
            longer = replace(longer, step=APGD(2 * threat.eps))
        white |= probe.run(longer, np.flatnonzero(~white))
    more = int(blind.sum()) - int(white.sum())
    text = f"of {n} images a search of 300 queries breaks {int(blind.sum())}, and 50 steps of APGD {int(white.sum())}"
    return Check(flag, more >= 3 and more > 0.05 * n, text, more / n)
