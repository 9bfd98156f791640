"""The suites that this library recommends: quick for a first look, reliable to report, exhaustive for a final table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.corners import CornerSearch
from robustsnn.attacks.graded import GradedSearch
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.presets import Norm, ball
from robustsnn.attacks.rays import RayS
from robustsnn.attacks.square import Square
from robustsnn.attacks.start import Boundary, Uniform
from robustsnn.attacks.step import APGD, SAPGD, GradientStep, Momentum
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import Threat
from robustsnn.attacks.transfer import Source, Transfer
from robustsnn.ground.door import check_list
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
    ResetFlow,
    Sigmoid,
    Triangle,
)

Rule = GradientRule | None
"""None is the network's own rule."""

DEGREES = (0.84, 0.86, 0.87, 0.9, 0.92)
"""Of ASSG: the range over which its source searches for each network, which a suite has to take the union of."""

STRONG: tuple[Rule, ...] = (ASSG(), None, ResetFlow(ASSG(), "detached"), STBP(Arctan(2.0)), HART())
"""The rules that break most in few steps: the adaptive one by either reset, the own, a wide one and a rate-like one."""

KINDS: tuple[Rule, ...] = (
    None,
    *(STBP(Triangle(width)) for width in (0.25, 0.5, 2.0)),
    *(STBP(shape) for shape in (Arctan(2.0), Arctan(8.0), Sigmoid(4.0), Rectangle(4.0), Exponential(2.0), Identity())),
    *(ResetFlow(STBP(shape), "detached") for shape in (Triangle(), Arctan(4.0))),
    *(ResetFlow(rule, "attached") for rule in (STBP(Arctan(2.0)), ASSG())),
    RGA(),
    BPTR(),
    *(HART(Triangle(width)) for width in (0.5, 2.0)),
    PDSG(),
    *(ASSG(shape) for shape in (Triangle(), Gaussian())),
    *(ASSG(Arctan(), degree) for degree in (0.7, 0.94)),
)
"""Every kind of gradient rule there is, over widths that span what networks are trained with; some fall to one only."""

WIDE: tuple[Rule, ...] = (
    *KINDS,
    *(STBP(shape) for shape in (Triangle(1.0), Triangle(4.0), Arctan(1.0), Arctan(4.0), Rectangle(1.0))),
    *(ASSG(shape) for shape in (Sigmoid(), Rectangle())),
    ASSG(Arctan(), 0.8),
    HART(Triangle(1.0)),
    ResetFlow(PDSG(), "detached"),
)
"""`KINDS`, and what lies between."""


def _windows(norm: Norm, eps: float) -> list[float]:
    """Half-widths over which encoders that round are differenced, in pixel units; the best one differs by network.

    Shares of what a pixel may move. In L2 that is not known, and a few grey levels are taken.
    """
    widths = (eps / 2, eps / 4, eps) if norm == "Linf" else (8 / 255, 4 / 255, 16 / 255)
    return list(dict.fromkeys(min(1.0, width) for width in widths))


def _search(threat: Threat, queries: int) -> list[Attacker]:
    """What finds points without input gradients: flips between the ends of the ball; windows where it has no ends."""
    return [GradedSearch(threat, queries) if threat.norm == "Linf" else Square(threat, min(queries, 5000))]


def _adaptive(threat: Threat, degrees: Iterable[float], steps: int, restarts: int = 1) -> list[Attacker]:
    """SA-PGD under ASSG with a detached reset, as its source has both, once per degree."""
    rules = [ResetFlow(ASSG(Arctan(), degree), "detached") for degree in degrees]
    return [Attack(threat, SAPGD(threat.eps), Boundary(), rule, cross_entropy, steps, restarts) for rule in rules]


def _maker(threat: Threat) -> Callable[..., Attack]:
    """APGD by rule, loss and steps."""

    def auto(rule: Rule, loss: Any, steps: int, **more: Any) -> Attack:
        return Attack(threat, APGD(2 * threat.eps), Boundary(), rule, loss, steps, **more)

    return auto


def _named(name: str, *columns: tuple[str, Iterable[Attacker]]) -> Suite:
    return Suite(name, tuple((column, tuple(attacks)) for column, attacks in columns if attacks), survivors_only=True)


def quick(eps: float | str, *, norm: Norm = "Linf", sources: Sequence[Source] = ()) -> Suite:
    """A first look: less than a tenth of the cost of `reliable`, and most of what it breaks.

    Ten steps of APGD on the margin under four rules; a short search over corners; SA-PGD under ASSG with 100 steps, as
    published; a longer search from the worst points so far; and a few random corners, which need no model to be honest.
    """
    threat = ball(norm, eps)
    auto = _maker(threat)
    short = [auto(rule, margin, 10) for rule in (ASSG(), None, STBP(Arctan(2.0)), RGA())]
    smoothed = [auto(rule, margin, 20, smoothing=_windows(norm, threat.eps)[0]) for rule in (ASSG(),)]
    blind = [RandomSearch(threat, "corners", 20)]
    check_list("sources", sources, "Source(name, model)")
    moved = [Transfer(source, short[1]) for source in sources]
    long = _adaptive(threat, (0.87,), 100)
    searches = [*_search(threat, 300), *long, *(_search(threat, 1200) if norm == "Linf" else [])]
    return _named("quick", ("worst case", [*short, *smoothed, *searches, *blind, *moved]))


def reliable(eps: float | str, *, norm: Norm = "Linf", sources: Sequence[Source] = ()) -> Suite:
    """The union of what is known to break networks, what breaks most per pass first, each on the survivors.

    * first: ten steps of APGD on the margin under the rules of `STRONG`;
    * short search: 500 queries of the search over corners, from the worst points so far (Square in L2);
    * smoothed encoder, of networks that round pixels before the first layer: APGD by the slopes of the encoder's
      mean over windows of several widths, `encoders.Smoothed`;
    * rules: twenty steps of APGD under every rule of `KINDS`;
    * long runs: SA-PGD with 300 steps under ASSG with a detached reset, a start for each of `DEGREES`, and by the
      network's own flow; APGD with 100 steps on cross-entropy and DLR under the own rule and a wide one;
    * targets: APGD towards the three strongest rivals under two rules, and a minimum-norm attack;
    * search: 48,000 queries of the search over corners by the graded margin on images that come near, 12,000 on
      the others, and 2,000 by the margin alone;
    * black box: random points, Square with 1000 queries, RayS with 5000 where outputs are quantised, and transfer from
      the sources if any.
    """
    threat = ball(norm, eps)
    auto = _maker(threat)
    linf = norm == "Linf"
    long: list[Attacker] = _adaptive(threat, DEGREES, 300)
    long.append(Attack(threat, SAPGD(threat.eps), Boundary(), ASSG(), cross_entropy, 300))
    long += [auto(rule, loss, 100) for loss in (cross_entropy, dlr) for rule in (None, STBP(Arctan(2.0)))]
    long.append(Attack(threat, GradientStep(threat.eps / 20), Uniform(), None, cross_entropy, 50))
    targets: list[Attacker] = [auto(rule, targeted_margin, 50, targets=3) for rule in (ASSG(), None)]
    targets.append(MinimumNorm(threat, None, steps=100))
    restarts = [] if linf else [auto(rule, margin, 50, restarts=5) for rule in (ASSG(), None)]
    blind: list[Attacker] = [RandomSearch(threat, kind, 50) for kind in ("corners", "uniform")]
    blind += [Square(threat, 1000), RayS(threat)] if linf else []  # RayS: kept for quantised outputs, see `fit_to`
    moves = (Momentum(threat.eps / 10), SAPGD(threat.eps))
    return _named(
        "reliable",
        ("first", [auto(rule, margin, 10) for rule in STRONG]),
        ("short search", _search(threat, 500)),
        ("smoothed encoder", _smoothed(auto, norm, threat.eps, 50)),
        ("rules", [auto(rule, margin, 20) for rule in KINDS]),
        ("long runs", long),
        ("targets", targets),
        ("restarts", restarts),
        ("search", [GradedSearch(threat, 48_000, near=0.25), CornerSearch(threat, 2000)] if linf else []),
        ("black box", blind),
        ("transfer", _transfers(threat, sources, moves, 50)),
    )


def exhaustive(eps: float | str, *, norm: Norm = "Linf", sources: Sequence[Source] = ()) -> Suite:
    """`reliable` with about ten times its budget: for the last table of a paper, and to measure how deep that one goes.

    A hundred steps under every rule of `WIDE`; SA-PGD with 300 steps and five starts for each degree, each flow and
    three losses; nine targets; the search over corners with 200,000 queries, once more with a longer patience, and by
    the margin alone; Square with 20,000.
    """
    threat = ball(norm, eps)
    auto = _maker(threat)
    linf = norm == "Linf"
    first = reliable(eps, norm=norm).columns
    long: list[Attacker] = _adaptive(threat, DEGREES, 300, restarts=5)
    flows: tuple[Rule, ...] = (ASSG(), ResetFlow(ASSG(), "attached"), ResetFlow(STBP(Arctan(4.0)), "detached"), None)
    long += [
        Attack(threat, SAPGD(threat.eps), Boundary(), rule, loss, 300, 5)
        for loss in (cross_entropy, margin, dlr)
        for rule in (*flows, ResetFlow(ASSG(), "detached"))
        if (rule, loss) != (ResetFlow(ASSG(), "detached"), cross_entropy)
    ]
    long += [auto(rule, loss, 300, restarts=3) for loss in (cross_entropy, dlr, margin) for rule in STRONG]
    targets: list[Attacker] = [auto(rule, targeted_margin, 100, targets=9) for rule in STRONG]
    targets += [MinimumNorm(threat, rule, steps=200, targets=9) for rule in (ASSG(), None)]
    blind: list[Attacker] = [RandomSearch(threat, kind, 500) for kind in ("corners", "uniform")]
    blind += [Square(threat, 20_000)] + ([RayS(threat, 50_000)] if linf else [])
    searches: list[Attacker] = []
    if linf:
        searches = [
            GradedSearch(threat, 200_000),
            GradedSearch(threat, 50_000, patience=400),
            CornerSearch(threat, 50_000),
        ]
    moves = (Momentum(threat.eps / 10), SAPGD(threat.eps), GradientStep(threat.eps / 10))
    return _named(
        "exhaustive",
        *((f"reliable: {name}", attacks) for name, attacks in first),
        ("smoothed encoder, longer", _smoothed(auto, norm, threat.eps, 200)),
        ("rules", [auto(rule, margin, 100) for rule in WIDE]),
        ("long runs", long),
        ("targets", targets),
        ("search", searches),
        ("black box", blind),
        ("transfer", _transfers(threat, sources, moves, 200)),
    )


def _smoothed(auto: Callable[..., Attack], norm: Norm, eps: float, steps: int) -> list[Attack]:
    """APGD through encoders that round, by windows of several widths, two losses and two rules."""
    return [
        replace(auto(rule, loss, steps), smoothing=window)
        for window in _windows(norm, eps)
        for loss in (margin, cross_entropy)
        for rule in STRONG[:2]
    ]


def _transfers(threat: Threat, sources: Sequence[Source], moves: Sequence[Any], steps: int) -> list[Attacker]:
    """Attacks crafted on the sources, under their own rule and the adaptive one."""
    check_list("sources", sources, "Source(name, model)")
    return [
        Transfer(source, Attack(threat, step, Uniform(), rule, cross_entropy, steps))
        for source in sources
        for step in moves
        for rule in (None, ASSG())
    ]
