"""Figures in the sentences of the terminal."""

from __future__ import annotations


def percent_text(value: float | None) -> str:
    """A share in percent."""
    return "unknown" if value is None else f"{100 * value:.1f} %"


def figure_text(value: float | None) -> str:
    """Three digits."""
    return "undefined" if value is None else f"{value + 0.0:.3g}"
