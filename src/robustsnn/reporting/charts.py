"""Line charts as inline SVG; colours come from the page's CSS, exact values from hovering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from robustsnn.reporting.marks import marker, short, style
from robustsnn.reporting.scales import Scale, Tick

# More points than these lose, in this order: their marks in full ink, a text of their own, their place in the picture.
_INK, _TOLD, MOST = 60, 300, 1000
_LETTER = 6.3  # mean width of a letter in pixels


@dataclass(frozen=True)
class Series:
    """One line. `y` may hold NaN (a gap); `tips` are the exact values in words, one per point.

    `joined`: whether a line joins the points.
    """

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]
    tips: Sequence[str]
    band: Sequence[tuple[float, float] | None] = ()
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Axes:
    """What the axes say. The y axis ends at its first and last tick; `x_names` heads each hover text.

    An x axis ends at its first and last point, and a log one at its first and last tick.
    """

    alt: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_names: dict[float, str]
    x_log: bool = False
    y_log: bool = False


def line_chart(
    series: Sequence[Series], axes: Axes, width: int, height: int, names: bool = False, legend: bool = False
) -> Markup:
    """An `<svg>` of `series`; `names` writes each line's name at its right end, `legend` all above the chart."""
    return _Chart(series, axes, width, height, names, legend).svg()


class _Chart:
    def __init__(
        self, series: Sequence[Series], axes: Axes, width: int, height: int, names: bool, legend: bool
    ) -> None:
        self.series, self.axes, self.names = series, axes, names
        self.keys = _rows([line.name for line in series], width) if legend else []
        self.width = width
        longest = max((len(text) for _, text in axes.y_ticks), default=0)
        self.left, self.right = max(46, round(12 + _LETTER * longest)), width - (112 if names else 12)
        self.turned = self._crowded()
        if self.turned:  # the first text reaches to the left of the axis
            self.left = max(self.left, round(min(120.0, 0.7 * _LETTER * len(axes.x_ticks[0][1]) + 6)))
        below = min(150.0, 0.75 * _LETTER * max(len(text) for _, text in axes.x_ticks)) if self.turned else 0.0
        head = 20 * (self.keys[-1][0] + 1) + 4 if self.keys else 0
        self.top, self.bottom = 26 + head, height - 40 + head
        self.height = round(height + head + below)
        self.xs = sorted({x for line in series for x in line.x if math.isfinite(x)})
        self._x, self._y = self._scales()
        self.xs = [x for x in self.xs if self._x.shows(x)]

    def _scales(self) -> tuple[Scale, Scale]:
        ends = self.xs
        if self.axes.x_log:
            ends = [value for value, _ in self.axes.x_ticks]
        low, high = (ends[0], ends[-1]) if ends else (0.0, 1.0)
        if low == high:
            low, high = (low / 2, low * 2) if self.axes.x_log else (low - 0.5, high + 0.5)
        heights = [value for value, _ in self.axes.y_ticks]
        across = Scale(low, high, self.left, self.right, self.axes.x_log)
        return across, Scale(heights[0], heights[-1], self.bottom, self.top, self.axes.y_log)

    def _crowded(self) -> bool:
        """Whether the texts at the x axis are names that need to be turned to fit."""
        texts = [text for _, text in self.axes.x_ticks]
        room = (self.right - self.left) / max(1, len(texts))
        return bool(texts) and sum(map(len, texts)) > 8 * len(texts) and _LETTER * max(map(len, texts)) > room

    def svg(self) -> Markup:
        parts = [*self._legend(), *self._grid(), *(self._band(line) for line in self.series)]
        parts += [self._line(line) for line in self.series]
        parts += self._names() if self.names else []
        parts += self._hover() if 0 < len(self.xs) <= _INK else []
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        return Markup(f'<svg {size} role="img" aria-label="{escape(self.axes.alt)}">{"".join(parts)}</svg>')

    def _legend(self) -> list[str]:
        parts = []
        for line, (row, x) in zip(self.series, self.keys, strict=False):
            y = 20 * row + 10
            stroke = f'<path class="line{" dashed" if line.dashed else ""}" d="M{x},{y}L{x + 24},{y}"/>'
            mark = marker(line.colour, x + 12, y, hollow=line.dashed)
            parts.append(f'<g class="{style(line.colour)}">{stroke if line.joined else ""}{mark}</g>')
            parts.append(
                f'<text class="said" x="{x + 31}" y="{y + 4}">{escape(short(line.name, _room(self.width)))}</text>'
            )
        return parts

    def _grid(self) -> list[str]:
        parts = [f'<text class="axis" x="4" y="{self.top - 14}">{escape(self.axes.y_label)}</text>']
        for value, text in self.axes.y_ticks:
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="tick end" x="{self.left - 8}" y="{y + 4}">{escape(text)}</text>')
        free = -math.inf
        for value, text in self.axes.x_ticks:
            x = self._x(value)
            parts.append(f'<line class="tick" x1="{x}" x2="{x}" y1="{self.bottom}" y2="{self.bottom + 4}"/>')
            half = 10 if self.turned else 4 * len(text) + 3
            if x - half > free:
                free = x + half
                parts.append(self._tick(x, text))
        middle = (self.left + self.right) / 2
        parts.append(f'<text class="axis mid" x="{middle}" y="{self.height - 6}">{escape(self.axes.x_label)}</text>')
        return parts

    def _tick(self, x: float, text: str) -> str:
        if not self.turned:
            return f'<text class="tick mid" x="{x}" y="{self.bottom + 17}">{escape(text)}</text>'
        y = self.bottom + 14
        turn = f'transform="rotate(-45 {x + 4} {y})"'
        return f'<text class="tick end" x="{x + 4}" y="{y}" {turn}>{escape(short(text, 32))}</text>'

    def _band(self, line: Series) -> str:
        """Where intervals follow one another an area; a whisker where one stands alone or points are not joined."""
        runs: list[list[tuple[float, tuple[float, float]]]] = [[]]
        for x, y, pair in zip(line.x, line.y, line.band, strict=False):
            known = self._x.shows(x) and self._y.shows(y)
            if known and pair is not None and all(map(math.isfinite, pair)):
                runs[-1].append((self._x(x), (self._height(pair[0]), self._height(pair[1]))))
            elif runs[-1]:
                runs.append([])
        parts = []
        for run in runs:
            if line.joined and len(run) > 1:
                points = [f"{x},{high}" for x, (_, high) in run] + [f"{x},{low}" for x, (low, _) in reversed(run)]
                parts.append(f'<polygon class="band" points="{" ".join(points)}"/>')
            elif len(line.x) <= _INK:
                parts += [f'<line class="whisker" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>' for x, (low, high) in run]
        return f'<g class="{style(line.colour)}">{"".join(parts)}</g>' if parts else ""

    def _height(self, end: float) -> float:
        """The pixel of the end of an interval, inside the axes."""
        return min(self.bottom, max(self.top, self._y(end)))

    def _line(self, line: Series) -> str:
        path, pen, marks = [], "M", []
        sparse = len(line.x) <= 16 or not line.joined
        cloud = len(line.x) > _INK
        stride = 1 if line.joined else max(1, math.ceil(len(line.x) / MOST))
        for position, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
            if not self._shown(line, position):
                pen = "M"
                continue
            place = self._x(x), self._y(y)
            alone = pen == "M" and not self._shown(line, position + 1)
            path.append(f"{pen}{place[0]},{place[1]}")
            pen = "L"
            if alone or (sparse and position % stride == 0) or (position == len(line.x) - 1 and line.joined):
                mark = marker(line.colour, *place, hollow=line.dashed, cloud=cloud, size=2.2 if cloud else 4.0)
                told = cloud and len(line.x) <= _TOLD
                marks.append(f'<g class="at"><title>{self._tip(line, position)}</title>{mark}</g>' if told else mark)
        dashed = " dashed" if line.dashed else ""
        stroke = f'<path class="line{dashed}" d="{"".join(path)}"/>' if path and line.joined else ""
        return f'<g class="{style(line.colour)}">{stroke}{"".join(marks)}</g>'

    def _shown(self, line: Series, position: int) -> bool:
        """Whether there is a point at this position of a line, and a place for it."""
        return position < len(line.x) and self._x.shows(line.x[position]) and self._y.shows(line.y[position])

    def _tip(self, line: Series, position: int) -> Markup:
        x = line.x[position]
        return escape(
            f"{self.axes.x_names.get(x, f'{self.axes.x_label}: {x:.4g}')}\n{line.name}: {line.tips[position]}"
        )

    def _names(self) -> list[str]:
        ends = []
        for line in self.series:
            known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if self._x.shows(x) and self._y.shows(y)]
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
                if x in values:
                    values[x].append(f"{line.name}: {tip}")
        parts = []
        for x, place, start, end in zip(self.xs, places, edges[:-1], edges[1:], strict=True):
            tip = escape("\n".join([self.axes.x_names.get(x, f"{x:.6g}"), *values[x][:20]]))
            area = f'x="{start:.1f}" y="{self.top}" width="{end - start:.1f}" height="{self.bottom - self.top}"'
            guide = f'<line class="guide" x1="{place}" x2="{place}" y1="{self.top}" y2="{self.bottom}"/>'
            parts.append(f'<g class="at"><title>{tip}</title><rect class="hit" {area}/>{guide}</g>')
        return parts


def _room(width: int) -> int:
    """How many letters of a name fit beside its key."""
    return round((width - 40) / 7)


def _rows(names: Sequence[str], width: int) -> list[tuple[int, float]]:
    """Row and left end of each name of a legend."""
    places, row, x = [], 0, 4.0
    for name in names:
        length = 31 + 7.0 * min(len(name), _room(width)) + 16
        if x > 4 and x + length > width + 12:
            row, x = row + 1, 4.0
        places.append((row, round(x, 1)))
        x += length
    return places
