"""The main table: a row per model, a column per attack; as cells for the page and for the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.report.reading import Model
from robustsnn.report.results import Rate
from robustsnn.report.summary import apart, threat, threat_text
from robustsnn.report.tables import Cell, Table
from robustsnn.report.wording import interval_text, listing, percent


@dataclass(frozen=True)
class Entry:
    """One cell. `standing`: 'best' in its column, 'close' where its interval overlaps the best's, or ''."""

    rate: Rate | None
    standing: str

    @property
    def percent(self) -> str:
        return "" if self.rate is None else percent(self.rate.accuracy)

    @property
    def interval(self) -> str:
        return "" if self.rate is None else interval_text(self.rate)


@dataclass(frozen=True)
class MainTable:
    """The headers after 'model', and per model its cells."""

    headers: list[str]
    rows: list[tuple[Model, list[Entry]]]
    caption: str

    def words(self) -> Table:
        """For Markdown and LaTeX: '48.1 (42.8–53.4)', in percent."""
        rows = [[model.name, *(_words(entry.rate) for entry in row)] for model, row in self.rows]
        return Table(["model", *self.headers], rows)

    def numbers(self) -> Table:
        """For CSV: shares, interval ends and n in columns of their own."""
        parts = ("", " low", " high", " n")
        headers = ["model", "suite", "norm", "eps", *(h + part for h in self.headers for part in parts)]
        rows: list[list[Cell]] = []
        for model, row in self.rows:
            result = model.result
            start = ["", "", None] if result is None else [result.suite, result.norm, result.eps]
            rows.append([model.name, *start, *(cell for entry in row for cell in _numbers(entry.rate))])
        return Table(headers, rows)


def main_table(models: Sequence[Model]) -> MainTable:
    """Clean, every attack column in order of first appearance, worst case."""
    results = [model.result for model in models]
    attacks = list(dict.fromkeys(name for result in results if result for name in result.columns))
    columns = [[None if r is None else r.clean for r in results]]
    columns += [[None if r is None else r.columns.get(name) for r in results] for name in attacks]
    columns.append([None if r is None else r.worst_case for r in results])
    threats = {threat(model, model.result) for model in models if model.result is not None}
    data = {key[0] for key in threats}
    marked = [_mark(column, len(data if position == 0 else threats) == 1) for position, column in enumerate(columns)]
    rows = [(model, [column[position] for column in marked]) for position, model in enumerate(models)]
    return MainTable(["clean", *attacks, "worst case"], rows, _caption(models))


def _caption(models: Sequence[Model]) -> str:
    threats = {threat_text(m.result): m.result.suite for m in models if m.result is not None}
    if not threats:
        return "No model has been evaluated yet."
    suites = listing([f"{text}, suite {suite}" if suite else text for text, suite in threats.items()])
    ns = {rate.n for m in models if m.result for rate in (m.result.clean, m.result.worst_case) if rate and rate.n}
    images = f" on {ns.pop()} test images" if len(ns) == 1 else ""
    return f"Accuracy in % with its 95 % interval{images}. Attacks: {suites}."


def _mark(column: Sequence[Rate | None], comparable: bool) -> list[Entry]:
    rates = [rate for rate in column if rate is not None]
    if not comparable or len(rates) < 2:
        return [Entry(rate, "") for rate in column]
    top = max(rate.accuracy for rate in rates)
    best = [rate for rate in rates if rate.accuracy == top]
    return [Entry(rate, "" if rate is None else _standing(rate, best)) for rate in column]


def _standing(rate: Rate, best: Sequence[Rate]) -> str:
    if rate in best:
        return "best"
    return "" if rate.interval is None or all(apart(rate, other) for other in best) else "close"


def _words(rate: Rate | None) -> str:
    if rate is None:
        return "\N{EN DASH}"
    if rate.interval is None:
        return f"{100 * rate.accuracy:.1f}"
    low, high = rate.interval
    return f"{100 * rate.accuracy:.1f} ({100 * low:.1f}\N{EN DASH}{100 * high:.1f})"


def _numbers(rate: Rate | None) -> list[Cell]:
    if rate is None:
        return [None] * 4
    low, high = rate.interval or (None, None)
    return [rate.accuracy, low, high, rate.n]
