"""Records from files: a frozen dataclass is read by the types of its fields, and each refusal names file and entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from robustsnn.ground.errors import UserError
from robustsnn.reporting.fields import items, mapping, number, refuse, truth, whole

Record = TypeVar("Record")


def read_record(kind: type[Record], path: Path, schema: int = 1) -> Record:
    """The record in a JSON file. UserError where it is none, of another schema, or an entry makes no sense."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); analyse the run again") from error
    value = mapping(value, str(path))
    if value.get("schema", 1) != schema:
        raise refuse(f"{path}: schema", value["schema"], f"{schema}, which this report reads")
    return record_of(kind, value, str(path))


def record_of(kind: Any, value: Any, where: str) -> Any:
    """A value of that type: a dataclass, a tuple of any length, a union with None, a choice, or a plain type."""
    if is_dataclass(kind):
        value, hints = mapping(value, where), get_type_hints(kind)
        at = f"{where}: " if where.endswith(".json") else f"{where}."
        return kind(**{f.name: record_of(hints[f.name], value.get(f.name), at + f.name) for f in fields(kind)})  # type: ignore[operator]
    if get_origin(kind) in (Union, UnionType):
        (other,) = (choice for choice in get_args(kind) if choice is not NoneType)
        return None if value is None else record_of(other, value, where)
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise refuse(where, value, f"one of {', '.join(get_args(kind))}")
    if get_origin(kind) is tuple:
        if value is None:
            raise refuse(where, None, "a list")
        of = get_args(kind)[0]
        return tuple(record_of(of, part, f"{where}[{k}]") for k, part in enumerate(items(value, where)))
    if kind is str and not isinstance(value, str):
        raise refuse(where, value, "a string")
    if kind is float and value is None:
        raise refuse(where, None, "a number")
    check = _CHECKS.get(kind)
    return value if check is None else check(value, where)


_CHECKS: dict[Any, Callable[[Any, str], Any]] = {int: whole, float: number, bool: truth}
