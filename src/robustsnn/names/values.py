"""Plain values, the annotations and ranges that they must fit, and how a message shows them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from robustsnn.ground.errors import UserError, in_short
from robustsnn.ground.ranges import Within
from robustsnn.ground.units import fraction

_SMALLEST, _LARGEST = 1e-37, 1e37
"""Sizes of the numbers that float32 holds at full precision, rounded."""
_WHOLE = 1 << 63


def fitted(value: Any, kind: Any) -> Any:
    """A plain value as an annotation of plain types has it: an int where a float is needed becomes one.

    ValueError where it does not fit. An annotation of other types takes every value. Whole numbers fit in 64 bits, and
    others are 0 or of a size that float32 holds, since everything is computed in it: no NaN, no infinity, no 1e-320.
    """
    misfit = ValueError(f"{shown(value)} is not {allowed(kind)}")
    if get_origin(kind) is Annotated:
        return _within(fitted(value, bare(kind)), kind, misfit)
    if get_origin(kind) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(kind)):
            return value
        raise misfit
    if get_origin(kind) in (Union, UnionType):
        for choice in sorted(get_args(kind), key=lambda choice: choice is str):  # text last: it takes numbers too
            try:
                return fitted(value, choice)
            except ValueError:
                pass
        raise misfit
    if kind is float:
        return _float(value, misfit)
    if kind in (int, str, bool, NoneType, dict, list) and type(value) is not kind:
        raise misfit
    if kind is int and isinstance(value, int) and abs(value) >= _WHOLE:
        raise misfit
    return value


def _within(value: Any, kind: Any, misfit: ValueError) -> Any:
    """The value, if the range of an annotation holds it; of a text that is the number it says, 8/255."""
    try:
        number = fraction(value) if isinstance(value, str) else value
    except UserError:
        raise misfit from None
    if not _holds(kind, number):
        raise misfit
    return value


def _holds(kind: Any, number: Any) -> bool:
    return all(within.holds(number) for within in get_args(kind)[1:] if isinstance(within, Within))


def _would_hold(kind: Any, value: Any) -> bool:
    """Whether its range holds a number, or one that a text says: YAML leaves 1e-300 a text."""
    with suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    return isinstance(value, int | float) and not isinstance(value, bool) and _holds(kind, value)


def _float(value: Any, misfit: ValueError) -> float:
    if type(value) not in (int, float, str):
        raise misfit
    try:
        number = float(value)  # of text too: YAML reads 1e-3 as one
    except (ValueError, OverflowError):
        raise misfit from None
    if number and not _SMALLEST <= abs(number) <= _LARGEST:  # NaN fails too
        raise misfit
    return number


def bare(kind: Any) -> Any:
    """An annotation without the range of its numbers."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def allowed(kind: Any, instead_of: Any = None) -> str:
    """An annotation in words, with the range of its numbers: "a whole number from 1 to 4096 or null".

    In the place of a number that its range would hold, but float32 does not, the sizes of float32 are said too.
    """
    if get_origin(kind) is Annotated:
        base, *rest = get_args(kind)
        if base is float and _would_hold(kind, instead_of):
            return f"{allowed(kind)}, of a size from {_SMALLEST:g} to {_LARGEST:g}"
        if get_origin(base) in (Union, UnionType):  # of a radius, which may be written as a fraction
            return f"a number {rest[0]}, as 0.03 or 8/255"
        return " ".join([allowed(base).partition(" (")[0], *map(str, rest)])
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(allowed(choice, instead_of) for choice in get_args(kind))
    names = {
        int: "a whole number",
        float: "a number (0, or of size 1e-37 to 1e+37)",
        str: "a text",
        bool: "true or false",
        NoneType: "null",
        dict: "a mapping of options",
        list: "a list",
    }
    return names.get(kind) or str(getattr(kind, "__name__", kind))


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
