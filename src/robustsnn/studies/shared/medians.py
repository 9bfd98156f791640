"""Summaries of values per sample, as files hold them: means, medians, shares and ranks. What is undefined is NaN among
values, and None in a summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from robustsnn.records.typed import Gap
from robustsnn.reporting.figures import Quantity
from robustsnn.statistics.binomial import clopper_pearson
from robustsnn.statistics.correlation import spearman
from robustsnn.studies.shared.tally import Tally

Values: TypeAlias = NDArray[np.float64]
"""One number per sample `[n]`; NaN where it is undefined."""
Gaps: TypeAlias = tuple[Gap, ...]
"""The same in a record."""


@dataclass(frozen=True)
class Mean(Quantity):
    """Of the samples where the value is defined, with its t-interval; `total` and `scatter` are those of `Tally`."""

    mean: float | None
    total: float | None
    scatter: float | None


@dataclass(frozen=True)
class Median(Quantity):
    """Of the samples where the value is defined, with an interval between order statistics."""

    median: float | None


@dataclass(frozen=True)
class Proportion(Quantity):
    """Of samples of some kind; the interval is that of Clopper and Pearson."""

    share: float | None


@dataclass(frozen=True)
class ShareRight(Quantity):
    """The same of images, of those classified correctly."""

    accuracy: float


def kept(samples: Mapping[str, NDArray[Any]]) -> dict[str, Gaps]:
    """Values per sample, for a record."""
    return {name: tuple(values.tolist()) for name, values in samples.items()}


def mean(values: Values) -> Mean:
    """Over the samples where the value is defined; None of no samples."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Mean(None, 0, None, 0.0, 0.0)
    found = Tally.over(known)
    return Mean(found.interval(), found.n, found.mean, found.total, found.scatter)


def median(values: Values) -> Median:
    """The interval is exact at 95 % or a little more for any distribution; None below six samples."""
    from scipy.stats import binom

    known = np.sort(values[np.isfinite(values)])
    n = len(known)
    k = int(binom.ppf(0.025, n, 0.5)) if n else 0
    return Median((float(known[k - 1]), float(known[n - k])) if k else None, n, float(np.median(known)) if n else None)


def share(hits: NDArray[np.bool_]) -> Proportion:
    """None of no samples."""
    n = len(hits)
    return Proportion(clopper_pearson(int(hits.sum()), n), n, float(hits.mean())) if n else Proportion(None, 0, None)


def accuracy(hits: NDArray[np.bool_]) -> ShareRight:
    """Of at least one image."""
    return ShareRight(clopper_pearson(int(hits.sum()), len(hits)), len(hits), float(hits.mean()))


def rank_correlation(a: Values, b: Values) -> dict[str, float | None]:
    """`{"value", "n"}`: Spearman's, where both are defined; None below three samples, or if one does not vary."""
    known = np.isfinite(a) & np.isfinite(b)
    n = int(known.sum())
    found = spearman(a[known].tolist(), b[known].tolist()) if n >= 3 else None
    return {"value": found and found.value, "n": n}
