"""A share of images with its interval, read from a saved file and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustsnn.reporting.fields import items, mapping, number, refuse, truth


@dataclass(frozen=True)
class Rate:
    """A share of `n` images classified correctly, with its 95 % interval where one was saved.

    `at_most`: attacks were still breaking images when they ended, so the share is to be read as "at most".
    """

    accuracy: float
    interval: tuple[float, float] | None
    n: int | None
    at_most: bool = False


def read_rate(value: Any, where: str) -> Rate | None:
    """The rate at `where`; None where none was saved."""
    if value is None:
        return None
    value = mapping(value, where)
    pair = value.get("interval")
    interval = None
    if pair is not None:
        ends = [number(end, f"{where}.interval") for end in items(pair, f"{where}.interval")]
        if len(ends) != 2 or ends[0] is None or ends[1] is None or not 0 <= ends[0] <= ends[1] <= 1:
            raise refuse(f"{where}.interval", pair, "[low, high] in [0, 1]")
        interval = (ends[0], ends[1])
    n = number(value.get("n"), f"{where}.n")
    at_most = truth(value.get("at_most", False), f"{where}.at_most")
    return Rate(
        read_share(value.get("accuracy"), f"{where}.accuracy"), interval, None if n is None else int(n), at_most
    )


def read_share(value: Any, where: str) -> float:
    """A number from 0 to 1."""
    share = number(value, where)
    if share is None or not 0 <= share <= 1:
        raise refuse(where, value, "a share in [0, 1]")
    return share
