"""Exhibits and blocks as plain text, for the terminal."""

from __future__ import annotations

from robustsnn.records.exhibit import Block, Cell, Chart, Exhibit, Line, Row, Table, Words

_LONG = 24  # rows
_SIGNS = {"holds": "[x]", "does not hold": "[ ]", "undecided": "[?]"}


def plain(exhibit: Exhibit) -> str:
    """Tables with the published figures in brackets, the points of charts, and the claims with their verdicts."""
    parts = [f"{exhibit.title}\n{exhibit.source}; {exhibit.scale} scale"]
    for block in exhibit.blocks:
        if isinstance(block, Table):
            parts.append(_table(block, "; in brackets what the paper reports"))
        elif isinstance(block, Chart):
            parts.append(_chart(block))
    for claim in exhibit.claims:
        parts.append(f"{_SIGNS[claim.verdict]} {claim.verdict}: {claim.text}\n    {claim.because}")
    parts += [f"* {note}" for note in exhibit.notes]
    return "\n\n".join(parts) + "\n"


def block_text(block: Block) -> str:
    """Words, and a table that is not long; "" for any other block, which is for a page."""
    if isinstance(block, Words):
        return "\n".join([*([block.title] if block.title else []), *block.paragraphs])
    return _table(block) if isinstance(block, Table) and len(block.rows) <= _LONG else ""


def _cell(cell: Cell, decimals: int) -> str:
    def number(value: float) -> str:
        return f"{value:.{decimals}f}"

    text = "-" if cell.ours is None else number(cell.ours)
    if cell.ours is not None and cell.interval is not None:
        text += f" [{number(cell.interval[0])}, {number(cell.interval[1])}]"
    return text + ("" if cell.published is None else f" (paper {cell.published:g})")


def _table(table: Table, note: str = "") -> str:
    lines = [[table.head, *table.columns]]
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            lines.append([group])
        lines.append([_label(row), *(_cell(cell, table.decimals) for cell in row.cells)])
    text = _columns(lines)
    unit = f", {table.unit}" if table.unit else ""
    return f"{table.title}{unit}; 95 % intervals{note}\n{text}"


def _label(row: Row) -> str:
    return f"  {row.label}" if row.group else row.label


def _columns(lines: list[list[str]]) -> str:
    count = max(map(len, lines))
    widths = [max((len(line[i]) for line in lines if len(line) > max(1, i)), default=0) for i in range(count)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )


def _chart(chart: Chart) -> str:
    names = dict(chart.x_names)
    grid = sorted({x for line in chart.lines if line.style != "points" for x in line.x})
    if not grid or len(grid) > 24:  # a cloud, or a curve with too many points to read
        return f"{chart.title}: on the page"
    lines = [[chart.x_label, *(line.name for line in chart.lines if line.style != "points")]]
    for x in grid:
        values = [_at(line, x, chart.percent) for line in chart.lines if line.style != "points"]
        lines.append([names.get(x, f"{x:.4g}"), *values])
    return f"{chart.title} ({chart.y_label})\n{_columns(lines)}"


def _at(line: Line, x: float, percent: bool) -> str:
    if x not in line.x:
        return "-"
    y = line.y[line.x.index(x)]
    return f"{100 * y:.1f} %" if percent else f"{y:.4g}"
