"""Which set of attacks broke which images: read, checked and put in order for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from robustsnn.reporting.fields import items, mapping, refuse, whole

FIRST = "first broken by"

Group: TypeAlias = tuple[frozenset[int], int]
"""Positions of the sets that broke the same images, and how many images."""


@dataclass(frozen=True)
class Breaks:
    """Of `n` images, `groups` maps a set of attacks (positions in `sets`) to how many exactly those broke."""

    what: str
    sets: list[str]
    n: int
    groups: dict[frozenset[int], int]

    def sizes(self) -> list[int]:
        """How many images each set broke."""
        return [sum(count for members, count in self.groups.items() if k in members) for k in range(len(self.sets))]

    def broken(self) -> int:
        """How many images were broken by anything."""
        return sum(self.groups.values())

    def largest(self, most: int) -> tuple[list[Group], list[Group]]:
        """The `most` largest groups by count, and the others; ties in the order of the sets."""
        ordered = sorted(self.groups.items(), key=lambda group: (-group[1], sorted(group[0])))
        return ordered[:most], ordered[most:]


def read_breaks(value: Any, where: str) -> Breaks | None:
    """The entry `breaks` of a model; None where none was saved. UserError where the counts make no sense."""
    if value is None:
        return None
    value = mapping(value, where)
    sets = [str(name) for name in items(value.get("sets"), f"{where}.sets")]
    groups: dict[frozenset[int], int] = {}
    total = 0
    for entry in items(value.get("groups"), f"{where}.groups"):
        entry = mapping(entry, f"{where}.groups")
        members = [whole(member, f"{where}.members") for member in items(entry.get("members"), f"{where}.members")]
        if any(member >= len(sets) for member in members):
            raise refuse(f"{where}.members", members, f"a list of positions below {len(sets)}")
        count = whole(entry.get("count"), f"{where}.count")
        total += count
        if members and count:
            groups[frozenset(members)] = groups.get(frozenset(members), 0) + count
    n = whole(value.get("n"), f"{where}.n")
    if total > n:
        raise refuse(f"{where}.n", n, f"at least {total}, the images in its groups")
    return Breaks(str(value.get("what") or ""), sets, n, groups)
