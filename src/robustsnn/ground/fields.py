"""Whether the fields of a dataclass are what its annotations say: one check for everything that people make."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

from robustsnn.ground.annotations import fits, words
from robustsnn.ground.door import said_of
from robustsnn.ground.errors import UserError


def check_fields(made: Any) -> None:
    """UserError, in one line, where a field of a dataclass does not fit its annotation. For its `__post_init__`."""
    kind = type(made)
    for name, annotation in _annotations(kind).items():
        value = getattr(made, name)
        if not fits(value, annotation):
            raise UserError(f"{kind.__name__}({name}={said_of(value)}): allowed is {words(annotation)}")


@cache
def _annotations(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}
