"""The picture beside the summary: per model, clean and worst-case accuracy with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from robustsnn.reporting.marks import marker, short, style
from robustsnn.reporting.rates import Rate
from robustsnn.reporting.reading import Model
from robustsnn.reporting.tables import Cell, Table
from robustsnn.reporting.wording import rate_text, test_text

_ROW = 46


def overview(models: Sequence[Model], width: int) -> Markup:
    """An `<svg>` with a line per evaluated model: hollow mark clean, filled mark worst case."""
    shown = [
        (model, model.result.clean, model.result.worst_case)
        for model in models
        if model.result is not None and (model.result.clean or model.result.worst_case)
    ]
    tests = {model.name: test_text(model.result) for model, _, _ in shown if model.result is not None}
    said = len(set(tests.values())) > 1
    row_height = _ROW + (15 if said else 0)
    height, left, right = row_height * len(shown) + 40, 12, width - 16
    bottom = height - 28

    def place(share: float) -> float:
        return round(left + share * (right - left), 1)

    parts = []
    for tick in range(0, 101, 20):
        x = place(tick / 100)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{bottom}"/>')
        parts.append(f'<text class="tick mid" x="{x}" y="{bottom + 17}">{tick} %</text>')
    for row, (model, clean, worst) in enumerate(shown):
        y = row_height * (row + 1) - 12
        parts.append(f'<g class="at"><title>{escape(_tip(model, clean, worst))}</title>')
        parts.append(f'<rect class="hit" x="0" y="{row_height * row + 6}" width="{width}" height="{row_height}"/>')
        parts.append(f'<g class="{style(model.colour)}">')
        top = row_height * row + 21
        parts.append(f'<text class="name" x="{left}" y="{top}">{escape(short(model.name, 40))}</text>')
        if said:
            parts.append(f'<text x="{left}" y="{top + 15}">{escape(short(tests[model.name], 48))}</text>')
        if clean and worst:
            ends = f'x1="{place(worst.accuracy)}" x2="{place(clean.accuracy)}"'
            parts.append(f'<line class="span" {ends} y1="{y}" y2="{y}"/>')
        for rate, hollow in ((clean, True), (worst, False)):
            if rate is not None:
                if rate.interval is not None:
                    ends = f'x1="{place(rate.interval[0])}" x2="{place(rate.interval[1])}"'
                    parts.append(f'<line class="whisker" {ends} y1="{y}" y2="{y}"/>')
                parts.append(marker(model.colour, place(rate.accuracy), y, hollow=hollow, size=5))
        parts.append("</g></g>")
    alt = "Clean and worst-case accuracy per model. " + " ".join(_tip(*line).replace("\n", ", ") for line in shown)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return Markup(f'<svg {size} role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>')


def overview_table(models: Sequence[Model]) -> Table:
    """The figures of the picture."""
    parts = ("", " low", " high", " n")
    headers = ["model", "tested", *(f"{what}{part}" for what in ("clean", "worst case") for part in parts)]
    rows: list[list[Cell]] = []
    for model in models:
        if model.result is not None and (model.result.clean or model.result.worst_case):
            line: list[Cell] = [model.name, test_text(model.result)]
            for rate in (model.result.clean, model.result.worst_case):
                low, high = (None, None) if rate is None or rate.interval is None else rate.interval
                line += [None] * 4 if rate is None else [rate.accuracy, low, high, rate.n]
            rows.append(line)
    return Table(headers, rows)


def _tip(model: Model, clean: Rate | None, worst: Rate | None) -> str:
    lines = [model.name]
    lines += [test_text(model.result)] if model.result else []
    lines += [f"clean: {rate_text(clean)}"] if clean else []
    lines += [f"worst case: {rate_text(worst)}"] if worst else []
    return "\n".join(lines)
