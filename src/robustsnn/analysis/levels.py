"""What `vulnerability` found, per sample and radius, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.analysis.medians import Values, median, plain, rank_correlation, share, tally
from robustsnn.records.outcome import rate


def _over(above: Values, below: Values) -> Values:
    """The quotient; NaN where the denominator is zero."""
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


@dataclass(frozen=True, eq=False)
class Slopes:
    """Norms of the gradient of each sample, and what theorem 1 makes of them."""

    l0: Values
    l1: Values
    l2: Values

    @property
    def ratio(self) -> Values:
        """3 l1^2 / l2^2, of the two vulnerabilities to first order; NaN for a gradient of zeros."""
        return 3 * _over(self.l1, self.l2) ** 2

    def random(self, eps: float) -> Values:
        """eps^2 / 3 l2^2."""
        return eps * eps / 3 * self.l2**2

    def adversarial(self, eps: float) -> Values:
        """eps^2 l1^2."""
        return eps * eps * self.l1**2


@dataclass(frozen=True, eq=False)
class Level:
    """Vulnerabilities and recognition at one radius; all arrays `[n]`, one entry per sample.

    Args:
        eps: radius, in the units of the pixels.
        slopes: the gradients at the images.
        random: rho_rand, estimated from the draws.
        error: its standard error; NaN for a single draw.
        adversarial: the largest squared change found, at most rho_adv.
        right_random: share of the draws, cut to [0, 1], that are classified correctly.
        right_fgsm: whether the point of FGSM is.
        right_worst: whether all points looked at are: image, draws, FGSM and both extremes found, cut to [0, 1].
    """

    eps: float
    slopes: Slopes
    random: Values
    error: Values
    adversarial: Values
    right_random: Values
    right_fgsm: NDArray[np.bool_]
    right_worst: NDArray[np.bool_]

    @staticmethod
    def join(parts: list[Level]) -> Level:
        """Batches one after the other."""
        slopes = Slopes(*(np.concatenate([getattr(p.slopes, f.name) for p in parts]) for f in fields(Slopes)))
        names = [f.name for f in fields(Level) if f.name not in ("eps", "slopes")]
        arrays = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
        return Level(parts[0].eps, slopes, *arrays)

    @property
    def ratio(self) -> Values:
        """Measured adversarial over random vulnerability; NaN where no draw changed f."""
        return _over(self.adversarial, self.random)

    @property
    def outside(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether the ratio is below 3, and above 3 l0, by more than twice the standard error of rho_rand.

        Without that allowance the noise of few draws alone would break the upper bound: at 16 draws for every
        seventh image of a linear network with a dense gradient.
        """
        error = 2 * np.nan_to_num(self.error)
        below = self.adversarial < 3 * (self.random - error)
        return below, self.adversarial > 3 * self.slopes.l0 * (self.random + error)

    @property
    def random_by_first_order(self) -> Values:
        """rho_rand / (eps^2 l2^2 / 3); NaN for a gradient of zeros."""
        return _over(self.random, self.slopes.random(self.eps))

    @property
    def adversarial_by_first_order(self) -> Values:
        """rho_adv found / (eps^2 l1^2); NaN for a gradient of zeros."""
        return _over(self.adversarial, self.slopes.adversarial(self.eps))

    @property
    def first_order(self) -> bool:
        """Whether both vulnerabilities are within a factor 2 of first order, in the median over samples."""
        medians = (median(v)["median"] for v in (self.random_by_first_order, self.adversarial_by_first_order))
        return all(value is not None and 0.5 <= value <= 2 for value in medians)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        ratio = self.ratio
        asked = np.isfinite(ratio) & (self.slopes.l0 > 0)  # of the others the theorem says nothing
        below, above = (side[asked] for side in self.outside)
        return {
            "eps": self.eps,
            "random": tally(self.random),
            "adversarial": tally(self.adversarial),
            "ratio": median(ratio),
            "random_by_first_order": median(self.random_by_first_order),
            "adversarial_by_first_order": median(self.adversarial_by_first_order),
            "first_order": self.first_order,
            "still": share(self.random == 0),
            "bounds": {
                "below": share(below),
                "within": share(~below & ~above),
                "above": share(above),
            },
            "rank_correlation": rank_correlation(ratio, self.slopes.ratio),
            "accuracy": {
                "random": tally(self.right_random),
                "fgsm": rate(self.right_fgsm),
                "worst": rate(self.right_worst),
            },
            "samples": {
                "random": plain(self.random),
                "error": plain(self.error),
                "adversarial": plain(self.adversarial),
                "ratio": plain(ratio),
            },
        }


@dataclass(frozen=True, eq=False)
class Vulnerability:
    """What `vulnerability` found; levels by rising eps.

    `rule` is that of the gradient at the images, `rules` those of the search, "" for each layer's own. Passes are
    counted per image.
    """

    n: int
    entries: int
    loss: str
    rule: str
    rules: tuple[str, ...]
    draws: int
    steps: int
    forwards: int
    backwards: int
    clean: NDArray[np.bool_]
    slopes: Slopes
    levels: tuple[Level, ...]

    @property
    def first_order(self) -> tuple[float, ...]:
        """The eps at which first order holds in the sense of `Level.first_order`; may be none."""
        return tuple(level.eps for level in self.levels if level.first_order)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        names = ("n", "entries", "loss", "rule", "draws", "steps", "forwards", "backwards")
        slopes = self.slopes
        norms = {"l0": slopes.l0, "l1": slopes.l1, "l2": slopes.l2}
        return {
            **{name: getattr(self, name) for name in names},
            "rules": list(self.rules),
            "clean": rate(self.clean),
            "gradient": {
                **{name: tally(values) for name, values in norms.items()},
                "zero": int((slopes.l0 == 0).sum()),
                "ratio": median(slopes.ratio),
                "samples": {name: plain(values) for name, values in {**norms, "ratio": slopes.ratio}.items()},
            },
            "first_order": list(self.first_order),
            "levels": [level.to_dict() for level in self.levels],
        }
