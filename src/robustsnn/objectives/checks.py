"""Checks that the arguments of objectives share."""

from __future__ import annotations

import math

from robustsnn.ground.errors import UserError


def wrappable(owner: object, over: object) -> None:
    """UserError unless `over` says at which inputs it trains and what it asks there, as objectives to be wrapped do."""
    if not (hasattr(over, "inputs") and hasattr(over, "terms")):
        raise UserError(
            f"{type(owner).__name__}(over={over!r}): {type(over).__name__} cannot be wrapped; allowed is an "
            f"objective with inputs and terms, Natural or Adversarial"
        )


def not_negative(owner: object, **values: float) -> None:
    """UserError unless all are finite numbers >= 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{type(owner).__name__}({name}={value!r}): allowed is a number >= 0")


def positive(owner: object, **values: float) -> None:
    """UserError unless all are finite numbers > 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{type(owner).__name__}({name}={value!r}): allowed is a number > 0")
