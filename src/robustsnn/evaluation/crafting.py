"""In which precision attacks are crafted; judging is in float32 whatever they say."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from robustsnn.attacks.suites import Suite
from robustsnn.ground.errors import UserError

Precision: TypeAlias = Literal["float32", "bfloat16"]

RELIABLE = ("reliable", "exhaustive", "autoattack")
"""Suites whose figure is to be reported: their attacks get exact forward passes too."""


def check_precision(name: str, suite: Suite) -> None:
    """UserError for a precision that there is not, and for bfloat16 with a suite that is to be relied on."""
    if name not in get_args(Precision):
        raise UserError(f"precision={name!r}: allowed are {', '.join(map(repr, get_args(Precision)))}")
    base = suite.name.removesuffix("-merged").removesuffix("-encoded").removesuffix("-8bit")
    if name != "float32" and base in RELIABLE:
        raise UserError(
            f"suite {suite.name!r} with precision={name!r}: it crafts and judges in float32, so that its figure can be "
            f"relied on; leave out the precision, or use another suite, such as quick"
        )
