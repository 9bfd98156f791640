"""What a page can show, as plain values: tables beside published figures, charts, pictures, claims.

Who computes something makes these values and saves them; the report draws them, without knowing what they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_json
from robustsnn.records.typed import PAIR, Gap, plain, read_json, record_of

Interval: TypeAlias = tuple[float, float]
Ends: TypeAlias = Annotated[Interval | None, PAIR]
"""An interval; None where there is none, or one of its ends is not known."""
Style: TypeAlias = Literal["line", "dashed", "points"]
Verdict: TypeAlias = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Cell:
    """One figure of ours, with its 95 % interval over n samples, and the published one beside it.

    None where there is none. Both are in the unit of the table (accuracies are in percent).
    """

    ours: float | None = None
    interval: Ends = None
    n: int | None = None
    published: float | None = None


@dataclass(frozen=True)
class Row:
    """A line of a table: what it is about, and a cell per column. Rows of one group stand together."""

    label: str
    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """Rows and columns of figures; `unit` is written once, and figures have so many decimals."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str = "%"
    decimals: int = 1
    head: str = ""


@dataclass(frozen=True)
class Line:
    """Points (x, y), joined or not. `band`: 95 % interval of each y, or none at all. NaN is a gap.

    Lines with the same number as `colour` look alike; without one each has its own.
    """

    name: str
    x: tuple[Gap, ...]
    y: tuple[Gap, ...]
    band: tuple[Ends, ...] = ()
    style: Style = "line"
    colour: int | None = None

    def __post_init__(self) -> None:
        if len(self.y) != len(self.x) or len(self.band) not in (0, len(self.x)):
            raise ValueError(f"{self.name}: {len(self.x)} x, {len(self.y)} y and {len(self.band)} intervals")
        if self.style not in get_args(Style):
            raise ValueError(f"{self.name}: style {self.style!r}")


@dataclass(frozen=True)
class Chart:
    """Lines over two axes. A log axis has positive values only; percent axes hold shares from 0 to 1.

    `x_names` says in words what some x are, such as the operation at a position or "8/255".
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_log: bool = False
    y_log: bool = False
    percent: bool = False
    x_names: tuple[tuple[float, str], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Bar:
    """A row of `Bars`. `tip`: what is said of it; of rows of a number as `colour` each looks like the others.

    `members`: places in `Bars.sets`. `parts`: lengths, one after the other. `points`: figures.
    """

    label: str
    parts: tuple[float, ...] = ()
    points: tuple[Cell, ...] = ()
    members: tuple[int, ...] = ()
    tip: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Bars:
    """Rows from top to bottom: bars of named parts, or points with intervals; percent axes hold shares from 0 to 1.

    Of two kinds of points the first is hollow. Where there are `sets`, a row shows which of these it belongs to.
    `size` is the number of characters that labels get at most.
    """

    title: str
    x_label: str
    rows: tuple[Bar, ...]
    parts: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    x_log: bool = False
    percent: bool = False
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An image as a PNG file, and what stands below it."""

    png: bytes
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """A grid of images: a row per subject, a column per view."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    caption: str = ""


@dataclass(frozen=True)
class Words:
    """Paragraphs, below a title if there is one."""

    paragraphs: tuple[str, ...]
    title: str = ""


Block: TypeAlias = Table | Chart | Bars | Pictures | Words
_BLOCKS: dict[str, Any] = {"table": Table, "chart": Chart, "bars": Bars, "pictures": Pictures, "words": Words}


@dataclass(frozen=True)
class Claim:
    """What a paper says, whether it is so in our figures, and by which of them."""

    text: str
    verdict: Verdict
    because: str

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"verdict {self.verdict!r}")


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of a paper, made again.

    Args:
        name: as on the command line, "p1-table2".
        title: one line about what it shows.
        source: where the original stands, "table 2 of ...".
        scale: "digits", "cpu" or "full".
        blocks: what is shown, in order.
        claims: what the paper concludes from it.
        notes: what differs from the original, and limits.
        made: how: command, seeds, versions, by name.
    """

    name: str
    title: str
    source: str
    scale: str
    blocks: tuple[Block, ...]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    made: tuple[tuple[str, str], ...] = ()

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, {**plain(self), "schema": 1, "blocks": written_blocks(self.blocks)})

    @staticmethod
    def load(path: Path) -> Exhibit:
        """What `save` wrote. UserError for anything else."""
        try:
            value = read_json(path)
            if value.pop("schema", None) != 1:
                raise ValueError("another schema")
            blocks = read_blocks(value["blocks"])
            if more := value.keys() - {field.name for field in fields(Exhibit)}:
                raise ValueError(f"{', '.join(sorted(more))} is unknown")
            return replace(record_of(Exhibit, value | {"blocks": []}, "exhibit"), blocks=blocks)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is not a saved exhibit ({error}); make it again") from error


def written_blocks(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """As plain values, for a file."""
    kinds = {made: kind for kind, made in _BLOCKS.items()}
    return [{"kind": kinds[type(block)], **plain(block)} for block in blocks]


def read_blocks(value: list[dict[str, Any]]) -> tuple[Block, ...]:
    """What `written_blocks` made; any other value raises an error of some kind."""
    return tuple(record_of(_BLOCKS[block["kind"]], block, f"blocks[{k}]") for k, block in enumerate(value))
