"""Plain values and the annotations that they must fit."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin


def fitted(value: Any, kind: Any) -> Any:
    """A plain value as an annotation of plain types has it: an int where a float is needed becomes one.

    ValueError where it does not fit. An annotation of other types takes every value.
    """
    misfit = ValueError(f"{value!r} is not of {kind}")
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
        if type(value) not in (int, float, str):
            raise misfit
        try:
            return float(value)  # of text too: YAML reads 1e-3 as one
        except (ValueError, OverflowError):
            raise misfit from None
    if kind in (int, str, bool, NoneType, dict, list) and type(value) is not kind:
        raise misfit
    return value


def allowed(kind: Any) -> str:
    """An annotation in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(allowed(choice) for choice in get_args(kind))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}
    return names.get(kind) or str(kind)


def nested(values: Any, *keys: str) -> Any:
    """The value under `values[keys[0]][keys[1]]...`, or None where any of them is missing."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
