"""What a recipe is: the networks it needs, what is looked at in each, and the exhibit made of what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustsnn.recipes.networks import Network, Scale
from robustsnn.records.exhibit import Exhibit


@dataclass(frozen=True)
class Look:
    """Attacks on a network: a suite at one of the papers' radii (eps/255), with black-box columns if `source` is set.

    `source` is trained like any other network, and attacks crafted on it.
    """

    suite: str
    eps: int
    source: Network | None = None

    @property
    def label(self) -> str:
        """Key of what was found."""
        return f"{self.suite} {self.eps}" + ("" if self.source is None else " black box")


@dataclass(frozen=True)
class Need:
    """A network, attacks on it, and analyses of it by name, see `measures.MEASURES`."""

    network: Network
    looks: tuple[Look, ...] = ()
    measures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """At which scale, from which seeds, and on how many test images looks and measures are taken (None: all)."""

    scale: Scale
    seeds: tuple[int, ...]
    limit: int | None
    command: str


@dataclass(frozen=True)
class Found:
    """What was found out about a network trained from one seed.

    Args:
        clean: whether each test image is classified correctly.
        looks: by label, then by column of the suite, whether each of the first images stands; "worst case" too.
        measures: by name.
    """

    clean: list[bool]
    looks: dict[str, dict[str, list[bool]]]
    measures: dict[str, Any]


Results = Mapping[Network, Sequence[Found]]
"""Per network one `Found` for each seed."""


@dataclass(frozen=True)
class Recipe:
    """A table or figure of a paper.

    Args:
        name: on the command line.
        needs: the networks, given the scale.
        exhibit: made of what was found.
    """

    name: str
    needs: Callable[[Scale], Sequence[Need]]
    exhibit: Callable[[Results, Setting], Exhibit]


def merged(needs: Sequence[Need]) -> list[Need]:
    """Each network once, with all that is needed of it."""
    found: dict[Network, Need] = {}
    for need in needs:
        before = found.get(need.network, Need(need.network))
        looks = tuple(dict.fromkeys((*before.looks, *need.looks)))
        found[need.network] = Need(need.network, looks, tuple(dict.fromkeys((*before.measures, *need.measures))))
        for look in need.looks:
            if look.source is not None:
                found.setdefault(look.source, Need(look.source))
    return list(found.values())
