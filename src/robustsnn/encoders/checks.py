"""One check for the counts that encoders are made with."""

from __future__ import annotations

from robustsnn.ground.door import said_of
from robustsnn.ground.errors import UserError

_MOST = (1 << 31) - 1


def integer(encoder: str, name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """`value` if it is an integer in [least, most], else UserError."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= (most or _MOST):
        bounds = f">= {least}" if most is None else f"in {least} .. {most}"
        raise UserError(f"{encoder}({name}={said_of(value)}): must be an integer {bounds}")
    return value
