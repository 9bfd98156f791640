"""Whether the fields of a dataclass are what its annotations say: one check for everything that people make."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from robustsnn.ground.door import said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Within
from robustsnn.ground.units import fraction

_LARGEST = 1e37
"""Of numbers that float32 holds, rounded; NaN is not below it."""


def check_fields(made: Any) -> None:
    """UserError, in one line, where a field of a dataclass does not fit its annotation. For its `__post_init__`.

    Checked are plain types, words (`Literal`), ranges (`Within`), classes, protocols by the names that they ask for,
    lists, tuples and mappings with their entries, and functions; an annotation of another kind takes everything.
    """
    kind = type(made)
    for name, annotation in _annotations(kind).items():
        value = getattr(made, name)
        if not fits(value, annotation):
            raise UserError(f"{kind.__name__}({name}={said_of(value)}): allowed is {words(annotation)}")


@cache
def _annotations(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation says."""
    origin, among = get_origin(kind), get_args(kind)
    if origin is Annotated:
        within = [end for end in among[1:] if isinstance(end, Within)]
        return fits(value, among[0]) and all(end.holds(_number(value)) for end in within)
    if origin is Literal:
        return any(type(value) is type(word) and value == word for word in among)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in among)
    if origin is tuple and among and among[-1] is not Ellipsis:
        fitting = isinstance(value, list | tuple) and len(value) == len(among)
        return fitting and all(map(fits, value, among))
    if origin in (tuple, list, Sequence):
        return isinstance(value, list | tuple) and all(fits(entry, among[0]) for entry in value)
    if origin in (dict, Mapping):
        fitting = isinstance(value, Mapping)
        return fitting and all(fits(key, among[0]) and fits(entry, among[1]) for key, entry in value.items())
    if origin is Callable:
        return callable(value)
    return _is(value, kind)


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind is NoneType:
        return value is None
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
            return False
        return abs(value) < 1 << 63 if isinstance(value, int) else abs(value) <= _LARGEST
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, type) and all(hasattr(value, name) for name in _asked(kind))
    return isinstance(value, kind) if isinstance(kind, type) else True


@cache
def _asked(protocol: type) -> tuple[str, ...]:
    """The names that a protocol asks for."""
    names = {*dir(protocol), *get_type_hints(protocol)}
    return tuple(sorted(name for name in names if name == "__call__" or not name.startswith("_")))


def _number(value: Any) -> float:
    """Of a radius, which may be written "8/255"."""
    try:
        return fraction(value)
    except UserError:
        return math.nan


_WORDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "True or False", NoneType: "None"}


def words(kind: Any) -> str:
    """An annotation as a message says it: "a number above 0 and at most 1", "a Surrogate of robustsnn.neurons"."""
    origin, among = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base = "a whole number" if among[0] is int else "a number"
        return " ".join([base, *map(str, among[1:])])
    if origin is Literal:
        return " or ".join(map(repr, among))
    if origin in (Union, UnionType):
        return " or ".join(map(words, among))
    if origin is tuple and among and among[-1] is not Ellipsis:
        return f"({', '.join(map(words, among))})"
    if origin in (tuple, list, Sequence):
        return f"a list, each entry {words(among[0])}"
    if origin in (dict, Mapping):
        return "a mapping" if among[1] is Any else f"a mapping, each entry {words(among[1])}"
    if origin is Callable:
        return "a function"
    if kind in _WORDS:
        return _WORDS[kind]
    room = ".".join(kind.__module__.split(".")[:2])
    return f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__} of {room}"
