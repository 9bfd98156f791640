"""Numbers and lists in words."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float) -> str:
    """A share as a percentage with one decimal: 0.1222 -> '12.2 %'."""
    return f"{100 * share:.1f} %"


def listing(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """'1 model', '4 models', '2 passes'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def short(name: str, most: int = 14) -> str:
    """`name` cut to `most` characters, for places in a figure."""
    return name if len(name) <= most else name[: most - 1] + "…"


def span(low: float, high: float, text: str = "{:.4g}") -> str:
    """'[0.1, 0.2]'."""
    return f"[{text.format(low)}, {text.format(high)}]"
