"""The evaluation of models, `results.json`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from robustsnn.ground.files import write_json
from robustsnn.ground.provenance import versions
from robustsnn.records.typed import Must, Positive, Share, plain, read_record, record_of
from robustsnn.statistics.paired import mcnemar

SCHEMA = 2
FIRST = "first broken by"


@dataclass(frozen=True)
class Right:
    """Which of n images are right, so that two models can be compared image by image.

    `images`: a digest of images and labels. `bits`: a digit 0 or 1 for each, in hexadecimal, the first image highest.
    """

    images: str
    n: Positive
    bits: Annotated[str, Must(lambda text: set(text) <= set("0123456789abcdef"), "hexadecimal digits")]

    def __post_init__(self) -> None:
        if len(self.bits) != math.ceil(self.n / 4) or self.number >> self.n:
            raise ValueError(f"bits: {len(self.bits)} digits are not those of {self.n} images")

    @property
    def number(self) -> int:
        """All bits as one number."""
        return int(self.bits, 16)

    @staticmethod
    def of(images: str, right: Iterable[bool]) -> Right:
        """From a truth value per image."""
        text = "".join("1" if hit else "0" for hit in right)
        return Right(images, len(text), f"{int(text, 2):0{math.ceil(len(text) / 4)}x}")

    def first(self, n: int, images: str) -> Right:
        """Of the first n images, whose digest that is."""
        return Right(images, n, f"{self.number >> (self.n - n):0{math.ceil(n / 4)}x}")

    def against(self, other: Right) -> float | None:
        """p-value of McNemar's exact test that both are right as often; None for other images."""
        return None if (self.images, self.n) != (other.images, other.n) else mcnemar(*self.alone(other))

    def alone(self, other: Right) -> tuple[int, int]:
        """How many images this one gets right and the other does not, and the reverse."""
        return (self.number & ~other.number).bit_count(), (other.number & ~self.number).bit_count()


@dataclass(frozen=True)
class Accuracy:
    """A share of `n` images classified correctly, with its 95 % interval where one was saved.

    `at_most`: attacks were still breaking images when they ended, so that more of them would lower it.
    `right`: which images these are, where it was saved.
    """

    accuracy: Share
    interval: Annotated[tuple[Share, Share], Must(lambda ends: ends[0] <= ends[1], "[low, high]")] | None = None
    n: int | None = None
    at_most: bool = False
    right: Right | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __str__(self) -> str:
        ends = "" if self.interval is None else " [{:.1f}, {:.1f}]".format(*(100 * end for end in self.interval))
        return f"{'at most ' if self.at_most else ''}{100 * self.accuracy:.1f} %{ends}"


@dataclass(frozen=True)
class At(Accuracy):
    """The worst case at a radius."""

    eps: float = field(kw_only=True)


@dataclass(frozen=True)
class AttackResult(Accuracy):
    """One member of the suite: what stood after it, what it met, what it broke, and passes per image that it met."""

    label: str = ""
    black_box: bool = False
    column: str = ""
    attacked: int | None = None
    broken: int | None = None
    forwards: float | None = None
    backwards: float | None = None
    zero_gradients: int | None = None
    nan_gradients: int | None = None


@dataclass(frozen=True)
class CheckResult:
    """A check that was made: what it found, whether and when it raises, why that matters and what to do.

    `masking`: robustness may be an artefact; else it is a note on the evaluation. One that does not say counts as the
    former.
    """

    name: str = ""
    masking: bool = True
    raised: bool = False
    value: float | None = None
    message: str = ""
    raised_if: str = ""
    why: str = ""
    todo: str = ""

    @property
    def found(self) -> str:
        """What it found, in words."""
        return self.message or ("" if self.value is None else f"{self.value:.4g}")


@dataclass(frozen=True)
class DrawnAccuracy:
    """Accuracy of a stochastic model at its worst points, over `n` fresh draws."""

    n: int
    mean: Share
    std: Share
    least: Share
    most: Share


@dataclass(frozen=True)
class Group:
    """How many images exactly these sets broke, by their places in `Breaks.sets`."""

    members: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Breaks:
    """Which sets of attacks broke the same of `n` images."""

    what: str = ""
    sets: tuple[str, ...] = ()
    n: int = 0
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        for group in self.groups:
            if any(member >= len(self.sets) for member in group.members):
                raise ValueError(f"members {list(group.members)} are not all places below {len(self.sets)}")
        if (total := sum(group.count for group in self.groups)) > self.n:
            raise ValueError(f"n = {self.n} is not at least {total}, the images in its groups")

    def sizes(self) -> list[int]:
        """How many images each set broke."""
        return [sum(group.count for group in self.groups if k in group.members) for k in range(len(self.sets))]

    def largest(self) -> list[Group]:
        """The groups that something broke, by count; ties in the order of the sets."""
        some = (group for group in self.groups if group.members and group.count)
        return sorted(some, key=lambda group: (-group.count, sorted(group.members)))


@dataclass(frozen=True)
class Passes(Accuracy):
    """The share that stands after so many passes an image."""

    passes: Positive = field(kw_only=True)


@dataclass(frozen=True)
class Doubling:
    """What twice the passes would break: `broken` of `standing` images, in words of what the last ones broke.

    `passes` are those of now, and twice as many. In the last `doublings` (1 or 2) an image broke `fell` of `of`.
    """

    passes: tuple[int, int]
    doublings: int
    fell: int
    of: int
    standing: int
    broken: float
    interval: Annotated[tuple[int, int], Must(lambda ends: ends[0] <= ends[1], "[low, high] in images")]
    assumption: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.broken <= self.standing or self.interval[1] > self.standing or self.fell > self.of:
            raise ValueError(f"broken = {self.broken} is not a number of the {self.standing} images that stand")


@dataclass(frozen=True)
class Survivors:
    """Of the images that stand at the end: quantiles 0, 1/4, 1/2, 3/4, 1 of their worst margins, and `left`, how many
    keep which tenth of their clean margin, from none of it to all."""

    n: int = 0
    margins: Annotated[tuple[float, ...], Must(lambda five: len(five) in (0, 5), "five numbers or none")] = ()
    left: tuple[int, ...] = ()


@dataclass(frozen=True)
class Depth:
    """How deep the attacks went: what stands by passes, the next doubling, the survivors.

    `at_most`: why the worst case is to be read as "at most".
    """

    points: Annotated[tuple[Passes, ...], Must(bool, "at least one point")]
    next_doubling: Doubling
    survivors: Survivors
    at_most: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        passes = [point.passes for point in self.points]
        if passes != sorted(set(passes)):
            raise ValueError(f"points: passes {passes} do not rise")


@dataclass(frozen=True)
class Rounded:
    """How many of so many broken images stand again on 8 bits."""

    standing: int
    of: int


@dataclass(frozen=True)
class Cost:
    """Passes in all."""

    forwards: float | None = None
    backwards: float | None = None


@dataclass(frozen=True)
class Precision:
    """What attacks were crafted in, and judged in; "" where it was not saved."""

    crafting: str = ""
    judging: str = ""


@dataclass(frozen=True)
class Result:
    """Everything measured on one model.

    `space`: "" where it was not saved. `survivors_only`: every attack met only what all before it left; else every
    column starts anew. `levels`: of a threat on grey levels. `flags`: the checks that raised. `weights`: their digest.
    `sources`: of transferred attacks. `about`: what was known of the suite.
    """

    clean: Accuracy | None = None
    suite: str = ""
    norm: str = ""
    eps: float | None = None
    space: Literal["pixel", "encoded", ""] = ""
    survivors_only: bool = False
    columns: dict[str, Accuracy] = field(default_factory=dict)
    attacks: dict[str, AttackResult] = field(default_factory=dict)
    breaks: Breaks | None = None
    worst_case: Accuracy | None = None
    curve: tuple[At, ...] = ()
    flags: tuple[CheckResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    draws: DrawnAccuracy | None = None
    cost: Cost = Cost()
    precision: Precision = Precision()
    passes: int | None = None
    levels: int | None = None
    rounded: Rounded | None = None
    depth: Depth | None = None
    seed: int | None = None
    weights: str = ""
    sources: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The models of one `results.json`, and the versions they were measured with."""

    models: dict[str, Result] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(path: Path) -> Results:
        """Read `path`. UserError, with the entry, where it makes no sense, or is of another schema."""
        return read_record(Results, path, SCHEMA)

    @staticmethod
    def write(path: Path, models: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Write entries of models, once they are known to be readable, with the versions of now; returns all of it."""
        content = plain({"schema": SCHEMA, "models": models, "versions": versions()})
        record_of(Results, content, str(path))
        write_json(path, content)
        return content
