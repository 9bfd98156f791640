"""Figures as they are shown."""

from __future__ import annotations

from robustsnn.reporting.analysis_file import Found
from robustsnn.studies.shared.tally import Tally


def found(tally: Tally) -> Found:
    """The mean of what was summed."""
    return Found(tally.mean, tally.interval(), tally.n)


def percent_text(value: float | None) -> str:
    """A share in percent."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


def figure_text(value: float | None) -> str:
    """Three digits."""
    return "undefined" if value is None else f"{value + 0.0:.3g}"
