"""A table of an exhibit: our figures with intervals, the published ones beside them; for the page and as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.draw.files import Download, download
from robustsnn.draw.tables import Cell as Text
from robustsnn.draw.tables import TextTable
from robustsnn.records import exhibit

DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Shown:
    """A cell in words; `value` sorts its column. What is empty is not shown."""

    value: str
    ours: str
    interval: str
    n: str
    published: str


@dataclass(frozen=True)
class TableView:
    """A table as the page shows it: rows by group, and a note about what is small or pale in it."""

    table: exhibit.Table
    groups: list[tuple[str, list[tuple[str, list[Shown]]]]]
    note: str
    files: list[Download]


def table_view(table: exhibit.Table, stem: str) -> TableView:
    """The table in words, and as CSV and LaTeX under the name `stem`."""
    cells = [cell for row in table.rows for cell in row.cells]
    places = _places(table)
    counts = {cell.n for cell in cells if cell.n is not None}
    common = counts.pop() if len(counts) == 1 else None
    groups: dict[str, list[tuple[str, list[Shown]]]] = {}
    for row in table.rows:
        padded = [*row.cells, *[exhibit.Cell()] * (len(table.columns) - len(row.cells))]
        shown = [_shown(cell, digits, common is None) for cell, digits in zip(padded, places, strict=False)]
        groups.setdefault(row.group, []).append((row.label, shown))
    parts = [f"In {table.unit}."] if table.unit else []
    parts += ["In brackets the 95 % interval."] if any(cell.interval for cell in cells) else []
    some = any(cell.n is None for cell in cells if _known(cell.ours))
    parts += [f"n = {common}{' where there is an interval' if some else ''}."] if common is not None else []
    parts += ["Paper: as published."] if any(_known(cell.published) for cell in cells) else []
    files = [download(f"{stem}.csv", _figures(table).csv()), download(f"{stem}.tex", _words(table).latex(table.title))]
    return TableView(table, list(groups.items()), " ".join(parts), files)


def figure_text(value: float, decimals: int) -> str:
    """A figure with so many decimals and a proper minus; zero has no sign."""
    text = f"{value:.{decimals}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", "\N{MINUS SIGN}")


def _places(table: exhibit.Table) -> list[int]:
    """Decimals of each column: four digits of its largest figure and two of its smallest, at most the table's."""
    places = []
    for k in range(len(table.columns)):
        cells = [row.cells[k] for row in table.rows if k < len(row.cells)]
        sizes = [abs(v) for cell in cells for v in (cell.ours, cell.published) if v is not None and _known(v) and v]
        wanted = 0
        if sizes:
            most, least = math.floor(math.log10(max(sizes))), math.floor(math.log10(min(sizes)))
            wanted = max(0, 3 - most, 1 - least)
        places.append(min(table.decimals, wanted))
    return places


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _shown(cell: exhibit.Cell, decimals: int, count: bool) -> Shown:
    ours, published = cell.ours, cell.published
    by = ours if ours is not None and _known(ours) else published
    return Shown(
        value="" if by is None or not _known(by) else f"{by:.12g}",
        ours=figure_text(ours, decimals) if ours is not None and _known(ours) else "",
        interval=_interval(cell.interval, decimals),
        n=f"n = {cell.n}" if count and cell.n is not None else "",
        published=figure_text(published, decimals) if published is not None and _known(published) else "",
    )


def _interval(ends: exhibit.Interval | None, decimals: int) -> str:
    if ends is None:
        return ""
    return f"[{figure_text(ends[0], decimals)}, {figure_text(ends[1], decimals)}]"


def _figures(table: exhibit.Table) -> TextTable:
    """Complete numbers, one column per part of a figure."""
    parts = ("", " low", " high", " n", " paper")
    unit = f" ({table.unit})" if table.unit else ""
    headers = ["group", table.head or "row", *(f"{name}{unit}{part}" for name in table.columns for part in parts)]
    rows: list[Sequence[Text]] = []
    for row in table.rows:
        line: list[Text] = [row.group, row.label]
        for cell in row.cells:
            low, high = cell.interval or (None, None)
            line += [cell.ours, low, high, cell.n, cell.published]
        rows.append(line + [None] * (len(headers) - len(line)))
    return TextTable(headers, rows)


def _words(table: exhibit.Table) -> TextTable:
    """As it would be printed: our figure, and the published one in parentheses."""
    places = _places(table)
    rows: list[Sequence[Text]] = []
    for row in table.rows:
        label = f"{row.group}: {row.label}" if row.group else row.label
        cells = [_shown(cell, digits, False) for cell, digits in zip(row.cells, places, strict=False)]
        printed = [f"{c.ours or DASH}{f' ({c.published})' if c.published else ''}" for c in cells]
        rows.append([label, *printed, *[DASH] * (len(table.columns) - len(cells))])
    unit = f" ({table.unit})" if table.unit else ""
    return TextTable([table.head, *(f"{name}{unit}" for name in table.columns)], rows)
