"""What a recipe is: the networks it needs, what is looked at in each, and the exhibit made of what was found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from robustsnn.records.exhibit import Exhibit

if TYPE_CHECKING:
    from robustsnn.data.batches import ImageSet, Splits
    from robustsnn.ground.progress import Progress
    from robustsnn.models import Classifier
    from robustsnn.names.config import Config

Scale: TypeAlias = Literal["digits", "cpu", "full"]
"""Embedded data, minutes on a CPU; the data of the paper and small networks, hours; or its data and settings."""
WORST = "worst case"
"""The column of what stands under all attacks of a suite."""


class RecipeNetwork(Hashable, Protocol):
    """What is trained: a frozen dataclass, say, of what tells two networks of a paper apart."""

    @property
    def data(self) -> str:
        """The data set, for tables."""
        ...

    def name(self) -> str:
        """As a row of a table."""
        ...

    def folder(self, scale: Scale, seed: int) -> str:
        """Of its run; no two networks share one."""
        ...

    def config(self, scale: Scale, seed: int, root: Path | None = None) -> Config:
        """How it is trained; `root` is the folder of data sets at full scale."""
        ...

    def radius(self, eps: int, scale: Scale) -> str:
        """What stands for the paper's radius eps/255 at that scale."""
        ...

    def read_as(self, reading: str) -> RecipeNetwork:
        """The network that another reading of the paper trains in its place, in a folder of its own; UserError for one
        that is not known."""
        ...

    def cost(self) -> tuple[float, float]:
        """Of training, and of a pass over the test images, relative to others: for the order of work and estimates."""
        ...


@dataclass(frozen=True)
class Look:
    """Attacks on a network: a suite at one of the paper's radii (eps/255), with black-box columns if `source` is set.

    `source` is trained like any other network, and attacks crafted on it.
    """

    suite: str
    eps: int
    source: RecipeNetwork | None = None

    @property
    def label(self) -> str:
        """Key of what was found."""
        return f"{self.suite} {self.eps}" + ("" if self.source is None else " black box")


@dataclass(frozen=True)
class Subject:
    """A trained network, its data, and the test images that are looked at."""

    model: Classifier
    data: Splits
    images: ImageSet
    network: RecipeNetwork
    scale: Scale
    seed: int
    progress: Progress


Measure: TypeAlias = Callable[[Subject], Any]
"""A function of a module, whose name names what it finds: plain values, which are kept as JSON."""


@dataclass(frozen=True)
class Need:
    """A network, attacks on it, and what is measured in it."""

    network: RecipeNetwork
    looks: tuple[Look, ...] = ()
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class Setting:
    """At which scale, from which seeds, and on how many test images looks and measures are taken (None: all).

    `reading` says how the networks read their paper, where they know several ways; None is the usual one.
    """

    scale: Scale
    seeds: tuple[int, ...]
    limit: int | None
    command: str
    reading: str | None = None


@dataclass(frozen=True)
class Found:
    """What was found out about a network trained from one seed.

    Args:
        clean: whether each test image is classified correctly.
        looks: by label, then by column of the suite, whether each of the first images stands; `WORST` too.
        measures: by the name of the function.
    """

    clean: list[bool]
    looks: dict[str, dict[str, list[bool]]]
    measures: dict[str, Any]


Results = Mapping[RecipeNetwork, Sequence[Found]]
"""Per network one `Found` for each seed."""


@dataclass(frozen=True)
class Recipe:
    """A table or figure of a paper, or of your own; `robustsnn reproduce` takes any.

    Args:
        name: of its file and its part of the page.
        needs: the networks, given the scale.
        exhibit: made of what was found.
    """

    name: str
    needs: Callable[[Scale], Sequence[Need]]
    exhibit: Callable[[Results, Setting], Exhibit]


def merged(needs: Sequence[Need]) -> list[Need]:
    """Each network once, with all that is needed of it."""
    found: dict[RecipeNetwork, Need] = {}
    for need in needs:
        before = found.get(need.network, Need(need.network))
        looks = tuple(dict.fromkeys((*before.looks, *need.looks)))
        found[need.network] = Need(need.network, looks, tuple(dict.fromkeys((*before.measures, *need.measures))))
        for look in need.looks:
            if look.source is not None:
                found.setdefault(look.source, Need(look.source))
    return list(found.values())
