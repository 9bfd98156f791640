"""How numbers are said: perturbation sizes, rates with their interval, lists of names."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.report.results import Rate


def eps_text(eps: float) -> str:
    """`k/255` where 255 eps is an integer k to 1e-6 (relative above 1, for float32), else 4 digits."""
    k = round(255 * eps)
    if 0 < k < 255 and abs(255 * eps - k) <= 1e-6 * k:
        return f"{k}/255"
    return f"{eps:.4g}"


def percent(share: float) -> str:
    """A share as a percentage with one decimal: 0.1222 -> '12.2 %'."""
    return f"{100 * share:.1f} %"


def interval_text(rate: Rate) -> str:
    """The 95 % interval in percent, '[9.0, 16.0]'; empty where none was saved."""
    if rate.interval is None:
        return ""
    low, high = rate.interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def rate_text(rate: Rate) -> str:
    """A rate with its interval: '12.2 % [9.0, 16.0]'."""
    return f"{percent(rate.accuracy)} {interval_text(rate)}".rstrip()


def listing(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """'1 model', '4 models'."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
