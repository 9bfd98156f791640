"""From what was found to figures with intervals, and from those to verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustsnn.recipes.recipe import Found, Look, RecipeNetwork, Results
from robustsnn.records.exhibit import Cell, Claim, Interval, Verdict
from robustsnn.statistics.binomial import clopper_pearson
from robustsnn.statistics.paired import paired_interval
from robustsnn.studies.shared.tally import Tally

CLEAN = "clean"


def hits(found: Sequence[Found], column: str, look: Look | None = None) -> list[np.ndarray]:
    """Per seed, whether each image stands; clean images without a look."""
    lists = [one.clean if look is None else one.looks[look.label][column] for one in found]
    return [np.array(values, dtype=bool) for values in lists]


def mean_interval(values: Sequence[float]) -> tuple[float, Interval | None]:
    """Mean of values of several seeds and its 95 % t-interval; None for a single one."""
    found = Tally.over(np.array(values, dtype=np.float64))
    return found.mean, found.interval()


def accuracy(found: Sequence[Found], column: str, look: Look | None = None, published: float | None = None) -> Cell:
    """Accuracy in percent of a column, see `share`."""
    return share(hits(found, column, look), published)


def share(arrays: Sequence[np.ndarray], published: float | None = None) -> Cell:
    """Mean of hits in percent. One seed: exact binomial interval over images. Several: t-interval over seeds."""
    mean, interval = mean_interval([float(array.mean()) for array in arrays])
    if interval is None:
        interval = clopper_pearson(int(arrays[0].sum()), len(arrays[0]))
    low, high = (100 * max(0.0, interval[0]), 100 * min(1.0, interval[1]))
    return Cell(100 * mean, (low, high), len(arrays[0]), published)


def value(values: Sequence[float], n: int | None = None, published: float | None = None) -> Cell:
    """A figure that is no accuracy, one value per seed."""
    mean, interval = mean_interval(values)
    return Cell(mean, interval, n, published)


def difference(
    results: Results, a: RecipeNetwork, b: RecipeNetwork, column: str, look: Look | None = None
) -> tuple[float, Interval]:
    """Accuracy of a minus that of b in points, and a 95 % interval of it, see `gap`."""
    return gap(hits(results[a], column, look), hits(results[b], column, look))


def gap(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> tuple[float, Interval]:
    """Mean of the hits a minus that of b in points, one array per seed, and a 95 % interval.

    Paired by image for one seed (normal interval), by seed for several (t-interval).
    """
    gaps = [100 * (x.astype(float) - y.astype(float)) for x, y in zip(a, b, strict=True)]
    mean, interval = mean_interval([float(each.mean()) for each in gaps])
    if interval is None:
        interval = paired_interval(gaps[0], step=100)
    return mean, (max(-100.0, interval[0]), min(100.0, interval[1]))


def more(
    results: Results,
    text: str,
    pairs: Sequence[tuple[RecipeNetwork, RecipeNetwork]],
    columns: Sequence[str],
    look: Look | None = None,
) -> Claim:
    """The claim that the first network of each pair is more accurate than the second, in all columns.

    It holds if every difference is above zero by more than its interval, does not hold if one is below zero by more
    than its interval, and is undecided otherwise.
    """
    verdicts, said = [], []
    several = len({a.data for a, _ in pairs}) > 1
    for a, b in pairs:
        where = f" ({a.data} rows)" if several else ""
        for column in columns:
            mean, (low, high) = difference(results, a, b, column, look)
            verdicts.append(above_zero((low, high)))
            said.append(f"{a.name()} against {b.name()}{where}, {column}: {mean:+.1f} [{low:.1f}, {high:.1f}]")
    counts = [verdicts.count(kind) for kind in ("holds", "does not hold", "undecided")]
    head = (
        ""
        if len(verdicts) == 1
        else "{} of {} comparisons say so, {} the contrary, {} are undecided: ".format(
            counts[0], len(verdicts), *counts[1:]
        )
    )
    return Claim(text, together(verdicts), head + "; ".join(said) + " points.")


def above_zero(interval: Interval | None) -> Verdict:
    """Whether what an interval is of is above zero: it holds or not where all of the interval is on one side."""
    low, high = interval or (0.0, 0.0)
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def together(verdicts: Sequence[str]) -> Verdict:
    """All hold; or one does not; or it is undecided."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts and set(verdicts) == {"holds"} else "undecided"
