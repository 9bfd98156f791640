"""Plain values, the annotations and ranges that they must fit, and how a message shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, get_args

from robustsnn.ground.annotations import LARGEST, alternatives, ends, fits, words
from robustsnn.ground.errors import in_short

_SMALLEST = 1e-37
"""Of the numbers that float32 holds at full precision, rounded."""


def fitted(value: Any, kind: Any) -> Any:
    """A plain value as an annotation of plain types has it: an int where a float is needed becomes one.

    ValueError where it does not fit. An annotation of other types takes every value. Numbers that are no whole ones are
    0 or of a size that float32 holds: no NaN, no infinity, no 1e-320.
    """
    kinds = alternatives(kind)
    made = _float(value) if float in kinds and not (int in kinds and type(value) is int) else value
    if not fits(made, kind, plain=True) or (float in kinds and type(made) is float and not _sized(made)):
        raise ValueError(f"{shown(value)} is not {allowed(kind)}")
    return made


def _float(value: Any) -> Any:
    """The float that a whole number or a text says, since YAML reads 1e-3 as one; else the value as it is."""
    with suppress(ValueError, OverflowError):
        if type(value) in (int, str) and _sized(number := float(value)):
            return number
    return value


def _sized(number: float) -> bool:
    return not number or _SMALLEST <= abs(number) <= LARGEST  # NaN is not


def allowed(kind: Any, instead_of: Any = None) -> str:
    """An annotation in words, with the range of its numbers: "a whole number from 1 to 4096 or null".

    In the place of a number that its range would hold, but float32 does not, the sizes of float32 are said too.
    """
    if len(alternatives(kind)) > 1 and not ends(kind):
        return " or ".join(allowed(one, instead_of) for one in get_args(kind))
    span = ends(kind) if alternatives(kind) == (float,) else []
    would = span and all(end.holds(_said(instead_of)) for end in span)
    return words(kind, plain=True) + (f", of a size from {_SMALLEST:g} to {LARGEST:g}" if would else "")


def _said(value: Any) -> float:
    """The number that a value is or says, YAML leaves 1e-300 a text; else NaN."""
    with suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def shown(value: Any, longest: int = 60) -> str:
    """A value as a message has it, in one short line: null, true, 0.1, 'text', {'a': 1}."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return in_short(value, longest)


def nested(values: Any, *keys: str) -> Any:
    """The value under `values[keys[0]][keys[1]]...`, or None where any of them is missing."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
