"""A chart of lines and points: its drawing, and its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from robustsnn.draw.files import Figure
from robustsnn.draw.scales import Tick, tick_text, ticks
from robustsnn.draw.sheet import INK, LETTER, MUTED, PAPER, RULE, WIDTH, Scale, Sheet, colour, mark
from robustsnn.draw.tables import Cell, TextTable
from robustsnn.draw.words import count, listing, short
from robustsnn.records.exhibit import Chart, Interval, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More points than these lose, in this order: their marks in full ink, a text of their own, their place in the picture.
_INK, _TOLD, MOST = 60, 300, 1000
_HEIGHT, _RIGHT = 220, 14


def chart_view(chart: Chart, stem: str) -> Figure:
    """The figure of `chart`, with what it does not show said below it."""
    near, far = _without_outliers(chart)
    caption = " ".join(part for part in (chart.caption, _note(near, far)) if part)
    return Figure(stem, _drawn(near), data(chart), chart.title, caption)


def data(chart: Chart) -> TextTable:
    """The points of a chart, one line each; NaN is empty."""
    names = dict(chart.x_names)
    headers = ["line", f"x: {chart.x_label}", f"y: {chart.y_label}", "low", "high", *(["x in words"] if names else [])]
    rows: list[list[Cell]] = []
    for line in chart.lines:
        for x, y, band in zip(line.x, line.y, _bands(line), strict=True):
            words: list[Cell] = [names.get(x, "")] if names else []
            numbers = (
                value if value is not None and math.isfinite(value) else None
                for value in (x, y, *(band or (None, None)))
            )
            rows.append([line.name, *numbers, *words])
    return TextTable(headers, rows)


def _bands(line: Line) -> list[Interval | None]:
    return [*line.band, *[None] * (len(line.x) - len(line.band))]


def tips(line: Line, percent: bool) -> list[str]:
    """What is said of each point."""
    text = "{:.1f}" if percent else "{:.4g}"
    times, unit = (100, " %") if percent else (1, "")
    found = []
    for y, band in zip(line.y, _bands(line), strict=True):
        known = band is not None and all(map(math.isfinite, band))
        ends = f" [{text.format(times * band[0])}, {text.format(times * band[1])}]" if known and band else ""
        found.append(f"{text.format(times * y)}{unit}{ends}" if math.isfinite(y) else "not a number")
    return found


def _drawn(chart: Chart) -> Sheet:
    across = sorted({x for line in chart.lines for x in line.x if math.isfinite(x) and (x > 0 or not chart.x_log)})
    x_ticks, y_ticks = _x_ticks(chart, across), _y_ticks(chart)
    ends = [value for value, _ in x_ticks] if chart.x_log else across or [0.0, 1.0]
    low, high = ends[0], ends[-1]
    if low == high:
        low, high = (low / 2, low * 2) if chart.x_log else (low - 0.5, high + 0.5)
    left = max(46.0, 12 + LETTER * max(len(text) for _, text in y_ticks))
    longest = max((len(text) for _, text in x_ticks), default=0)
    turned = LETTER * longest > (WIDTH - left) / max(1, len(x_ticks)) and sum(len(t) for _, t in x_ticks) > 8 * len(
        x_ticks
    )
    below = min(150.0, 0.75 * LETTER * longest) if turned else 0.0
    if turned:  # the first text reaches to the left of the axis
        left = max(left, min(120.0, 0.7 * LETTER * len(x_ticks[0][1]) + 6))
    told = [line for line in chart.lines if len(chart.lines) > 1 or line.name not in ("", chart.title, chart.y_label)]
    keys = legend_rows([line.name for line in told])
    top, bottom = 28 + (20 * (keys[-1][0] + 1) if keys else 0), 42 + below
    names = listing([line.name for line in chart.lines])
    sheet = Sheet(
        WIDTH,
        _HEIGHT + top + bottom,
        f"{chart.title}. {chart.y_label} against {chart.x_label}{f': {names}' if names else ''}.",
    )
    y_scale: Scale = (y_ticks[0][0], y_ticks[-1][0], chart.y_log)
    axes = sheet.axes(left, bottom, _RIGHT, top, (low, high, chart.x_log), y_scale)
    for place, (line, (row, x)) in enumerate(zip(told, keys, strict=True)):
        y, look = sheet.height - 20 * row - 10, _look(line, place)
        sheet.line([x, x + 12, x + 24], [y] * 3, markevery=[1], **look)
        sheet.text(x + 31, y - 4, short(line.name, 60), 12, INK)
    _frame(sheet, axes, chart, x_ticks, y_ticks, turned)
    for place, line in enumerate(chart.lines):
        _line(sheet, axes, line, place, chart)
    if 0 < len(across) <= _INK:
        _hover(sheet, axes, chart, across)
    return sheet


def legend_rows(names: Sequence[str]) -> list[tuple[int, float]]:
    """Row and left end of each name of a legend."""
    places, row, x = [], 0, 4.0
    for name in names:
        length = 47 + 7.0 * min(len(name), 60)
        if x > 4 and x + length > WIDTH + 12:
            row, x = row + 1, 4.0
        places.append((row, x))
        x += length
    return places


def _look(line: Line, place: int) -> dict[str, Any]:
    number = place if line.colour is None else line.colour
    dashed, ink = line.style == "dashed", colour(number)
    style = {"points": "none", "dashed": (0, (2.5, 2)), "line": "-"}[line.style]
    marks = {"marker": mark(number), "markersize": 7, "markerfacecolor": PAPER if dashed else ink}
    return {"color": ink, "linewidth": 2, "linestyle": style, **marks, "clip_on": False}


def _frame(
    sheet: Sheet, axes: Axes, chart: Chart, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], turned: bool
) -> None:
    (left, bottom), (right, top) = axes.get_window_extent().get_points().tolist()
    sheet.text(4, top + 14, chart.y_label + (" (log)" if chart.y_log else ""))
    for value, text in y_ticks:
        y = axes.transData.transform((1, value))[1]
        sheet.line([left, right], [y, y], color=RULE, linewidth=1, zorder=0)
        sheet.text(left - 8, y - 4, text, ha="right")
    free = -math.inf
    for value, text in x_ticks:
        x = axes.transData.transform((value, y_ticks[0][0]))[0]
        sheet.line([x, x], [bottom, bottom - 4], color=MUTED, linewidth=1)
        half = 10 if turned else 4 * len(text) + 3
        if x - half > free:
            free = x + half
            turn: dict[str, Any] = {"ha": "center"}
            if turned:
                turn = {"rotation": 45, "ha": "right", "va": "top", "rotation_mode": "anchor"}
            sheet.text(x + 4 * turned, bottom - (8 if turned else 17), short(text, 32), **turn)
    sheet.text((left + right) / 2, 7, chart.x_label + (" (log)" if chart.x_log else ""), ha="center")


def _line(sheet: Sheet, axes: Axes, line: Line, place: int, chart: Chart) -> None:
    look, joined, n = _look(line, place), line.style != "points", len(line.x)
    bands = [(x, y, band) for x, y, band in zip(line.x, line.y, _bands(line), strict=True)]
    low, high = axes.get_ylim()
    shown = [_shows(x, chart.x_log) and _shows(y, chart.y_log) for x, y in zip(line.x, line.y, strict=True)]
    inside = [
        None
        if band is None or not known or not all(map(math.isfinite, band))
        else tuple(min(high, max(low, end)) for end in band)
        for (_, _, band), known in zip(bands, shown, strict=True)
    ]
    near = [False, *(band is not None for band in inside), False]
    alone = [k for k in range(n) if near[k + 1] and not (joined and (near[k] or near[k + 2]))]
    if joined and sum(near) > len(alone):
        ends = [band or (math.nan, math.nan) for band in inside]
        area = axes.fill_between(
            line.x, [end[0] for end in ends], [end[1] for end in ends], color=look["color"], alpha=0.14, linewidth=0
        )
        area.set_gid(f"band-{place}")
    if alone and n <= _INK:
        whiskers = [inside[k] or (0.0, 0.0) for k in alone]
        axes.vlines(
            [line.x[k] for k in alone], *zip(*whiskers, strict=True), color=look["color"], alpha=0.32, linewidth=5
        )
    stride = 1 if joined else max(1, math.ceil(n / MOST))
    single = [k for k in range(n) if shown[k] and not (shown[k - 1 : k] == [True] or shown[k + 1 : k + 2] == [True])]
    kept = [k for k in range(0, n, stride) if shown[k]]
    marked = kept if not joined or n <= 16 else [*single, *kept[-1:]]
    cloud = n > _INK and not joined
    if cloud:
        look |= {"markersize": 4, "alpha": 0.5, "markeredgewidth": 0.8}
    if joined:
        y = [value if known else math.nan for value, known in zip(line.y, shown, strict=True)]
        axes.plot(line.x, y, **{**look, "marker": ""}, gid=f"line-{place}")
    (dots,) = axes.plot([line.x[k] for k in marked], [line.y[k] for k in marked], **{**look, "linestyle": "none"})
    if cloud and n <= _TOLD:
        said = tips(line, chart.percent)
        sheet.tip(dots, [f"{_named(chart, line.x[k])}\n{line.name}: {said[k]}" for k in marked], "dots")
    else:
        dots.set_gid(f"marks-{place}")


def _shows(value: float, log: bool) -> bool:
    """Whether there is a place for `value`: a number, and positive on a log axis."""
    return math.isfinite(value) and (value > 0 or not log)


def _named(chart: Chart, x: float) -> str:
    return dict(chart.x_names).get(x, f"{chart.x_label}: {x:.6g}")


def _hover(sheet: Sheet, axes: Axes, chart: Chart, across: Sequence[float]) -> None:
    (left, bottom), (right, top) = axes.get_window_extent().get_points().tolist()
    places = [axes.transData.transform((x, axes.get_ylim()[0]))[0] for x in across]
    edges = [left, *((a + b) / 2 for a, b in pairwise(places)), right]
    values: dict[float, list[str]] = {x: [] for x in across}
    for line in chart.lines:
        for x, tip in zip(line.x, tips(line, chart.percent), strict=True):
            if x in values:
                values[x].append(f"{line.name}: {tip}" if line.name else tip)
    for x, start, end in zip(across, edges[:-1], edges[1:], strict=True):
        sheet.place(start, bottom, end - start, top - bottom, "\n".join([_named(chart, x), *values[x][:20]]))


def _y_ticks(chart: Chart) -> list[Tick]:
    ends = [end for line in chart.lines for band in line.band if band is not None for end in band if math.isfinite(end)]
    if chart.percent:
        ends = [min(1.0, max(0.0, end)) for end in ends]
    heights = [y for line in chart.lines for y in line.y]
    return ticks([*heights, *ends], log=chart.y_log, percent=chart.percent)


def _x_ticks(chart: Chart, across: Sequence[float]) -> list[Tick]:
    inside = [(x, name) for x, name in chart.x_names if across and across[0] <= x <= across[-1]]
    if chart.x_log:
        return ticks(across, log=True)
    if inside:
        return inside
    if len(across) <= 8:
        return [(x, tick_text(round(x, 10))) for x in across]
    return [(x, name) for x, name in ticks(across) if across[0] <= x <= across[-1]]


def _without_outliers(chart: Chart) -> tuple[Chart, int]:
    """The chart less points so far off that the others would shrink to a line, and how many these are.

    On a log axis a quotient by almost nothing is such a point: more than five times the quartiles' distance, but at
    least two powers of ten, beyond a quartile.
    """
    clouds = [line for line in chart.lines if line.style == "points"]
    powers = sorted(math.log10(y) for line in clouds for y in line.y if y > 0 and math.isfinite(y))
    if not chart.y_log or len(powers) < 20:
        return chart, 0
    low, high = powers[len(powers) // 4], powers[(3 * len(powers)) // 4]
    reach = max(2.0, 5 * (high - low))

    def far(y: float) -> bool:
        return y > 0 and math.isfinite(y) and not low - reach <= math.log10(y) <= high + reach

    near = [
        replace(line, y=tuple(math.nan if far(y) else y for y in line.y)) if line in clouds else line
        for line in chart.lines
    ]
    return replace(chart, lines=tuple(near)), sum(far(y) for line in clouds for y in line.y)


def _note(chart: Chart, far: int) -> str:
    points = [(x, y) for line in chart.lines for x, y in zip(line.x, line.y, strict=True)]
    lost = sum((chart.x_log and x <= 0) or (chart.y_log and y <= 0) for x, y in points)
    parts = [f"{count(lost, 'point')} at or below zero: no place on a log axis, so not drawn."] if lost else []
    parts += [f"{count(far, 'point')} far beyond the others not drawn; the CSV has all."] if far else []
    many = [line.name for line in chart.lines if line.style == "points" and len(line.x) > MOST]
    parts += [f"Of {listing(many)} at most {MOST} points are drawn, evenly chosen; the CSV has all."] if many else []
    return " ".join(parts)
