"""The analyses of a run, `analysis/*.json`, read entry by entry; what makes no sense is refused by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustsnn.draw.scales import tick_text
from robustsnn.records.exhibit import Cell, Interval
from robustsnn.records.typed import Interval as Ends
from robustsnn.records.typed import read_json, record_of, refuse


@dataclass(frozen=True)
class Found:
    """A figure of an analysis: value, 95 % interval and number of samples, each None where it is undefined."""

    value: float | None
    interval: Interval | None
    n: int | None

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

    def as_share(self) -> Found:
        """The same, the interval cut to what a share can be."""
        low, high = self.interval or (0.0, 0.0)
        return replace(self, interval=self.interval and (min(1.0, max(0.0, low)), min(1.0, max(0.0, high))))

    def percents(self) -> Cell:
        """A cell of a share in percent."""
        return self.as_share().cell(100)

    def cell(self, times: float = 1.0) -> Cell:
        """A cell of a table, in another unit."""
        ends = None if self.interval is None else (times * self.interval[0], times * self.interval[1])
        return Cell(None if self.value is None else times * self.value, ends, self.n)


@dataclass(frozen=True)
class Entry:
    """A table of entries and its place in a file; each reader gives UserError for what is not of its kind."""

    value: dict[str, Any]
    where: str

    def _get(self, kind: Any, key: str) -> Any:
        return record_of(kind, self.value.get(key), self._at(key))

    def part(self, key: str) -> Entry:
        """The table under `key`."""
        return Entry(self._get(dict[str, Any], key), self._at(key))

    def maybe(self, key: str) -> Entry | None:
        """The same; None where there is nothing."""
        return None if self.value.get(key) is None else self.part(key)

    def parts(self, key: str) -> list[Entry]:
        """The tables in the list under `key`."""
        return [Entry(p, f"{self._at(key)}[{k}]") for k, p in enumerate(self._get(tuple[dict[str, Any], ...], key))]

    def named(self) -> list[tuple[str, Entry]]:
        """All tables that are here, by name."""
        return [(key, self.part(key)) for key, value in self.value.items() if isinstance(value, dict)]

    def number(self, key: str) -> float:
        """A finite number."""
        return self._get(float, key)

    def known(self, key: str) -> float | None:
        """A finite number; None where there is nothing."""
        return self._get(float | None, key)

    def whole(self, key: str) -> int:
        """An integer of at least 0."""
        return self._get(int, key)

    def truth(self, key: str) -> bool | None:
        """true or false; None where it is undefined."""
        return self._get(bool | None, key)

    def text(self, key: str) -> str:
        """A string."""
        return self._get(str, key)

    def numbers(self, key: str) -> list[float]:
        """Numbers; NaN where one is undefined."""
        return [math.nan if value is None else value for value in self._get(tuple[float | None, ...], key)]

    def found(self, key: str, name: str = "mean") -> Found:
        """The figure under `key`, whose value stands under `name`."""
        part = self.part(key)
        return Found(part.known(name), part._get(Ends | None, "interval"), part._get(int | None, "n"))

    def _at(self, key: str) -> str:
        return f"{self.where}: {key}" if self.where.endswith(".json") else f"{self.where}.{key}"


def read_analysis(path: Path) -> Entry:
    """The content of a file. UserError where it is no JSON, no table, or of another schema."""
    value = read_json(path)
    if value.get("schema", 1) != 1:
        raise refuse(f"{path}: schema", value["schema"], "1, which this report reads")
    return Entry(value, str(path))


def decimals(values: list[float | None]) -> int:
    """So many that the smallest of the values (zeros apart) has three digits that count; from 0 to 9."""
    sizes = [abs(value) for value in values if value]
    return max(0, min(9, 2 - math.floor(math.log10(min(sizes))))) if sizes else 1
