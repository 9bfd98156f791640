"""Perturbation sizes as people write them: 8/255."""

from __future__ import annotations

import math
import re

from robustsnn.ground.errors import UserError, in_short

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def fraction(value: float | str) -> float:
    """A number, or a string such as "8/255" or "0.03", as a float. UserError for anything else."""
    result = math.nan
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?", value)
        below = float(match[2] or 1) if match else 0.0
        if match and below:
            result = float(match[1]) / below
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        result = float(value)
    if not math.isfinite(result):
        raise UserError(f"{in_short(value)} is not a number; write it as 0.03 or '8/255'")
    return result


def show_fraction(value: float) -> str:
    """`8/255` where value is within 1e-6 of an integer over 255, else up to six digits; integers stay."""
    whole = round(value * 255) if math.isfinite(value) and value != int(value) else 0
    return f"{whole}/255" if whole and abs(value - whole / 255) < 1e-6 else f"{value:.6g}"


def grid_words(levels: int | None) -> str:
    """What follows a threat in words: " on 8-bit grey levels"; nothing where all values are allowed."""
    if levels is None:
        return ""
    return " on 8-bit grey levels" if levels == 255 else f" on grey levels k/{levels}"
