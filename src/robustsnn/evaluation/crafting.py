"""In which precision attacks are crafted; judging is in float32 whatever they say."""

from __future__ import annotations

from typing import Literal, TypeAlias

from robustsnn.attacks.suites import Suite
from robustsnn.ground.errors import UserError

Precision: TypeAlias = Literal["float32", "bfloat16"]

RELIABLE = ("reliable", "exhaustive", "autoattack")
"""Suites whose figure is to be reported: their attacks get exact forward passes too."""


def check_precision(name: Precision, suite: Suite) -> None:
    """UserError for bfloat16 with a suite that is to be relied on."""
    base = suite.name.removesuffix("-merged").removesuffix("-encoded").removesuffix("-8bit")
    if name != "float32" and base in RELIABLE:
        raise UserError(
            f"suite {suite.name!r} with precision={name!r}: it crafts and judges in float32, so that its figure can be "
            f"relied on; leave out the precision, or use another suite, such as quick"
        )
