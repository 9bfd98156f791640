"""The round numbers that are written beside an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

Tick = tuple[float, str]
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FAR = 1e300  # beyond it, and below its inverse, steps of a scale are no floats
_FINE = 1e-6  # of two numbers as close as that, shares of the larger, steps in between lose their digits
SHARES = [(tick / 100, f"{tick} %") for tick in range(0, 101, 20)]


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that span [low, high], about `wanted` steps."""
    low, high = (min(max(end, -_FAR), _FAR) for end in (low, high))
    apart = max(wanted / _FAR, _FINE * max(abs(low), abs(high)))
    if high - low <= apart:  # equal, or closer than floats can write steps between
        margin = max(0.5, abs(low) / 1000)
        low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / wanted))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= wanted)
    digits = max(12, -math.floor(math.log10(step)) + 3)
    return [round(k * step, digits) for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def log_ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Powers of ten that span [low, high], about `wanted` at most; on a short span also 2 and 5 times them. low > 0."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    if last - first <= 2:
        steps = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        start = max((step for step in steps if step <= low * (1 + 1e-9)), default=steps[0])
        end = min((step for step in steps if step >= high * (1 - 1e-9)), default=steps[-1])
        inside = [step for step in steps if start <= step <= end]
        if len(inside) > 1:
            return inside
    stride = max(1, math.ceil((last - first) / wanted))
    last += -(last - first) % stride
    return [10.0**power for power in range(first, last + 1, stride)]


def power_text(power: int) -> str:
    """'10⁻⁵'."""
    return f"10{str(power).translate(_RAISED)}"


def tick_text(value: float, *, percent: bool = False) -> str:
    """'0.02', '20 %', '10⁻⁵' for powers of ten far from one."""
    if percent:
        return f"{100 * value:.4g} %"
    if value and not 1e-3 <= abs(value) < 1e5:
        power = math.floor(math.log10(abs(value)) + 1e-9)
        factor = f"{value / 10.0**power:.3g}"
        return power_text(power) if factor == "1" else f"{factor}·{power_text(power)}"
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def ticks(values: Sequence[float], *, log: bool = False, percent: bool = False) -> list[Tick]:
    """Ticks around `values`, less what has no place on the axis. From zero, unless all are far from it."""
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if log:
        found = log_ticks(min(known or [1.0]), max(known or [10.0]))
        far = not percent and len(found) > 2 and (found[0] < 1e-3 or found[-1] >= 1e5)
        powers = [math.log10(t) for t in found]
        if far and all(abs(power - round(power)) < 1e-9 for power in powers):
            return [(t, power_text(round(power))) for t, power in zip(found, powers, strict=True)]
        return [(t, tick_text(t, percent=percent)) for t in found]
    low, high = min(known or [0.0]), max(known or [1.0])
    if percent and 0.5 < high <= 1 and low >= 0:
        return SHARES
    if 0 <= low < 0.7 * high:
        low = 0.0
    return [(t, tick_text(t, percent=percent)) for t in nice_ticks(low, high)]
