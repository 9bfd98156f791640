"""How deep the attacks on a model went: the entry `depth` of results.json, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.reporting.fields import items, mapping, number, refuse, text, whole
from robustsnn.reporting.rates import Rate, read_rate


@dataclass(frozen=True)
class Doubling:
    """What twice the passes would break: `broken` of `standing` images, in words of what the last ones broke.

    The last `doublings` (1 or 2) up to `budget` passes an image broke `fell` of `of` standing images.
    """

    budget: int
    doublings: int
    fell: int
    of: int
    standing: int
    broken: float
    interval: tuple[int, int]
    assumption: str


@dataclass(frozen=True)
class Depth:
    """The share that stands by passes an image, the next doubling, and the images that stand at the end.

    `margins`: quantiles 0, 1/4, 1/2, 3/4, 1 of their worst margins; `left`: how many of them keep which tenth of
    their clean margin, from none of it to all. `at_most`: why the worst case is to be read as "at most".
    """

    points: tuple[tuple[int, Rate], ...]
    doubling: Doubling
    margins: tuple[float, ...]
    left: tuple[int, ...]
    at_most: tuple[str, ...]


def read_depth(value: Any, where: str) -> Depth | None:
    """The entry `depth` of a model; None where none was saved. UserError where its figures make no sense."""
    if value is None:
        return None
    value = mapping(value, where)
    points: list[tuple[int, Rate]] = []
    for entry in items(value.get("points"), f"{where}.points"):
        entry = mapping(entry, f"{where}.points")
        passes, rate = whole(entry.get("passes"), f"{where}.points.passes"), read_rate(entry, f"{where}.points")
        if rate is None or passes < 1 or (points and passes <= points[-1][0]):
            raise refuse(f"{where}.points.passes", passes, "above the passes before it, and at least 1")
        points.append((passes, rate))
    if not points:
        raise UserError(f"{where}.points is empty; evaluate the run again")
    stood = mapping(value.get("survivors"), f"{where}.survivors")
    margins = [number(margin, f"{where}.margins") for margin in items(stood.get("margins"), f"{where}.margins")]
    if len(margins) not in (0, 5) or None in margins:
        raise refuse(f"{where}.survivors.margins", margins, "five numbers or none")
    left = tuple(whole(count, f"{where}.left") for count in items(stood.get("left"), f"{where}.left"))
    return Depth(
        points=tuple(points),
        doubling=_doubling(value.get("next_doubling"), f"{where}.next_doubling"),
        margins=tuple(margin for margin in margins if margin is not None),
        left=left,
        at_most=tuple(str(reason) for reason in items(value.get("at_most"), f"{where}.at_most")),
    )


def _doubling(value: Any, where: str) -> Doubling:
    value = mapping(value, where)
    passes = [whole(end, f"{where}.passes") for end in items(value.get("passes"), f"{where}.passes")]
    interval = [whole(end, f"{where}.interval") for end in items(value.get("interval"), f"{where}.interval")]
    if len(passes) != 2:
        raise refuse(f"{where}.passes", passes, "two numbers")
    if len(interval) != 2 or interval[0] > interval[1]:
        raise refuse(f"{where}.interval", interval, "[low, high] in images")
    doublings, fell, of, standing = (
        whole(value.get(k), f"{where}.{k}") for k in ("doublings", "fell", "of", "standing")
    )
    broken = number(value.get("broken"), f"{where}.broken")
    if broken is None or not 0 <= broken <= standing or interval[1] > standing or fell > of:
        raise refuse(f"{where}.broken", broken, f"a number of the {standing} images that stand")
    pair = (interval[0], interval[1])
    return Doubling(passes[0], doublings, fell, of, standing, float(broken), pair, text(value, "assumption"))
