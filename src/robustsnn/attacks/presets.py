"""The attacks of the literature, each a line over the one loop. All need an explicit eps."""

from __future__ import annotations

from typing import Literal

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.start import AtImage, Boundary, SignNoise, Uniform
from robustsnn.attacks.step import APGD, SAPGD, GradientStep, Momentum
from robustsnn.attacks.threat import L2, Linf, Threat
from robustsnn.ground.door import check_among, check_whole
from robustsnn.ground.types import Loss
from robustsnn.ground.units import fraction
from robustsnn.losses import cross_entropy
from robustsnn.neurons import HART, STBP, GradientRule, Triangle

Norm = Literal["Linf", "L2"]


def ball(norm: Norm, eps: float | str) -> Threat:
    """The threat of that norm and radius on pixels in [0, 1]; eps as a float or "8/255"."""
    check_among("norm", norm, ("Linf", "L2"))
    return (Linf if norm == "Linf" else L2)(fraction(eps))


def fgsm(
    eps: float | str, *, norm: Norm = "Linf", rule: GradientRule | None = None, loss: Loss = cross_entropy
) -> Attack:
    """Fast gradient (sign) method: one step of size eps. Goodfellow et al. 2015; eq. 3 of the SR paper."""
    threat = ball(norm, eps)
    return Attack(threat, GradientStep(threat.eps), rule=rule, loss=loss, steps=1)


def rfgsm(
    eps: float | str,
    *,
    variant: Literal["one-step", "full-step", "ten-step"] = "one-step",
    rule: GradientRule | None = None,
    loss: Loss = cross_entropy,
) -> Attack:
    """FGSM after a random sign step, Linf. The literature has several under this name:

    "one-step": sign noise of eps/2, then one step of eps/2, so always within eps (Tramer et al. 2018).
    "full-step": sign noise of eps, then one step of eps, projected: each value ends on the image, or eps from it.
    torchattacks 3.2.7 has this form, which the SR paper's released code names.
    "ten-step": sign noise of eps/4, then ten projected steps of eps/4 (2/255 at eps = 8/255), which is PGD
    in disguise; the form in which a widely used attack library offers it.
    """
    threat = ball("Linf", eps)
    shares = {"one-step": (2, 1), "full-step": (1, 1), "ten-step": (4, 10)}
    check_among("variant", variant, shares)
    part, steps = shares[variant]
    size = threat.eps / part
    return Attack(threat, GradientStep(size), start=SignNoise(size), rule=rule, loss=loss, steps=steps)


def pgd(
    eps: float | str,
    steps: int,
    *,
    alpha: float | str | None = None,
    random_start: bool = True,
    norm: Norm = "Linf",
    rule: GradientRule | None = None,
    loss: Loss = cross_entropy,
    restarts: int = 1,
    keep: Literal["worst", "last"] = "worst",
) -> Attack:
    """Projected gradient descent (Madry et al. 2018; eq. 4 of the SR paper), alpha = 2.5 eps / steps unless given."""
    check_whole("steps", steps)
    threat = ball(norm, eps)
    size = 2.5 * threat.eps / steps if alpha is None else fraction(alpha)
    start = Uniform() if random_start else AtImage()
    return Attack(threat, GradientStep(size), start, rule, loss, steps, restarts, keep)


def apgd(
    eps: float | str,
    steps: int,
    *,
    norm: Norm = "Linf",
    rule: GradientRule | None = None,
    loss: Loss = cross_entropy,
    restarts: int = 1,
) -> Attack:
    """Auto-PGD (Croce and Hein 2020): first step 2 eps, start on the sphere. Loss `cross_entropy` or `dlr`."""
    threat = ball(norm, eps)
    return Attack(threat, APGD(2 * threat.eps), Boundary(), rule, loss, steps, restarts)


def mix_pgd(
    eps: float | str,
    steps: int = 7,
    *,
    width: float = 1.0,
    alpha: float | str | None = None,
    norm: Norm = "Linf",
    loss: Loss = cross_entropy,
) -> Attack:
    """PGD from the image by the mean of HART's gradient and STBP's: MIXPGD of Hao et al. (ICLR 2024), or MIXFGSM.

    As there, neither gradient is scaled, a step is eps / 4 (2/255 at 8/255), and a single one eps. `width` is that of
    HART's triangle, which the source searches on the images that it reports. Any two rules mix by `Attack.mix`.
    """
    check_whole("steps", steps)
    threat = ball(norm, eps)
    size = threat.eps / (4 if steps > 1 else 1) if alpha is None else fraction(alpha)
    return Attack(threat, GradientStep(size), rule=HART(Triangle(width)), loss=loss, steps=steps, mix=STBP())


def mi_fgsm(
    eps: float | str,
    steps: int,
    *,
    decay: float = 1.0,
    norm: Norm = "Linf",
    rule: GradientRule | None = None,
    loss: Loss = cross_entropy,
) -> Attack:
    """Momentum iterative FGSM (Dong et al. 2018): alpha = eps / steps, from the image itself."""
    check_whole("steps", steps)
    threat = ball(norm, eps)
    return Attack(threat, Momentum(threat.eps / steps, decay), rule=rule, loss=loss, steps=steps)


def sa_pgd(
    eps: float | str,
    steps: int = 100,
    *,
    norm: Norm = "Linf",
    rule: GradientRule | None = None,
    loss: Loss = cross_entropy,
    restarts: int = 1,
) -> Attack:
    """Stable adaptive PGD (arXiv 2512.22522): first step eps, start on the sphere; best with the rule `ASSG`."""
    threat = ball(norm, eps)
    return Attack(threat, SAPGD(threat.eps), Boundary(), rule, loss, steps, restarts)
