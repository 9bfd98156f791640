"""Summaries of values per sample: shares, medians and ranks with their intervals. Undefined values are NaN inside,
and null in what is written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.statistics.binomial import clopper_pearson
from robustsnn.statistics.correlation import spearman
from robustsnn.studies.shared.tally import Tally

Values = NDArray[np.float64]
"""One number per sample `[n]`; NaN where it is undefined."""


def tally(values: Values) -> dict[str, Any]:
    """`Tally.to_dict` of the samples where the value is defined: mean and 95 % t-interval, None of no samples."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"n": 0, "total": 0.0, "scatter": 0.0, "mean": None, "interval": None}
    return Tally.over(known).to_dict()


def median(values: Values) -> dict[str, Any]:
    """`{"median", "interval", "n"}` over the samples where the value is defined.

    The interval is between order statistics, exact at 95 % or a little more for any distribution; None below six
    samples, for which there is none.
    """
    from scipy.stats import binom

    known = np.sort(values[np.isfinite(values)])
    n = len(known)
    if not n:
        return {"median": None, "interval": None, "n": 0}
    k = int(binom.ppf(0.025, n, 0.5))
    ends = [float(known[k - 1]), float(known[n - k])] if k else None
    return {"median": float(np.median(known)), "interval": ends, "n": n}


def share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """`{"share", "interval", "n"}`, the interval 95 % Clopper-Pearson; None of no samples."""
    n = len(hits)
    if not n:
        return {"share": None, "interval": None, "n": 0}
    return {"share": float(hits.mean()), "interval": list(clopper_pearson(int(hits.sum()), n)), "n": n}


def rank_correlation(a: Values, b: Values) -> dict[str, Any]:
    """`{"value", "n"}`: Spearman's, where both are defined; None below three samples, or if one does not vary."""
    known = np.isfinite(a) & np.isfinite(b)
    n = int(known.sum())
    found = spearman(a[known].tolist(), b[known].tolist()) if n >= 3 else None
    return {"value": found and found.value, "n": n}
