"""Rows of bars, or of points with intervals: their drawing, and their data."""

from __future__ import annotations

import math
from typing import Any

from robustsnn.draw.chart import legend_rows
from robustsnn.draw.files import Figure
from robustsnn.draw.scales import ticks
from robustsnn.draw.sheet import INK, LETTER, PAPER, RULE, WIDTH, Sheet, colour, mark
from robustsnn.draw.tables import Cell, TextTable
from robustsnn.draw.words import listing, short
from robustsnn.records.exhibit import Bars

_ROW, _SET = 19, 20
_LOOKS: tuple[dict[str, Any], ...] = (
    {"alpha": 1.0},
    {"alpha": 0.28},
    {"alpha": 0.6},
    {"facecolor": PAPER, "linewidth": 1.2},
    {"facecolor": PAPER, "linewidth": 1, "linestyle": ":"},
)
"""Of the parts of a bar; the last two are outlines."""


def bars_view(bars: Bars, stem: str) -> Figure:
    """The figure of `bars`."""
    return Figure(stem, _drawn(bars) if bars.rows else None, data(bars), bars.title, bars.caption)


def data(bars: Bars) -> TextTable:
    """A line per row: which sets it is in, the lengths of its parts, its points with their intervals and n."""
    points = [f"{name}{part}".strip() for name in bars.points for part in ("", " low", " high", " n")]
    rows: list[list[Cell]] = []
    for row in bars.rows:
        line: list[Cell] = [row.label, *(int(k in row.members) for k in range(len(bars.sets))), *row.parts]
        for point in row.points:
            line += [point.ours, *(point.interval or (None, None)), point.n]
        rows.append(line + [None] * (1 + len(bars.sets) + len(bars.parts) + len(points) - len(line)))
    return TextTable(["row", *bars.sets, *bars.parts, *points], rows)


def _drawn(bars: Bars) -> Sheet:
    values = [sum(row.parts) for row in bars.rows]
    for row in bars.rows:
        for point in row.points:
            values += [value for value in (point.ours, *(point.interval or ())) if value is not None]
    if bars.percent:
        values = [min(1.0, max(0.0, value)) for value in values]
    x_ticks = ticks([*values, *([] if bars.x_log else [0.0])], log=bars.x_log, percent=bars.percent)
    letters = 0 if bars.sets else max((len(row.label) for row in bars.rows), default=0)
    left = 8 + (_SET * len(bars.sets) if bars.sets else LETTER * min(28, letters)) + 10
    used = [k for k in range(len(bars.parts)) if any(row.parts[k : k + 1] not in ((), (0.0,)) for row in bars.rows)]
    named = [*(bars.parts[k] for k in used), *bars.points] if len(bars.parts) + len(bars.points) > 1 else []
    keys = legend_rows(named)
    heads = LETTER * 0.75 * max((min(24, len(name)) for name in bars.sets), default=0)
    top, bottom = 8 + (20 * (keys[-1][0] + 1) if keys else 0) + heads, 44
    wide = max(WIDTH, left + 240)  # room for bars beside very many sets
    sheet = Sheet(
        wide,
        _ROW * len(bars.rows) + top + bottom,
        f"{bars.title}: {listing([row.tip.splitlines()[0] if row.tip else row.label for row in bars.rows])}.",
    )
    axes = sheet.axes(left, bottom, 40, top, (x_ticks[0][0], x_ticks[-1][0], bars.x_log), (0, 1, False))

    def place(value: float) -> float:
        value = min(x_ticks[-1][0], max(x_ticks[0][0], value))
        return float(axes.transData.transform((value, 0))[0])

    for value, text in x_ticks:
        sheet.line([place(value)] * 2, [bottom, sheet.height - top], color=RULE, linewidth=1, zorder=0)
        sheet.text(place(value), bottom - 16, text, ha="center")
    sheet.text((left + wide - 40) / 2, 7, bars.x_label + (" (log)" if bars.x_log else ""), ha="center")
    for k, (name, (line, x)) in enumerate(zip(named, keys, strict=True)):
        y = sheet.height - 20 * line - 10
        if k < len(used):
            sheet.box(x, y - 5, 20, 10, **_look(used[k], 6))
        else:
            sheet.line([x + 12], [y], **_point(bars, k - len(used), 6))
        sheet.text(x + 28, y - 4, name, 12, INK)
    for k, name in enumerate(bars.sets):
        x = 16 + _SET * k
        sheet.text(x, sheet.height - top + 4, short(name, 24), rotation=45, rotation_mode="anchor", ha="left")
    for number, row in enumerate(bars.rows):
        y = sheet.height - top - _ROW * (number + 0.5)
        ink = colour(row.colour)
        if bars.sets:
            xs = [16 + _SET * k for k in range(len(bars.sets))]
            sheet.line(xs, [y] * len(xs), color=RULE, linestyle="none", marker="o", markersize=4)
            lit = [xs[k] for k in row.members]
            sheet.line(
                lit, [y] * len(lit), color=ink, linewidth=2.5, marker="o", markersize=10, gid=f"members-{number}"
            )
        else:
            sheet.text(left - 8, y - 4, short(row.label, 28), 11, INK, ha="right")
        done, end = 0.0, place(x_ticks[0][0])
        for k, part in enumerate(row.parts):
            if part:
                start, end = place(done), place(done + part)
                sheet.box(start, y - 6, max(1.5, end - start), 12, **_look(k, row.colour), gid=f"bar-{k}")
            done += part
        if row.parts and len(bars.parts) <= 1:
            sheet.text(end + 6, y - 4, f"{done:.4g}")
        for k, point in enumerate(row.points):
            if point.ours is None or (bars.x_log and point.ours <= 0):
                sheet.text(left + 2, y - 4, "" if point.ours is None else "0")
                continue
            if point.interval is not None:
                ends = [place(end) for end in point.interval]
                sheet.line(ends, [y, y], color=ink, alpha=0.32, linewidth=5, solid_capstyle="round")
            sheet.line([place(point.ours)], [y], **_point(bars, k, row.colour))
        if row.tip and math.isfinite(done):
            sheet.place(0, y - _ROW / 2, wide, _ROW, row.tip)
    return sheet


def _look(part: int, number: int) -> dict[str, Any]:
    return {"facecolor": colour(number), "edgecolor": colour(number), **_LOOKS[part % len(_LOOKS)]}


def _point(bars: Bars, place: int, number: int) -> dict[str, Any]:
    hollow = place == 0 and len(bars.points) > 1
    look = {"color": colour(number), "markerfacecolor": PAPER if hollow else colour(number)}
    return {**look, "marker": mark(number), "markersize": 8, "markeredgewidth": 1.5, "linestyle": "none"}
