"""What `smoothing` found, per image, what follows from it, and what of it `analysis/smoothing.json` holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.records.typed import SOME, having
from robustsnn.statistics.binomial import clopper_pearson
from robustsnn.studies.shared.medians import Proportion, ShareRight, Values, accuracy, kept, share
from robustsnn.studies.study import Summarised

CURVE = np.linspace(0, 3, 25)
"""Radii of the curve, in sigma; beyond 3 no image has a certificate of less than some 5,000 draws."""


def certified_radius(hits: int, draws: int, sigma: float, confidence: float) -> float:
    """R = sigma Phi^-1(p) of the lower end p of the one-sided Clopper-Pearson interval of hits in draws.

    0 where p is at most 1/2: the answer abstains.
    """
    from scipy.stats import norm

    # The lower end of a two-sided interval of level 1 - 2 alpha leaves alpha below it.
    low, _ = clopper_pearson(hits, draws, 2 * confidence - 1)
    return sigma * float(norm.ppf(low)) if low > 0.5 else 0.0


def rejected(own: int, other: int, confidence: float) -> bool:
    """Whether so many votes settle that the class of the `other` votes is likelier than that of the `own`.

    One-sided binomial test: P[X >= other] <= 1 - confidence for X ~ Binomial(own + other, 1/2).
    """
    from scipy.stats import binom

    return float(binom.sf(other - 1, own + other, 0.5)) <= 1 - confidence


@dataclass(frozen=True, eq=False)
class SigmaLevel(Summarised):
    """The classifier smoothed by noise of one sigma, at n images.

    Args:
        certain: certified radius of the true class `[n]`, 0 where it has none.
        abstained: whether no class has one.
        radii: L2, of the attacks; the first is 0, the image itself.
        broken: `[n, radii]`, whether another class was shown to be likelier within that radius.
    """

    sigma: float
    certain: Values
    abstained: NDArray[np.bool_]
    radii: tuple[float, ...]
    broken: NDArray[np.bool_]

    def certified(self, radius: float) -> NDArray[np.bool_]:
        """Who has the true class at every point of less than that distance."""
        return self.certain > radius

    @property
    def contradictions(self) -> int:
        """Images both certified and broken at a radius: possible by chance alone, see `Certificates`."""
        both = [self.certified(radius) & broken for radius, broken in zip(self.radii, self.broken.T, strict=True)]
        return int(np.any(both, 0).sum())

    def record(self) -> AtSigma:
        """What is saved of it; intervals are 95 % Clopper-Pearson over images."""
        between = zip(self.radii, self.broken.T, strict=True)
        return AtSigma(
            self.sigma,
            share(self.abstained),
            tuple(Certified(r, accuracy(self.certified(r))) for r in (self.sigma * CURVE).tolist()),
            tuple(Between(r, accuracy(self.certified(r)), accuracy(~broken)) for r, broken in between),
            self.contradictions,
            kept({"certain": self.certain, "broken": self.broken}),
        )


@dataclass(frozen=True)
class Certificates(Summarised):
    """What `smoothing` found.

    Each certificate, and each break, holds with `confidence` over the draws of its image.
    """

    n: int
    draws: int
    confidence: float
    levels: tuple[SigmaLevel, ...]

    def record(self) -> Smoothing:
        """What is saved of it."""
        return Smoothing(self.n, self.draws, self.confidence, tuple(level.record() for level in self.levels))


@dataclass(frozen=True)
class Certified:
    """The share of images with the true class at every point of less than that distance."""

    radius: float
    certified: ShareRight


@dataclass(frozen=True)
class Between(Certified):
    """And the share that no attack broke: the accuracy lies between."""

    standing: ShareRight


@dataclass(frozen=True)
class AtSigma:
    """What `SigmaLevel` says of one sigma; `between` at the radii of the attacks."""

    sigma: float
    abstained: Proportion
    curve: tuple[Certified, ...]
    between: Annotated[tuple[Between, ...], SOME]
    contradictions: int
    samples: Annotated[dict[str, tuple[Any, ...]], having("certain", "broken")]


@dataclass(frozen=True)
class Smoothing:
    """What is saved."""

    n: int
    draws: int
    confidence: float
    levels: Annotated[tuple[AtSigma, ...], SOME]
