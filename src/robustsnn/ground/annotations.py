"""What an annotation says of a value: whether it fits, and in words what would. For options of YAML and for objects.

Read are plain types, words (`Literal`), ranges (`Within`), either-or, lists, tuples and mappings with their entries; of
objects also functions, classes, and protocols by the names that they ask for. An annotation of another kind takes
everything. Whole numbers fit in 64 bits, and others in float32, since everything is computed in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Within
from robustsnn.ground.units import fraction

LARGEST = 1e37
"""Of numbers that float32 holds, rounded; NaN is not below it."""
_WHOLE = 1 << 63
_EITHER = (Union, UnionType)


def fits(value: Any, kind: Any, plain: bool = False) -> bool:
    """Whether a value is what an annotation says. `plain`: it is of YAML, and an object may be made of it later."""
    origin, among = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return fits(value, among[0], plain) and all(end.holds(_number(value)) for end in ends(kind))
    if origin is Literal:
        return any(type(value) is type(word) and value == word for word in among)
    if origin in _EITHER:
        return any(fits(value, one, plain) for one in among)
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
            return False
        return abs(value) < _WHOLE if isinstance(value, int) else abs(value) <= LARGEST
    if kind in (str, bool, NoneType, dict, list):
        return isinstance(value, kind)
    return plain or kind is Any or _is(value, kind)


def _is(value: Any, kind: Any) -> bool:
    """Whether an object, or a value of several entries, is what an annotation says."""
    origin, among = get_origin(kind), get_args(kind)
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
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, type) and all(hasattr(value, name) for name in _asked(kind))
    return isinstance(value, kind) if isinstance(kind, type) else True


@cache
def _asked(protocol: type) -> tuple[str, ...]:
    """The names that a protocol asks for."""
    names = {*dir(protocol), *get_type_hints(protocol)}
    return tuple(sorted(name for name in names if name == "__call__" or not name.startswith("_")))


def _number(value: Any) -> float:
    """A number as it is; of a text, since a radius may be written "8/255", the number that it says, or NaN."""
    try:
        return fraction(value) if isinstance(value, str) else value
    except UserError:
        return math.nan


def ends(kind: Any) -> list[Within]:
    """The ranges that an annotation says."""
    return [end for end in get_args(kind)[1:] if isinstance(end, Within)] if get_origin(kind) is Annotated else []


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types that an annotation allows, without the ranges of their numbers."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    return sum(map(alternatives, get_args(kind)), ()) if get_origin(kind) in _EITHER else (kind,)


_WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "True or False",
    NoneType: "None",
    dict: "a mapping",
    list: "a list",
}
_OF_YAML = {
    **_WORDS,
    float: "a number (0, or of size 1e-37 to 1e+37)",
    bool: "true or false",
    NoneType: "null",
    dict: "a mapping of options",
}


def words(kind: Any, plain: bool = False) -> str:
    """An annotation as a message says it: "a number above 0 and at most 1", "a Surrogate of robustsnn.neurons".

    `plain`: as YAML writes values, "a whole number from 1 to 4096 or null".
    """
    origin, among = get_origin(kind), get_args(kind)
    if origin is Annotated:
        base = "a whole number" if among[0] is int else "a number"
        written = ", as 0.03 or 8/255" if str in alternatives(kind) else ""
        return " ".join([base, *map(str, ends(kind))]) + written
    if origin is Literal:
        return f"one of {', '.join(map(str, among))}" if plain else " or ".join(map(repr, among))
    if origin in _EITHER:
        return " or ".join(words(one, plain) for one in among)
    if origin is tuple and among and among[-1] is not Ellipsis:
        return f"({', '.join(map(words, among))})"
    if origin in (tuple, list, Sequence):
        return f"a list, each entry {words(among[0])}"
    if origin in (dict, Mapping):
        return "a mapping" if among[1] is Any else f"a mapping, each entry {words(among[1])}"
    if origin is Callable:
        return "a function"
    known = _OF_YAML if plain else _WORDS
    if kind in known:
        return known[kind]
    room = ".".join(kind.__module__.split(".")[:2])
    return f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__} of {room}"
