"""Line charts as inline SVG; colours come from the page's CSS, exact values from hovering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from robustsnn.report.marks import marker, short, style

Tick = tuple[float, str]


@dataclass(frozen=True)
class Series:
    """One line. `y` may hold NaN (a gap); `tips` are the exact values in words, one per point."""

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]
    tips: Sequence[str]
    band: Sequence[tuple[float, float] | None] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Axes:
    """What the axes say. The y axis ends at its first and last tick; `x_names` heads each hover text."""

    alt: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_names: dict[float, str]


def line_chart(series: Sequence[Series], axes: Axes, width: int, height: int, names: bool = False) -> Markup:
    """An `<svg>` of `series`; `names` writes each line's name at its right end."""
    return _Chart(series, axes, width, height, names).svg()


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that span [low, high], about `wanted` steps."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    power = 10.0 ** math.floor(math.log10((high - low) / wanted))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= wanted)
    return [round(k * step, 12) for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


class _Chart:
    def __init__(self, series: Sequence[Series], axes: Axes, width: int, height: int, names: bool) -> None:
        self.series, self.axes, self.names = series, axes, names
        self.width, self.height = width, height
        self.left, self.right = 46, width - (112 if names else 12)
        self.top, self.bottom = 26, height - 40
        self.xs = sorted({x for line in series for x in line.x})
        self.low, self.high = self.xs[0], self.xs[-1]
        if self.low == self.high:
            self.low, self.high = self.low - 0.5, self.high + 0.5

    def svg(self) -> Markup:
        parts = [*self._grid(), *(self._band(line) for line in self.series)]
        parts += [self._line(line) for line in self.series]
        parts += [*self._names(), *self._hover()] if self.names else self._hover()
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        return Markup(f'<svg {size} role="img" aria-label="{escape(self.axes.alt)}">{"".join(parts)}</svg>')

    def _x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.left + share * (self.right - self.left), 1)

    def _y(self, value: float) -> float:
        low, high = self.axes.y_ticks[0][0], self.axes.y_ticks[-1][0]
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 1)

    def _grid(self) -> list[str]:
        parts = [f'<text class="axis" x="4" y="12">{escape(self.axes.y_label)}</text>']
        for value, text in self.axes.y_ticks:
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="tick end" x="{self.left - 8}" y="{y + 4}">{escape(text)}</text>')
        free = -math.inf
        for value, text in self.axes.x_ticks:
            x = self._x(value)
            parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{self.bottom}" y2="{self.bottom + 4}"/>')
            half = 4 * len(text) + 3
            if x - half > free:
                free = x + half
                parts.append(f'<text class="tick mid" x="{x}" y="{self.bottom + 17}">{escape(text)}</text>')
        middle = (self.left + self.right) / 2
        parts.append(f'<text class="axis mid" x="{middle}" y="{self.height - 6}">{escape(self.axes.x_label)}</text>')
        return parts

    def _band(self, line: Series) -> str:
        ends = [(self._x(x), pair) for x, pair in zip(line.x, line.band, strict=False) if pair is not None]
        if not ends:
            return ""
        points = [f"{x},{self._y(pair[1])}" for x, pair in ends]
        points += [f"{x},{self._y(pair[0])}" for x, pair in reversed(ends)]
        whiskers = "".join(
            f'<line class="whisker" x1="{x}" x2="{x}" y1="{self._y(pair[0])}" y2="{self._y(pair[1])}"/>'
            for x, pair in (ends if len(ends) == 1 else [])
        )
        area = f'<polygon class="band" points="{" ".join(points)}"/>'
        return f'<g class="{style(line.colour)}">{area}{whiskers}</g>'

    def _line(self, line: Series) -> str:
        path, pen, marks = [], "M", []
        sparse = len(line.x) <= 16
        for position, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            if math.isnan(y):
                pen = "M"
                continue
            path.append(f"{pen}{self._x(x)},{self._y(y)}")
            pen = "L"
            if sparse or position == len(line.x) - 1:
                marks.append(marker(line.colour, self._x(x), self._y(y), hollow=line.dashed))
        dashed = " dashed" if line.dashed else ""
        stroke = f'<path class="line{dashed}" d="{"".join(path)}"/>'
        return f'<g class="{style(line.colour)}">{stroke}{"".join(marks)}</g>'

    def _names(self) -> list[str]:
        ends = []
        for line in self.series:
            known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if not math.isnan(y)]
            if known:
                ends.append((self._y(known[-1][1]), self._x(known[-1][0]), line))
        parts, free = [], math.inf
        for y, x, line in sorted(ends, key=lambda end: -end[0]):
            free = min(y, self.bottom - 4, free - 15)
            place = f'class="name {style(line.colour)}" x="{max(x, self.right) + 10}" y="{free + 4}"'
            parts.append(f"<text {place}>{escape(short(line.name))}</text>")
        return parts

    def _hover(self) -> list[str]:
        places = [self._x(x) for x in self.xs]
        edges = [self.left, *((a + b) / 2 for a, b in pairwise(places)), self.right]
        values: dict[float, list[str]] = {x: [] for x in self.xs}
        for line in self.series:
            for x, tip in zip(line.x, line.tips, strict=True):
                values[x].append(f"{line.name}: {tip}")
        parts = []
        for x, place, start, end in zip(self.xs, places, edges[:-1], edges[1:], strict=True):
            tip = escape("\n".join([self.axes.x_names.get(x, f"{x:g}"), *values[x]]))
            area = f'x="{start:.1f}" y="{self.top}" width="{end - start:.1f}" height="{self.bottom - self.top}"'
            guide = f'<line class="guide" x1="{place}" x2="{place}" y1="{self.top}" y2="{self.bottom}"/>'
            parts.append(f'<g class="at"><title>{tip}</title><rect class="hit" {area}/>{guide}</g>')
        return parts
