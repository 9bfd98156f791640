"""Figures as they are shown."""

from __future__ import annotations

from robustsnn.reporting.analysis_file import Found
from robustsnn.studies.shared.tally import Tally


def found(tally: Tally, per: float = 1) -> Found:
    """The mean of what was summed, in units of so many."""
    ends = tally.interval()
    return Found(tally.mean / per, None if ends is None else (ends[0] / per, ends[1] / per), tally.n)


def percent_text(value: float | None) -> str:
    """A share in percent."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


def figure_text(value: float | None) -> str:
    """Three digits."""
    return "undefined" if value is None else f"{value + 0.0:.3g}"
