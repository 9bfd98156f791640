"""Saved values and records: a frozen dataclass is read by the types of its fields; a refusal names file and entry."""

from __future__ import annotations

import base64
import math
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from robustsnn.ground.errors import UserError, in_words
from robustsnn.ground.files import from_json

Record = TypeVar("Record")
_MADE_BY = {
    "analyse the run again": re.compile(r"analysis[/\\][\w.]+\."),
    "train the run again": re.compile(r"metrics\.jsonl"),
    "evaluate the run again": re.compile(r"results\.json|samples\.npz|outcomes[/\\]|the results"),
}
"""What makes a file of a run anew, by what its name has in it."""


@dataclass(frozen=True)
class Must:
    """In an annotation: what a value must hold beside being of its type, and that in words."""

    hold: Callable[[Any], bool]
    wanted: str


Share: TypeAlias = Annotated[float, Must(lambda value: 0 <= value <= 1, "a share in [0, 1]")]
Positive: TypeAlias = Annotated[int, Must(lambda value: value >= 1, "an integer of at least 1")]
Size: TypeAlias = Annotated[float, Must(lambda value: value >= 0, "at least 0")]
SOME = Must(bool, "a list of at least one")
Interval: TypeAlias = Annotated[tuple[float, float], Must(lambda ends: ends[0] <= ends[1], "a lower and an upper end")]


def having(*names: str) -> Must:
    """Entries that a table must have."""
    return Must(lambda table: table.keys() >= set(names), f"a table of {', '.join(names)}")


GAP = object()
Gap: TypeAlias = Annotated[float, GAP]
"""A number, or NaN where it is undefined; null in a file."""
PAIR = object()
"""In the annotation of a pair or None: a pair that lacks an end counts as none."""


def remedy(where: str) -> str:
    """What helps where the file that `where` names is damaged: of a run, by what makes it anew."""
    found = (words for words, name in _MADE_BY.items() if name.search(where))
    return next(found, "get the file again, or make it anew")


def refuse(where: str, value: Any, wanted: str) -> UserError:
    """The error for the entry `where` that holds `value` instead of `wanted`."""
    return UserError(f"{where} = {value!r:.80} is not {wanted}; {remedy(where)}")


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file. UserError where it is none."""
    try:
        value = from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(in_words(error)) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); {remedy(str(path))}") from error
    return _table(value, str(path))


def read_record(kind: type[Record], path: Path, schema: int = 1) -> Record:
    """The record in a JSON file. UserError where it is none, of another schema, or an entry makes no sense."""
    value = read_json(path)
    if value.get("schema", 1) != schema:
        raise refuse(f"{path}: schema", value.get("schema", 1), f"{schema}, which this version of robustsnn reads")
    return record_of(kind, value, str(path))


def record_of(kind: Any, value: Any, where: str) -> Any:
    """A value of that type, from plain values; UserError, which begins with `where`, for what is of another.

    Types are dataclasses (a field that is missing has its default), tuples, `dict[str, ...]`, unions with None or of
    dataclasses (the first that fits by its fields), choices, plain types, and any of these with a `Must`.
    """
    origin, of = get_origin(kind), get_args(kind)
    if origin is Annotated and GAP in of:
        return math.nan if value is None else record_of(float, value, where)
    if origin is Annotated and PAIR in of and isinstance(value, list) and None in value:
        return None
    if origin is Annotated:
        made = record_of(of[0], value, where)
        for must in of[1:]:
            if isinstance(must, Must) and not must.hold(made):
                raise refuse(where, value, must.wanted)
        return made
    if is_dataclass(kind):
        return _record(kind, value, where)
    if origin in (Union, UnionType):
        if value is None and NoneType in of:
            return None
        kinds = [one for one in of if one is not NoneType]
        names = value.keys() if isinstance(value, dict) else set()
        fits = (one for one in kinds if not is_dataclass(one) or _needed(one) <= names)
        return record_of(next(fits, kinds[0]), value, where)
    if origin is Literal:
        if value not in of:
            raise refuse(where, value, f"one of {', '.join(map(str, of))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise refuse(where, value, "a list")
        if of[-1] is not ... and len(value) != len(of):
            raise refuse(where, value, f"a list of {len(of)}")
        kinds = of[:1] * len(value) if of[-1] is ... else of
        return tuple(
            record_of(one, part, f"{where}[{k}]") for k, (one, part) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict:
        return {name: record_of(of[1], part, _at(where, name)) for name, part in _table(value, where).items()}
    if kind is bytes:
        try:
            return base64.b64decode(str(value), validate=True)
        except (ValueError, TypeError):
            raise refuse(where, value, "bytes in base64") from None
    fits, wanted = _PLAIN.get(kind, (lambda _: True, ""))
    if not fits(value):
        raise refuse(where, value, wanted)
    return value


def _record(kind: Any, value: Any, where: str) -> Any:
    value, found = _table(value, where), {}
    for name, hint in _hints(kind).items():
        given = value.get(name)
        if given is not None or name in _needed(kind):
            found[name] = record_of(hint, given, _at(where, name))
    try:
        return kind(**found)
    except ValueError as error:
        raise UserError(f"{where}: {error}; {remedy(where)}") from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The type of each field."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


@cache
def _needed(kind: Any) -> set[str]:
    """The fields without a default."""
    return {field.name for field in fields(kind) if field.default is field.default_factory is MISSING}


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} is {type(value).__name__}, not a table of entries; {remedy(where)}")
    return value


def _at(where: str, name: str) -> str:
    return f"{where}: {name}" if where.endswith(".json") else f"{where}.{name}"


def is_number(value: Any) -> bool:
    """Whether a value is a number of a finite float's size; NaN is none, nor is a whole number of 400 digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    int: (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63,
        "an integer of at least 0 and 64 bits",
    ),
    float: (is_number, "a finite number"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    str: (lambda value: isinstance(value, str), "a string"),
}


def plain(value: Any) -> Any:
    """A record, or parts of one, as JSON has it: what is not finite is null; `to_dict` goes first."""
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):  # of numpy
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
