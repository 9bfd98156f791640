"""A chart of an exhibit as two drawings, wide and narrow, with its data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from robustsnn.records.exhibit import Chart, Line
from robustsnn.reporting.charts import MOST, Axes, Series, line_chart
from robustsnn.reporting.downloads import Figure
from robustsnn.reporting.marks import short
from robustsnn.reporting.scales import Tick, tick_text, ticks
from robustsnn.reporting.tables import Cell, Table
from robustsnn.reporting.wording import count, listing


@dataclass(frozen=True)
class ChartView:
    """A chart drawn wide, and narrow for small screens and half a line; `note` says what is not drawn."""

    chart: Chart
    wide: Markup
    narrow: Markup
    note: str
    figure: Figure


def chart_view(chart: Chart, stem: str, *, half: bool = False) -> ChartView:
    """The drawings of `chart`; its PDF under the name `stem` is the wide one, unless only `half` a line is there."""
    near, far = _without_outliers(chart)
    series = [_series(line, place, near.percent) for place, line in enumerate(near.lines)]
    axes = _axes(near)
    direct = 1 < len(series) <= 6 and all(short(line.name) == line.name and line.joined for line in series)
    one = len(series) == 1 and chart.lines[0].name in ("", chart.title, chart.y_label)
    narrow = line_chart(series, axes, 440, 300, legend=not one)
    wide = narrow if half else line_chart(series, axes, 880, 380, names=direct, legend=not direct and not one)
    return ChartView(chart, wide, narrow, _note(near, far), Figure(stem, [wide], data(chart), chart.title))


def data(chart: Chart) -> Table:
    """The points of a chart, one line each; NaN is empty."""
    names = dict(chart.x_names)
    headers = ["line", f"x: {chart.x_label}", f"y: {chart.y_label}", "low", "high", *(["x in words"] if names else [])]
    rows: list[list[Cell]] = []
    for line in chart.lines:
        bands = [*line.band, *[None] * (len(line.x) - len(line.band))]
        for x, y, band in zip(line.x, line.y, bands, strict=True):
            low, high = band or (None, None)
            words: list[Cell] = [names.get(x, "")] if names else []
            rows.append([line.name, *map(_number, (x, y, low, high)), *words])
    return Table(headers, rows)


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _series(line: Line, place: int, percent: bool) -> Series:
    def words(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:.4g}"

    bands = [*line.band, *[None] * (len(line.x) - len(line.band))]
    tips = []
    for y, band in zip(line.y, bands, strict=True):
        ends = "" if band is None or not all(map(math.isfinite, band)) else f" [{words(band[0])}, {words(band[1])}]"
        tips.append("not a number" if not math.isfinite(y) else f"{words(y)}{' %' if percent else ''}{ends}")
    colour = place if line.colour is None else line.colour
    style = {"dashed": line.style == "dashed", "joined": line.style != "points"}
    return Series(line.name, colour, line.x, line.y, tips, bands, **style)


def _axes(chart: Chart) -> Axes:
    heights = [y for line in chart.lines for y in line.y]
    ends = [end for line in chart.lines for band in line.band if band is not None for end in band if math.isfinite(end)]
    if chart.percent:
        ends = [min(1.0, max(0.0, end)) for end in ends]
    across = sorted({x for line in chart.lines for x in line.x if math.isfinite(x)})
    return Axes(
        alt=f"{chart.title}. {chart.y_label} against {chart.x_label}"
        + (f": {listing([line.name for line in chart.lines])}." if chart.lines else "."),
        x_label=chart.x_label + (" (log)" if chart.x_log else ""),
        y_label=chart.y_label + (" (log)" if chart.y_log else ""),
        x_ticks=_x_ticks(chart, across),
        y_ticks=ticks([*heights, *ends], log=chart.y_log, percent=chart.percent),
        x_names=dict(chart.x_names),
        x_log=chart.x_log,
        y_log=chart.y_log,
    )


def _x_ticks(chart: Chart, across: Sequence[float]) -> list[Tick]:
    if chart.x_log:
        return ticks(across, log=True)
    inside = [(x, name) for x, name in chart.x_names if across and across[0] <= x <= across[-1]]
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

    lines = []
    for line in chart.lines:
        if line.style == "points":
            y = tuple(math.nan if far(value) else value for value in line.y)
            line = replace(line, y=y)
        lines.append(line)
    return replace(chart, lines=tuple(lines)), sum(far(value) for line in clouds for value in line.y)


def _note(chart: Chart, far: int) -> str:
    lost = 0
    for line in chart.lines:
        for x, y in zip(line.x, line.y, strict=True):
            lost += (chart.x_log and x <= 0) or (chart.y_log and y <= 0)
    parts = [f"{count(lost, 'point')} at or below zero: no place on a log axis, so not drawn."] if lost else []
    parts += [f"{count(far, 'point')} far beyond the others not drawn; the CSV has all."] if far else []
    many = [line.name for line in chart.lines if line.style == "points" and len(line.x) > MOST]
    parts += [f"Of {listing(many)} at most {MOST} points are drawn, evenly chosen; the CSV has all."] if many else []
    return " ".join(parts)
