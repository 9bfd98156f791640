"""How deep an evaluation went: images broken against passes spent, and what the next doubling would break. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.records.outcome import Outcomes, rate
from robustsnn.statistics.binomial import further_hits

ASSUMPTION = (
    "the share of the standing images that a doubling of the passes breaks does not rise, and further passes are of "
    "the kinds that the suite ran last; it says nothing of another kind of attack"
)
TOLERATED = 0.01
"""Share of all images: where the next doubling is expected to break more, the worst case is printed as "at most"."""


@dataclass(frozen=True)
class BreakTimes:
    """Break times of N images that were right on the clean image, in passes.

    A forward or a backward pass counts one, and so does the pass that found the clean image right: `passes` is
    1 + all passes up to the end of the attack that broke the image first (or within it, where the attack stopped
    there), or all that were spent on an image that stands (`fell` false), whose break time is larger. `ends` are the
    passes after each attack: the most that an image it met while standing has had by then.
    """

    passes: NDArray[np.int64]
    fell: NDArray[np.bool_]
    ends: NDArray[np.int64]

    @staticmethod
    def of(found: Outcomes, counted: NDArray[np.bool_]) -> BreakTimes:
        """Of the images `counted`, `[N]` bool."""
        broken = found.broken[:, counted]
        spent = 1 + np.cumsum(found.forwards[:, counted] + found.backwards[:, counted], axis=0)
        fell, first = np.asarray(broken.any(0)), broken.argmax(0)
        total = spent[-1] if len(spent) else np.ones(broken.shape[1], np.int64)
        passes = np.where(fell, np.take_along_axis(spent, first[None], 0)[0] if len(spent) else total, total)
        rows = np.arange(len(spent))[:, None]
        met = found.attacked[:, counted] & ((rows <= first) | ~fell)
        ends = np.where(met, spent, 0).max(1, initial=0)
        return BreakTimes(passes, fell, ends[ends > 0])

    def until(self, budget: float) -> BreakTimes:
        """The same evaluation, had it been stopped after so many passes an image."""
        fell = self.fell & (self.passes <= budget)
        return BreakTimes(np.minimum(self.passes, int(budget)), fell, self.ends[self.ends <= budget])

    @property
    def budget(self) -> int:
        """The most passes of an image that stands, or that the last image took to fall."""
        left = self.passes if self.fell.all() else self.passes[~self.fell]
        return int(left.max(initial=1))

    def standing(self, passes: float) -> int:
        """How many images stand after so many passes each."""
        return int((~(self.fell & (self.passes <= passes))).sum())

    def points(self, n: int) -> list[dict[str, Any]]:
        """The curve `[{"passes", "accuracy", "interval", "n"}]` of the share of n images that stands.

        At one pass (nothing is attacked yet), after each attack, and at the halvings of the budget; in between it
        is constant or falls.
        """
        halvings = self.budget / 2.0 ** np.arange(64)
        places = {1, *self.ends.tolist(), *(int(half) for half in halvings if half >= 1)}
        return [{"passes": place, **rate(np.arange(n) < self.standing(place))} for place in sorted(places)]

    def next_doubling(self) -> dict[str, Any]:
        """How many more images twice the budget would break, with a 95 % prediction interval.

        Of r images that stand at half the budget P, b fall in (P/2, P]. With h the chance of a standing image to
        fall within a doubling, the m images that stand at P lose Binomial(m, h) in the next one; the estimate is m b/r,
        the interval that of `further_hits`.
        Where the two last doublings together lost a larger share, (b + b') / (r + r'), theirs is taken: a share that
        falls, as `ASSUMPTION` has it, is then rather over- than underestimated.
        """
        left, budget = int((~self.fell).sum()), self.budget
        windows = []
        for doublings in (1, 2):
            at_risk = [self._at_risk(budget / 2**k, budget / 2 ** (k - 1)) for k in range(1, doublings + 1)]
            windows.append((doublings, sum(fell for fell, _ in at_risk), sum(of for _, of in at_risk)))
        doublings, fell, of = max(windows, key=lambda window: (window[1] / max(1, window[2]), -window[0]))
        return {
            "passes": [budget, 2 * budget],
            "doublings": doublings,
            "fell": fell,
            "of": of,
            "standing": left,
            "broken": left * fell / of if of else 0.0,
            "interval": list(further_hits(fell, of, left)),
            "assumption": ASSUMPTION,
        }

    def _at_risk(self, low: float, high: float) -> tuple[int, int]:
        """How many images fell within (low, high] passes, and how many that stood at `low` were attacked further."""
        met = self.passes > low
        return int((met & self.fell & (self.passes <= high)).sum()), int(met.sum())


def survivors(found: Outcomes, standing: NDArray[np.bool_]) -> dict[str, Any]:
    """How near the images that stand came to breaking.

    The worst margin of an image is the largest that any attack found (at least the clean one; negative: right).
    `margins` are its quantiles 0, 1/4, 1/2, 3/4 and 1, the last that of the image nearest to breaking. `left` counts
    the images by worst over clean margin, in ten bins from 0 (about to break) to 1 (nothing was found).
    """
    clean = found.clean_margin[standing].astype(np.float64)
    attacked = np.where(found.attacked, found.margin, -np.inf)[:, standing].astype(np.float64)
    worst = np.maximum(clean, attacked.max(0, initial=-np.inf))
    known = np.isfinite(worst) & np.isfinite(clean)
    left = np.histogram(worst[known] / clean[known], bins=10, range=(0, 1))[0] if known.any() else []
    return {
        "n": int(standing.sum()),
        "margins": np.quantile(worst[known], (0, 0.25, 0.5, 0.75, 1)).tolist() if known.any() else [],
        "left": [int(count) for count in left],
    }


def depth(found: Outcomes, standing: NDArray[np.bool_], raised: list[str]) -> dict[str, Any]:
    """The entry `depth` of a model in `results.json`.

    `standing`: who counts in the worst case. An image that stood here and fell at a smaller radius is left out, so
    that the curve ends at the worst case. `raised`: names of the flags of this evaluation.
    """
    n = len(standing)
    times = BreakTimes.of(found, found.correct & (found.broken.any(0) | standing))
    expected = times.next_doubling()
    return {
        "points": times.points(n),
        "next_doubling": expected,
        "survivors": survivors(found, standing),
        "at_most": _at_most(expected, n, raised),
    }


def _at_most(expected: dict[str, Any], n: int, raised: list[str]) -> list[str]:
    """Why the worst case is to be read as "at most", the one place where this is decided; none where it is not.

    One percentage point of all images is what accuracies are told apart by. The estimate decides and not the upper
    end of its interval, which lies above one point wherever few images stand, however long they were attacked.
    """
    reasons = []
    if expected["broken"] > TOLERATED * n:
        reasons.append(
            f"twice the passes would break about {expected['broken']:.1f} more of {n} images, which is more than "
            f"{100 * TOLERATED:g} % of them"
        )
    if "foreign-gradient" in raised:
        reasons.append("no gradient rule reached neurons of another framework (foreign-gradient)")
    if "not-converged" in raised and expected["standing"]:
        reasons.append("longer attacks broke images that the suite left standing (not-converged)")
    return reasons
