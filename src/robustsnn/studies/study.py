"""What a study is: something that is measured in a network, saved in one file, and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from robustsnn.records.exhibit import Block
from robustsnn.records.typed import plain

if TYPE_CHECKING:  # a report shows studies without torch
    from robustsnn.attacks.attempt import Attacker
    from robustsnn.data.batches import ImageSet
    from robustsnn.ground.progress import Progress
    from robustsnn.ground.types import Loss
    from robustsnn.models import Classifier
    from robustsnn.neurons import GradientRule
    from robustsnn.studies.trail.record import Statistics

Found = TypeVar("Found")


class Named(Protocol):
    """A network on a page: its name, and the number of its colour."""

    @property
    def name(self) -> str: ...

    @property
    def colour(self) -> int: ...


@dataclass(frozen=True)
class NamedNetwork:
    """A network where there is no page."""

    name: str
    colour: int = 0


Shown: TypeAlias = Sequence[tuple[Named, Found]]
"""What was found in each of several networks."""


@dataclass(frozen=True)
class Task:
    """A network, images, and what the options of `robustsnn analyze` say; see `analyze`.

    Args:
        macs: multiply-accumulates of one forward pass of one image.
        work: so many a study may spend.
        mac, ac: joule.
        statistics: of batch norms in the trail.
        sigma, draws: of the noise of smoothing.
    """

    model: Classifier
    images: ImageSet
    macs: float
    work: float
    loss: Loss
    attack: Attacker | None
    rule: GradientRule | None
    statistics: Statistics
    radii: tuple[float, ...]
    mac: float
    ac: float
    sigma: tuple[float, ...]
    draws: int
    batch_size: int
    seed: int
    progress: Progress

    def some(self, passes: float, least: int) -> ImageSet:
        """As many first images as the work allows, and at least so many.

        `passes`: what an image costs, in forward passes that take as long (measured on a WRN-16-4 on a CPU).
        """
        cost = max(1.0, self.macs * passes)  # of layers that nobody counts there are none
        return self.images.take(min(len(self.images), max(least, int(self.work / cost))))

    def ask(self, measure: Callable[..., Found], images: ImageSet, **options: Any) -> Found:
        """What a measurement finds in the network at these images, with what every one is told."""
        told = {"batch_size": self.batch_size, "seed": self.seed, "progress": self.progress}
        return measure(self.model, images, **told, **options)


@dataclass(frozen=True)
class Study(Generic[Found]):
    """What is measured, saved and shown. Only `measure` may need torch, and imports it inside.

    What a registered study saved is read and shown by the study itself, so that networks stand side by side. Of a study
    of your own the blocks are saved too, and a report needs no more than these.

    Args:
        title: of its section.
        measure: looks into the network. What it finds, a dict, a dataclass or with `to_dict()`, is written as JSON.
        blocks: what is shown of several networks, in the order of the page.
        read: what was written; UserError, with the entry, where it makes no sense. A study of your own needs none.
        card: title and sentences for a model card; default the words of its blocks.
        arrays: what is written beside it, as arrays.
        brief: the title in the list of sections.
        weight: about how long it takes, for the progress.
    """

    title: str
    measure: Callable[[Task], Found]
    blocks: Callable[[Shown[Any]], list[Block]] = lambda shown: []
    read: Callable[[Path], Any] | None = None
    card: Callable[[Named, Any], tuple[str, list[str]]] | None = None
    arrays: Callable[[Found], dict[str, Any]] | None = None
    brief: str = ""
    weight: float = 1.0


class Summarised:
    """What was measured, of which a record is saved: less than there is in memory."""

    def record(self) -> Any:
        """What is saved."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as saved; what is undefined is None."""
        return plain(self.record())
