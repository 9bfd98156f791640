"""Entries of a saved file, checked for kind; each refusal names the file and the entry in one line."""

from __future__ import annotations

import math
import re
from typing import Any

from robustsnn.ground.errors import UserError

_ANALYSIS = re.compile(r"analysis[/\\]\w+\.")


def remedy(where: str) -> str:
    """What makes the file anew that `where` names."""
    return f"{'analyse' if _ANALYSIS.search(where) else 'evaluate'} the run again"


def refuse(where: str, value: Any, wanted: str) -> UserError:
    """The error for the entry `where` that holds `value` instead of `wanted`."""
    return UserError(f"{where} = {value!r:.80} is not {wanted}; {remedy(where)}")


def number(value: Any, where: str) -> float | None:
    """A finite number, or None where none was saved."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise refuse(where, value, "a finite number")
    return value


def whole(value: Any, where: str) -> int:
    """An integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise refuse(where, value, "an integer of at least 0")
    return value


def truth(value: Any, where: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise refuse(where, value, "true or false")
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A table of entries."""
    if not isinstance(value, dict):
        raise UserError(f"{where} is {type(value).__name__}, not a table of entries; {remedy(where)}")
    return value


def items(value: Any, where: str) -> list[Any]:
    """A list; empty where none was saved."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(f"{where} is {type(value).__name__}, not a list; {remedy(where)}")
    return value


def text(entry: dict[str, Any], key: str) -> str:
    """What stands under `key`, as a string; empty where nothing does."""
    value = entry.get(key)
    return "" if value is None else str(value)
