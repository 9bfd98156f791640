"""The analyses of a run, `analysis/*.json`, read entry by entry; what makes no sense is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Cell, Interval
from robustsnn.reporting.fields import items, mapping, number, refuse, truth, whole
from robustsnn.reporting.scales import tick_text


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

    def percents(self) -> Cell:
        """A cell of a share in percent, its interval cut to what a share can be."""
        whole = self.cell(100)
        ends = whole.interval and (max(0.0, whole.interval[0]), min(100.0, whole.interval[1]))
        return Cell(whole.ours, ends, whole.n)

    def cell(self, times: float = 1.0) -> Cell:
        """A cell of a table, in another unit."""
        ends = None if self.interval is None else (times * self.interval[0], times * self.interval[1])
        return Cell(None if self.value is None else times * self.value, ends, self.n)


@dataclass(frozen=True)
class Entry:
    """A table of entries and its place in a file; each reader gives UserError for what is not of its kind."""

    value: dict[str, Any]
    where: str

    def part(self, key: str) -> Entry:
        """The table under `key`."""
        return Entry(mapping(self.value.get(key), self._at(key)), self._at(key))

    def maybe(self, key: str) -> Entry | None:
        """The same; None where there is nothing."""
        return None if self.value.get(key) is None else self.part(key)

    def parts(self, key: str) -> list[Entry]:
        """The tables in the list under `key`."""
        places = enumerate(self._list(key))
        return [Entry(mapping(part, f"{self._at(key)}[{k}]"), f"{self._at(key)}[{k}]") for k, part in places]

    def named(self) -> list[tuple[str, Entry]]:
        """All tables that are here, by name."""
        return [(key, self.part(key)) for key, value in self.value.items() if isinstance(value, dict)]

    def number(self, key: str) -> float:
        """A finite number."""
        found = number(self.value.get(key), self._at(key))
        if found is None:
            raise refuse(self._at(key), None, "a number")
        return found

    def known(self, key: str) -> float | None:
        """A finite number; None where there is nothing."""
        return number(self.value.get(key), self._at(key))

    def whole(self, key: str) -> int:
        """An integer of at least 0."""
        return whole(self.value.get(key), self._at(key))

    def truth(self, key: str) -> bool | None:
        """true or false; None where it is undefined."""
        return None if self.value.get(key) is None else truth(self.value[key], self._at(key))

    def text(self, key: str) -> str:
        """A string."""
        if not isinstance(self.value.get(key), str):
            raise refuse(self._at(key), self.value.get(key), "a string")
        return self.value[key]

    def numbers(self, key: str) -> list[float]:
        """Numbers; NaN where one is undefined."""
        found = [number(value, f"{self._at(key)}[{k}]") for k, value in enumerate(self._list(key))]
        return [math.nan if value is None else value for value in found]

    def found(self, key: str, name: str = "mean") -> Found:
        """The figure under `key`, whose value stands under `name`."""
        part = self.part(key)
        ends = None
        if part.value.get("interval") is not None:
            pair = part.numbers("interval")
            if len(pair) != 2 or not pair[0] <= pair[1]:
                raise refuse(f"{part.where}.interval", pair, "a lower and an upper end")
            ends = (pair[0], pair[1])
        n = part.value.get("n")
        return Found(part.known(name), ends, None if n is None else part.whole("n"))

    def _at(self, key: str) -> str:
        return f"{self.where}: {key}" if self.where.endswith(".json") else f"{self.where}.{key}"

    def _list(self, key: str) -> list[Any]:
        if self.value.get(key) is None:
            raise refuse(self._at(key), None, "a list")
        return items(self.value[key], self._at(key))


def read_analysis(path: Path) -> Entry:
    """The content of a file. UserError where it is no JSON, no table, or of another schema."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); analyse the run again") from error
    value = mapping(value, str(path))
    if value.get("schema", 1) != 1:
        raise refuse(f"{path}: schema", value["schema"], "1, which this report reads")
    return Entry(value, str(path))


def decimals(values: list[float | None]) -> int:
    """So many that the smallest of the values (zeros apart) has three digits that count; from 0 to 9."""
    sizes = [abs(value) for value in values if value]
    return max(0, min(9, 2 - math.floor(math.log10(min(sizes))))) if sizes else 1
