"""Suites as others published them. Every builder takes eps, and sources where it has black-box columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.binary import Flips
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.presets import Norm, apgd, fgsm, pgd, rfgsm
from robustsnn.attacks.sparse import SparseFlips
from robustsnn.attacks.square import Square
from robustsnn.attacks.suites import Suite, black_box
from robustsnn.attacks.transfer import Source
from robustsnn.ground.door import check_kind, check_list
from robustsnn.ground.errors import UserError
from robustsnn.ground.units import fraction
from robustsnn.losses import targeted_dlr
from robustsnn.neurons import ASSG, PDSG, RGA, STBP, Arctan, GradientRule, Sigmoid, Triangle

PAPER_RULES: tuple[GradientRule, ...] = (
    STBP(Triangle(1.0)),
    STBP(Sigmoid(4.0)),
    STBP(Arctan(2.0)),
    RGA(),
)
"""The ensemble of the sparsity-regularisation paper, app. D: three surrogates and the rate gradient."""


def paper_sr(eps: float | str, *, sources: Sequence[Source] = (), iterations: tuple[int, ...] = (10, 30, 50)) -> Suite:
    """The columns of tables 1 and 2 of the sparsity-regularisation paper.

    FGSM, RFGSM (in one step; the paper does not say which form it used, see `rfgsm`), PGD with each number of
    iterations and APGD10, each the worst case over the four gradient rules of `PAPER_RULES`. PGD's step is 0.01
    at the paper's eps of 8/255 and scales with eps. With sources, the same columns once more as black box: crafted
    on each source under each rule (the rules are swapped on the source, where the gradient is taken).
    """
    check_list("sources", sources, "Source(name, model)")
    check_list("iterations", iterations, "numbers of steps")
    if not iterations:
        raise UserError("iterations=(): give at least one number of steps, such as (10, 30, 50)")
    eps = fraction(eps)
    alpha = 0.01 * eps / (8 / 255)
    rules = PAPER_RULES
    columns: list[tuple[str, tuple[Attacker, ...]]] = [
        ("FGSM", tuple(fgsm(eps, rule=rule) for rule in rules)),
        ("RFGSM", tuple(rfgsm(eps, rule=rule) for rule in rules)),
    ]
    columns += [(f"PGD{n}", tuple(pgd(eps, n, alpha=alpha, rule=rule) for rule in rules)) for n in iterations]
    columns.append(("APGD10", tuple(apgd(eps, 10, rule=rule) for rule in rules)))
    columns += black_box(columns, sources) if sources else []
    name = "paper-sr" if iterations == (10, 30, 50) else f"paper-sr-{max(iterations)}"
    return Suite(name, tuple(columns))


def paper_sr_10(eps: float | str, *, sources: Sequence[Source] = ()) -> Suite:
    """`paper_sr` with PGD10 as its longest PGD: a fifth of the cost."""
    return paper_sr(eps, sources=sources, iterations=(10,))


def paper_trail(eps: float | str, *, sources: Sequence[Source] = (), batch_statistics: bool = False) -> Suite:
    """The attacks of the gradient-sparsity-trail paper, section 4.2: FGSM, and PGD with 7 steps of 0.01 at 8/255.

    Both by the network's own gradient; the step scales with eps. In pixel space, as the paper writes;
    `.encoded()` perturbs the encoder's output, as its released code does.

    Args:
        batch_statistics: craft in train mode, as the released code does: batch norms use the statistics of the
            attacked batch, and no sample is left out once it is broken. Judged in eval mode all the same.
    """
    check_kind("batch_statistics", batch_statistics, bool, "True")
    if sources:
        raise UserError("suite paper-trail has no black-box columns; leave out the sources, or use paper-sr")
    eps = fraction(eps)
    attacks = (("FGSM", fgsm(eps)), ("PGD7", pgd(eps, 7, alpha=0.01 * eps / (8 / 255))))
    if batch_statistics:
        attacks = tuple((name, replace(a, batch_statistics=True, keep="last")) for name, a in attacks)
    name = "paper-trail-train-mode" if batch_statistics else "paper-trail"
    return Suite(name, tuple((column, (attack,)) for column, attack in attacks))


paper_trail_train_mode = partial(paper_trail, batch_statistics=True)


def autoattack(eps: float | str, *, norm: Norm = "Linf", sources: Sequence[Source] = ()) -> Suite:
    """The standard AutoAttack of Croce and Hein 2020, by the network's own gradient: each on the survivors alone.

    APGD on the cross-entropy and, towards nine rivals, on the targeted DLR (towards the margin below 4 classes),
    100 steps each; a minimum-norm attack towards nine rivals (FMN here, where the source has FAB); Square with
    5000 queries.
    """
    if sources:
        raise UserError("suite autoattack has no black-box columns; leave out the sources, or use reliable")
    ce = apgd(eps, 100, norm=norm)
    threat = ce.threat
    columns: tuple[tuple[str, tuple[Attacker, ...]], ...] = (
        ("APGD-CE", (ce,)),
        ("APGD-T", (Attack(threat, ce.step, ce.start, loss=targeted_dlr, steps=100, targets=9),)),
        ("FMN-T", (MinimumNorm(threat, steps=100, targets=9),)),
        ("Square", (Square(threat),)),
    )
    return Suite("autoattack", columns, survivors_only=True)


def flips(eps: float | str, *, sources: Sequence[Source] = ()) -> Suite:
    """For binary inputs such as event frames: at most eps entries flipped, under four gradient rules.

    Exchanges of flips, then the sparse dynamic attack of Lun et al. (CVPR 2025), with its rule PDSG among them.
    """
    if sources:
        raise UserError("suite flips has no black-box columns; leave out the sources")
    threat = Flips(int(fraction(eps)) if fraction(eps) == int(fraction(eps)) else eps)  # type: ignore[arg-type]
    rules = (PDSG(), None, STBP(Arctan(2.0)), ASSG())
    attacks = tuple(SparseFlips(threat, rule) for rule in rules)
    return Suite("flips", (("flips", attacks),), survivors_only=True)
