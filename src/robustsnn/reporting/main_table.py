"""The main table: a row per model, a column per attack; as cells for the page and for the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.draw.tables import Cell, TextTable
from robustsnn.records.result import Accuracy, Result
from robustsnn.reporting.reading import Model
from robustsnn.reporting.summary import apart, threat
from robustsnn.reporting.wording import accuracy_text, draws_text, interval_text, test_text


@dataclass(frozen=True)
class MainCell:
    """One cell. `standing`: 'best' in its column, 'close' where the order to the best is not settled, or ''."""

    rate: Accuracy | None
    standing: str

    @property
    def percent(self) -> str:
        return "" if self.rate is None else accuracy_text(self.rate)

    @property
    def interval(self) -> str:
        return "" if self.rate is None else interval_text(self.rate)


@dataclass(frozen=True)
class MainTable:
    """The headers after 'model', and per model its cells.

    `tests`: the threat and suite of each model in words, where they are not the same for all.
    """

    headers: list[str]
    rows: list[tuple[Model, list[MainCell]]]
    tests: dict[str, str]
    caption: str

    def words(self) -> TextTable:
        """For Markdown and LaTeX: '48.1 (42.8–53.4)', in percent."""
        extra = ["attacked with"] if self.tests else []
        rows = [
            [model.name, *(self.tests[model.name] for _ in extra), *(_words(entry.rate) for entry in row)]
            for model, row in self.rows
        ]
        return TextTable(["model", *extra, *self.headers], rows)

    def best(self) -> set[tuple[int, int]]:
        """Row and column in `words` of what is highest in its column."""
        first = 2 if self.tests else 1
        cells = ((i, k, entry) for i, (_, row) in enumerate(self.rows) for k, entry in enumerate(row, first))
        return {(i, k) for i, k, entry in cells if entry.standing == "best"}

    def numbers(self) -> TextTable:
        """For CSV: shares, interval ends and n in columns of their own."""
        parts = ("", " low", " high", " n")
        headers = [
            "model",
            "suite",
            "norm",
            "eps",
            "space",
            "draws",
            *(h + part for h in self.headers for part in parts),
        ]
        rows: list[list[Cell]] = []
        for model, row in self.rows:
            result = model.result
            start: list[Cell] = ["", "", None, "", None]
            if result is not None:
                draws = None if result.draws is None else result.draws.n
                start = [result.suite, result.norm, result.eps, result.space, draws]
            rows.append([model.name, *start, *(cell for entry in row for cell in _numbers(entry.rate))])
        return TextTable(headers, rows)


def main_table(models: Sequence[Model]) -> MainTable:
    """Worst case, which narrow screens show first; clean; every attack column in order of first appearance."""
    results = [model.result for model in models]
    attacks = list(dict.fromkeys(name for result in results if result for name in _columns(result)))
    columns = [
        [None if r is None else r.worst_case for r in results],
        [None if r is None else r.clean for r in results],
    ]
    columns += [[None if r is None else _columns(r).get(name) for r in results] for name in attacks]
    threats = {threat(model, model.result) for model in models if model.result is not None}
    data = {key[0] for key in threats}
    marked = [_mark(column, len(data if position == 1 else threats) == 1) for position, column in enumerate(columns)]
    rows = [(model, [column[position] for column in marked]) for position, model in enumerate(models)]
    said = {model.name: "" if model.result is None else test_text(model.result) for model in models}
    tests = said if len(set(said.values()) - {""}) > 1 else {}
    return MainTable(["worst case", "clean", *attacks], rows, tests, _caption(models))


def _columns(result: Result) -> dict[str, Accuracy]:
    """The columns that are figures of their own: not those whose attacks met only what others had left."""
    return {} if result.survivors_only else result.columns


def _caption(models: Sequence[Model]) -> str:
    tests = list(dict.fromkeys(test_text(model.result) for model in models if model.result is not None))
    if not tests:
        return "No model has been evaluated yet."
    ns = {rate.n for m in models if m.result for rate in (m.result.clean, m.result.worst_case) if rate and rate.n}
    images = f" on {ns.pop()} test images" if len(ns) == 1 else ""
    draws = [f" {m.name}: {draws_text(m.result.draws)}." for m in models if m.result and m.result.draws]
    return f"Accuracy in % with its 95 % interval{images}. Attacks: {'; '.join(tests)}.{''.join(draws)}"


def _mark(column: Sequence[Accuracy | None], comparable: bool) -> list[MainCell]:
    rates = [rate for rate in column if rate is not None]
    if not comparable or len(rates) < 2:
        return [MainCell(rate, "") for rate in column]
    top = max(rate.accuracy for rate in rates)
    best = [rate for rate in rates if rate.accuracy == top]
    return [MainCell(rate, "" if rate is None else _standing(rate, best)) for rate in column]


def _standing(rate: Accuracy, best: Sequence[Accuracy]) -> str:
    if rate in best:
        return "best"
    return "" if rate.interval is None or all(apart(rate, other) for other in best) else "close"


def _words(rate: Accuracy | None) -> str:
    if rate is None:
        return "\N{EN DASH}"
    at_most = "at most " if rate.at_most else ""
    if rate.interval is None:
        return f"{at_most}{100 * rate.accuracy:.1f}"
    low, high = rate.interval
    return f"{at_most}{100 * rate.accuracy:.1f} ({100 * low:.1f}\N{EN DASH}{100 * high:.1f})"


def _numbers(rate: Accuracy | None) -> list[Cell]:
    if rate is None:
        return [None] * 4
    low, high = rate.interval or (None, None)
    return [rate.accuracy, low, high, rate.n]
