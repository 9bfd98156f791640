"""CSV that a spreadsheet may open: text is text."""

import csv

import pytest

from robustsnn.draw.tables import TextTable


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")', "-"]
)
def test_text_is_no_formula_and_numbers_stay_numbers(text):
    written = TextTable([text, "n"], [[text, -1.5], ["plain = text", None], ["", 3]]).csv()
    rows = list(csv.reader(written.splitlines(keepends=True)))
    assert rows[0] == [f"'{text}", "n"]
    assert rows[1] == [f"'{text}", "-1.5"]
    assert rows[2:] == [["plain = text", ""], ["", "3"]]
    assert ",-1.5\n" in written  # bare
