"""Perturbation sizes as people write them: 8/255."""

from __future__ import annotations

import math

from robustsnn.errors import UserError


def fraction(value: float | str) -> float:
    """A number, or a string such as "8/255" or "0.03", as a float. UserError for anything else."""
    try:
        if isinstance(value, str):
            above, _, below = value.partition("/")
            result = float(above) / float(below) if below else float(above)
        else:
            result = float(value)
    except (ValueError, TypeError, ZeroDivisionError):
        raise UserError(f"{value!r} is not a number; write it as 0.03 or '8/255'") from None
    if not math.isfinite(result):
        raise UserError(f"{value!r} is not a finite number")
    return result


def show_fraction(value: float) -> str:
    """`8/255` where value is within 1e-6 of an integer over 255, else up to six significant digits."""
    whole = round(value * 255)
    return f"{whole}/255" if whole and abs(value - whole / 255) < 1e-6 else f"{value:.6g}"
