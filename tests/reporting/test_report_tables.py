from __future__ import annotations

import csv
import io
import re

from hypothesis import given
from hypothesis import strategies as st

from robustsnn.draw.tables import TextTable

SPECIAL = "\\`*_{}[]<>|~&$#%^'\"-,;\n\r\té\u2013 "
TEXT = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(codec="utf-8", exclude_characters="\0")))
TABLES = st.integers(1, 4).flatmap(
    lambda n: st.builds(
        TextTable,
        st.lists(TEXT, min_size=n, max_size=n),
        st.lists(st.lists(TEXT, min_size=n, max_size=n), max_size=3),
    )
)
LATEX_WORDS = r"textbackslash|textasciicircum|textasciitilde|textasciigrave|textless|textgreater|textbar"


@given(TABLES)
def test_csv_reads_back_as_written(table: TextTable) -> None:
    written = [
        [f"'{cell}" if cell[:1] in tuple("=+-@\t\r\n") else cell for cell in row]
        for row in [table.headers, *table.rows]
    ]
    assert list(csv.reader(io.StringIO(table.csv(), newline=""))) == written


def test_csv_keeps_numbers_bare_and_complete() -> None:
    assert TextTable(["a", "b", "c"], [["x", 1 / 3, None]]).csv() == f'"a","b","c"\n"x",{1 / 3!r},""\n'


@given(TABLES)
def test_latex_holds_no_unescaped_special(table: TextTable) -> None:
    lines = table.latex().split("\n")
    start, end = lines.index(r"    \toprule"), lines.index(r"    \bottomrule")
    rows = [line for line in lines[start + 1 : end] if line != r"    \midrule"]
    assert len(rows) == 1 + len(table.rows)
    for row in rows:
        assert row.endswith(r" \\")
        cells = row[: -len(r" \\")].split(" & ")
        assert len(cells) == len(table.headers)
        for cell in cells:
            plain = re.sub(rf"\\(?:{LATEX_WORDS}){{}}|\\[{{}}$&#%_]|{{[\[*]}}|-{{}}", "", cell)
            assert not set(plain) & set("\\{}$&#%_^~`<>|[*")
            assert "--" not in cell


@given(TABLES)
def test_markdown_rows_keep_their_cells(table: TextTable) -> None:
    lines = table.markdown().removesuffix("\n").split("\n")
    assert len(lines) == 2 + len(table.rows)
    for line in lines[:1] + lines[2:]:
        plain = re.sub(r"\\[\\`*_{}\[\]<>|~&$#]", "", line)
        assert plain.count("|") == len(table.headers) + 1
        assert not set(plain) & set("\\`*_{}[]<>~&$#")


def test_each_format_escapes_its_own_characters() -> None:
    table = TextTable(["name"], [["50% & a_b | <i>*x*</i>\nnext"]])
    assert r"50\% \& a\_b \textbar{} \textless{}i\textgreater{}{*}x{*}" in table.latex()
    assert r"50% \& a\_b \| \<i\>\*x\*\</i\> next" in table.markdown()
    assert table.csv() == '"name"\n"50% & a_b | <i>*x*</i>\nnext"\n'


def test_captions_are_escaped() -> None:
    table = TextTable(["a"], [["b"]])
    assert r"\caption{95 \% of a\_b}" in table.latex("95 % of a_b")
    assert table.markdown("a_b").endswith("\n\na\\_b\n")


def test_latex_has_a_label_and_bold_cells_and_says_what_it_needs() -> None:
    table = TextTable(["a", "b"], [["x", "1 %"], ["y", "2 %"]])
    text = table.latex("Words", "tab:my_page {}", {(1, 1)})
    assert "usepackage{booktabs}" in text.splitlines()[0]
    assert text.splitlines()[0].startswith("%")
    assert r"\label{tab:my-page---}" in text
    assert r"    x & 1 \% \\" in text
    assert r"    y & \textbf{2 \%} \\" in text
