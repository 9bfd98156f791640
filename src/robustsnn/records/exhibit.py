"""What a page can show, as plain values: tables beside published figures, charts, pictures, claims.

Who computes something makes these values and saves them; the report draws them, without knowing what they are about.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_json

Interval: TypeAlias = tuple[float, float]
Style: TypeAlias = Literal["line", "dashed", "points"]
Verdict: TypeAlias = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Cell:
    """One figure of ours, with its 95 % interval over n samples, and the published one beside it.

    None where there is none. Both are in the unit of the table (accuracies are in percent).
    """

    ours: float | None = None
    interval: Interval | None = None
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
    x: tuple[float, ...]
    y: tuple[float, ...]
    band: tuple[Interval | None, ...] = ()
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


Block: TypeAlias = Table | Chart | Pictures | Words
_BLOCKS: dict[str, Any] = {"table": Table, "chart": Chart, "pictures": Pictures, "words": Words}


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
        scale: "digits" or "full".
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
        write_json(path, _plain(asdict(self) | {"schema": 1, "blocks": [_tagged(block) for block in self.blocks]}))

    @staticmethod
    def load(path: Path) -> Exhibit:
        """What `save` wrote. UserError for anything else."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("schema") != 1:
                raise ValueError("another schema")
            blocks = tuple(_block(block) for block in value.pop("blocks"))
            claims = tuple(Claim(**claim) for claim in value.pop("claims"))
            rest = {name: _tuples(part) for name, part in value.items()}
            return Exhibit(blocks=blocks, claims=claims, **rest)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} is not a saved exhibit ({error}); make it again") from error


def _tagged(block: Block) -> dict[str, Any]:
    kind = next(name for name, made in _BLOCKS.items() if isinstance(block, made))
    return {"kind": kind, **asdict(block)}


def _plain(value: Any) -> Any:
    """JSON has no bytes, no NaN and no infinity: base64 and null stand for them."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _block(value: dict[str, Any]) -> Block:
    kind = value.pop("kind")
    parts = {name: _tuples(part) for name, part in value.items() if name not in ("rows", "lines")}
    if kind == "table":
        rows = [Row(r["label"], tuple(_cell(cell) for cell in r["cells"]), r["group"]) for r in value["rows"]]
        return Table(rows=tuple(rows), **parts)
    if kind == "chart":
        return Chart(lines=tuple(_line(line) for line in value["lines"]), **parts)
    if kind == "pictures":
        rows = [(label, tuple(_picture(shot) for shot in shots)) for label, shots in value["rows"]]
        return Pictures(rows=tuple(rows), **parts)
    return _BLOCKS[kind](**parts)


def _cell(value: dict[str, Any]) -> Cell:
    interval = _ends(value.pop("interval"))
    return Cell(interval=interval, **value)


def _line(value: dict[str, Any]) -> Line:
    x, y = (tuple(float("nan") if part is None else part for part in value.pop(axis)) for axis in "xy")
    band = tuple(_ends(pair) for pair in value.pop("band"))
    return Line(x=x, y=y, band=band, **value)


def _ends(pair: list[Any] | None) -> Interval | None:
    """An interval; one of which an end is not known is none."""
    return None if pair is None or None in pair else (pair[0], pair[1])


def _picture(value: dict[str, Any]) -> Picture:
    return Picture(base64.b64decode(value["png"], validate=True), value["caption"])
