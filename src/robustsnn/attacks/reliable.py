"""The suites that this library recommends: quick for a first look, reliable for a figure to report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.presets import Norm, ball
from robustsnn.attacks.rays import RayS
from robustsnn.attacks.square import Square
from robustsnn.attacks.start import AtImage, Boundary, Uniform
from robustsnn.attacks.step import APGD, SAPGD, GradientStep, Momentum
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.transfer import Source, Transfer
from robustsnn.losses import cross_entropy, dlr, margin, targeted_margin
from robustsnn.neurons import (
    ASSG,
    BPTR,
    HART,
    PDSG,
    RGA,
    STBP,
    Arctan,
    Exponential,
    Gaussian,
    GradientRule,
    Identity,
    Rectangle,
    Sigmoid,
    Triangle,
)

WIDE: tuple[GradientRule | None, ...] = (
    None,
    *(STBP(Triangle(width)) for width in (1.0, 0.5, 2.0, 0.25, 4.0)),
    *(STBP(Arctan(sharpness)) for sharpness in (2.0, 1.0, 4.0, 8.0)),
    *(STBP(shape) for shape in (Sigmoid(4.0), Rectangle(1.0), Rectangle(4.0), Exponential(2.0), Identity())),
    RGA(),
    BPTR(),
    *(HART(Triangle(width)) for width in (1.0, 0.5, 2.0)),
    PDSG(),
    *(ASSG(shape) for shape in (Arctan(), Triangle(), Sigmoid(), Gaussian(), Rectangle())),
    *(ASSG(Arctan(), degree) for degree in (0.7, 0.8, 0.94)),
)
"""Every kind of gradient rule there is, and surrogates over widths that span what networks are trained with."""

STRONG: tuple[GradientRule | None, ...] = (ASSG(), None, STBP(Arctan(2.0)), HART())
"""The rules for long runs: the adaptive one, the network's own, a wide one and a rate-like one."""


def _windows(norm: Norm, eps: float) -> list[float]:
    """Half-widths over which encoders that round are differenced, in pixel units; the best one differs by network.

    Shares of what a pixel may move. In L2 that is not known, and a few grey levels are taken.
    """
    widths = (eps / 2, eps / 4, eps) if norm == "Linf" else (8 / 255, 4 / 255, 16 / 255)
    return list(dict.fromkeys(min(1.0, width) for width in widths))


def quick(eps: float | str, *, norm: Norm = "Linf", sources: Sequence[Source] = ()) -> Suite:
    """A first look: under a tenth of the cost of `reliable`, and most of what it breaks."""
    threat = ball(norm, eps)
    rules = (None, STBP(Arctan(2.0)), RGA(), ASSG())
    short = [Attack(threat, APGD(2 * threat.eps), Boundary(), rule, margin, 10) for rule in rules]
    attacks: list[Attacker] = [*short, Attack(threat, APGD(2 * threat.eps), Boundary(), ASSG(), cross_entropy, 30)]
    attacks.append(replace(short[-1], smoothing=_windows(norm, threat.eps)[0]))
    attacks.append(RandomSearch(threat, "corners", 20))
    attacks += [Transfer(source, a) for source in sources for a in short[:1]]
    return Suite("quick", (("worst case", tuple(attacks)),), survivors_only=True)


def reliable(eps: float | str, *, norm: Norm = "Linf", sources: Sequence[Source] = ()) -> Suite:
    """The union of what is known to break networks, cheapest and most successful first, each on the survivors.

    * first: ten steps of APGD on the margin under the rules of `STRONG`;
    * smoothed encoder, of networks that round pixels before the first layer: APGD by the slopes of the encoder's
      mean over windows of several widths, `encoders.Smoothed`;
    * rules: twenty steps of it under every rule of `WIDE`;
    * steps: APGD with 100 steps on cross-entropy and DLR, SA-PGD, momentum and plain PGD under `STRONG`;
    * targets: APGD towards each of nine rivals under three rules, and a minimum-norm attack;
    * restarts: five more of APGD under the adaptive rule and the network's own;
    * black box: random corners and noise, Square with 5000 queries, RayS with as many where outputs are quantised,
      and transfer from the sources if any.
    """
    threat = ball(norm, eps)
    apgd = APGD(2 * threat.eps)

    def auto(rule: GradientRule | None, loss: object, steps: int, **more: int) -> Attack:
        return Attack(threat, apgd, Boundary(), rule, loss, steps, **more)  # type: ignore[arg-type]

    first = [auto(rule, margin, 10) for rule in STRONG]
    rules = [auto(rule, margin, 20) for rule in WIDE]
    steps = [auto(rule, loss, 100) for loss in (cross_entropy, dlr) for rule in STRONG]
    steps += [Attack(threat, SAPGD(threat.eps), Boundary(), rule, cross_entropy, 100) for rule in STRONG]
    steps += [Attack(threat, Momentum(threat.eps / 10), AtImage(), rule, margin, 50) for rule in STRONG[:3]]
    steps += [Attack(threat, GradientStep(threat.eps / 4), Uniform(), rule, margin, 50, 2) for rule in STRONG[:3]]
    smoothed = [
        replace(auto(rule, loss, 50), smoothing=window)
        for window in _windows(norm, threat.eps)
        for loss in (margin, cross_entropy)
        for rule in STRONG[:2]
    ]
    targets: list[Attacker] = [auto(rule, targeted_margin, 50, targets=9) for rule in STRONG[:3]]
    targets += [MinimumNorm(threat, rule, steps=100, targets=3) for rule in STRONG[:2]]
    restarts = [auto(rule, margin, 50, restarts=5) for rule in STRONG[:2]]
    blind: list[Attacker] = [RandomSearch(threat, kind, 100) for kind in ("corners", "uniform")]
    blind.append(Square(threat))
    blind += [RayS(threat)] if norm == "Linf" else []  # kept for quantised outputs, see `fit_to`
    columns: list[tuple[str, tuple[Attacker, ...]]] = [
        ("first", tuple(first)),
        ("smoothed encoder", tuple(smoothed)),
        ("rules", tuple(rules)),
        ("steps and losses", tuple(steps)),
        ("targets", tuple(targets)),
        ("restarts", tuple(restarts)),
        ("black box", tuple(blind)),
    ]
    if sources:
        moves = (Momentum(threat.eps / 10), SAPGD(threat.eps))
        crafted = [
            Transfer(source, Attack(threat, step, Uniform(), rule, cross_entropy, 50))
            for source in sources
            for step in moves
            for rule in (None, ASSG())
        ]
        columns.append(("transfer", tuple(crafted)))
    return Suite("reliable", tuple(columns), survivors_only=True)
