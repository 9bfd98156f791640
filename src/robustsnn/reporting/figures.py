"""Figures that studies found, with their 95 % intervals: in words, in cells of tables, and on lines of charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustsnn.draw.scales import tick_text
from robustsnn.records.exhibit import Cell, Line, Style
from robustsnn.records.typed import Interval


@dataclass(frozen=True)
class Quantity:
    """95 % interval and number of samples of a value, which is the field that follows; None is undefined."""

    interval: Interval | None
    n: int

    @property
    def value(self) -> float | None:
        """The third field."""
        return tuple(vars(self).values())[2]

    def text(self, digits: int = 3, *, percent: bool = False) -> str:
        """'0.412 [0.39, 0.434]', '41.2 % [39.0, 43.4]', 'undefined'."""
        if self.value is None:
            return "undefined"

        def said(value: float) -> str:
            if percent:
                return f"{100 * value:.1f}"
            return tick_text(float(f"{value:.{digits}g}"))

        ends = "" if self.interval is None else f" [{said(self.interval[0])}, {said(self.interval[1])}]"
        return f"{said(self.value)}{' %' if percent else ''}{ends}"

    def as_share(self) -> ShownQuantity:
        """The same, the interval cut to what a share can be."""
        low, high = self.interval or (0.0, 0.0)
        return ShownQuantity(self.interval and (min(1.0, max(0.0, low)), min(1.0, max(0.0, high))), self.n, self.value)

    def percents(self) -> Cell:
        """A cell of a share in percent."""
        return self.as_share().cell(100)

    def cell(self, times: float = 1.0) -> Cell:
        """A cell of a table, in another unit."""
        ends = None if self.interval is None else (times * self.interval[0], times * self.interval[1])
        return Cell(None if self.value is None else times * self.value, ends, self.n)


@dataclass(frozen=True)
class ShownQuantity(Quantity):
    """A figure that no record holds as one."""

    figure: float | None


def line(name: str, x: Iterable[float], y: Sequence[Quantity], colour: int, style: Style = "line") -> Line:
    """Figures over x, with their intervals; a gap where one is undefined."""
    values = tuple(math.nan if one.value is None else one.value for one in y)
    return Line(name, tuple(map(float, x)), values, tuple(one.interval for one in y), style, colour)


def decimals(values: list[float | None]) -> int:
    """So many that the smallest of the values (zeros apart) has three digits that count; from 0 to 9."""
    sizes = [abs(value) for value in values if value]
    return max(0, min(9, 2 - math.floor(math.log10(min(sizes))))) if sizes else 1
