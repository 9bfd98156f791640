"""A table as CSV, Markdown and LaTeX, each with its own escaping."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

Cell = str | int | float | None

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the \\ that ends a row these two would be read as its arguments.
    "[": "{[}",
    "*": "{*}",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARKDOWN = "\\`*_{}[]<>|~&$#"


@dataclass(frozen=True)
class TextTable:
    """Headers and rows of equal length; None is an empty cell."""

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def csv(self) -> str:
        """UTF-8 text, one line per row: text quoted, numbers bare and complete, None empty.

        Text that a spreadsheet would take for a formula has an apostrophe before it.
        """
        stream = io.StringIO()
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerows([_harmless(cell) for cell in row] for row in (self.headers, *self.rows))
        return stream.getvalue()

    def markdown(self, caption: str = "") -> str:
        """A pipe table; `caption` goes below it as a paragraph."""
        lines = [self.headers, *self.rows]
        text = [f"| {' | '.join(_markdown(cell) for cell in line)} |" for line in lines]
        text.insert(1, f"| :-- |{' --: |' * (len(self.headers) - 1)}")
        return "\n".join(text) + "\n" + (f"\n{_markdown(caption)}\n" if caption else "")

    def latex(self, caption: str = "", label: str = "", bold: Collection[tuple[int, int]] = ()) -> str:
        r"""A `table` with booktabs rules, which says that it needs them. `bold`: (row, column) of cells in bold."""
        columns = "l" + "r" * (len(self.headers) - 1)
        cells = [[_latex(cell) for cell in line] for line in [self.headers, *self.rows]]
        for row, column in bold:
            cells[row + 1][column] = rf"\textbf{{{cells[row + 1][column]}}}"
        head, *body = (" & ".join(line) + r" \\" for line in cells)
        lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"  \centering"]
        lines += [rf"  \caption{{{_latex(caption)}}}"] if caption else []
        lines += [rf"  \label{{{re.sub(r'[^A-Za-z0-9:.-]', '-', label)}}}"] if label else []
        lines += [rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule", f"    {head}", r"    \midrule"]
        lines += [f"    {line}" for line in body]
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
        return "\n".join(lines) + "\n"


def _harmless(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _one_line(cell: Cell) -> str:
    text = "" if cell is None else str(cell)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _markdown(cell: Cell) -> str:
    return "".join(f"\\{c}" if c in _MARKDOWN else c for c in _one_line(cell))


def _latex(cell: Cell) -> str:
    text = "".join(_LATEX.get(c, c) for c in _one_line(cell))
    return re.sub("-(?=-)", "-{}", text)  # two hyphens would print as one dash
