from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Bar, Bars, Cell, Chart, Claim, Exhibit, Line, Picture, Pictures, Row, Table, Words

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.floats(-1e9, 1e9)
INTERVALS = st.none() | st.tuples(NUMBER, NUMBER)
CELLS = st.builds(Cell, st.none() | NUMBER, INTERVALS, st.none() | st.integers(0, 99), st.none() | NUMBER)
ROWS = st.builds(Row, TEXT, st.lists(CELLS, max_size=3).map(tuple), TEXT)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    n = draw(st.integers(0, 4))
    of = lambda values: st.lists(values, min_size=n, max_size=n).map(tuple)  # noqa: E731
    band = draw(st.just(()) | of(INTERVALS))
    style = draw(st.sampled_from(["line", "dashed", "points"]))
    return Line(draw(TEXT), draw(of(NUMBER)), draw(of(NUMBER)), band, style, draw(st.none() | st.integers(0, 9)))


TABLES = st.builds(Table, TEXT, TEXTS, st.lists(ROWS, max_size=3).map(tuple), TEXT, st.integers(0, 4), TEXT)
NAMES = st.lists(st.tuples(NUMBER, TEXT), max_size=2).map(tuple)
FLAGS = (st.booleans(), st.booleans(), st.booleans())
CHARTS = st.builds(Chart, TEXT, TEXT, TEXT, st.lists(lines(), max_size=3).map(tuple), *FLAGS, NAMES, TEXT)
SHOTS = st.lists(st.builds(Picture, st.binary(max_size=6), TEXT), max_size=2).map(tuple)
PICTURES = st.builds(Pictures, TEXT, TEXTS, st.lists(st.tuples(TEXT, SHOTS), max_size=2).map(tuple), TEXT)
LENGTHS = st.lists(NUMBER, max_size=2).map(tuple)
BAR = st.builds(Bar, TEXT, LENGTHS, st.lists(CELLS, max_size=2).map(tuple), st.just((0, 1)), TEXT, st.integers(0, 9))
BARS = st.builds(Bars, TEXT, TEXT, st.lists(BAR, max_size=2).map(tuple), TEXTS, TEXTS, TEXTS, *FLAGS[:2], TEXT)
BLOCKS = TABLES | CHARTS | BARS | PICTURES | st.builds(Words, TEXTS, TEXT)
CLAIMS = st.builds(Claim, TEXT, st.sampled_from(["holds", "does not hold", "undecided"]), TEXT)
EXHIBITS = st.builds(
    Exhibit,
    *[TEXT] * 4,
    st.lists(BLOCKS, max_size=3).map(tuple),
    st.lists(CLAIMS, max_size=2).map(tuple),
    TEXTS,
    st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
)


def again(exhibit: Exhibit) -> Exhibit:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "exhibit.json"
        exhibit.save(path)
        return Exhibit.load(path)


@given(EXHIBITS)
@settings(deadline=None, max_examples=60)
def test_what_is_saved_is_loaded(exhibit: Exhibit) -> None:
    assert again(exhibit) == exhibit


def with_line(line: Line) -> Exhibit:
    return Exhibit("a", "b", "c", "digits", (Chart("t", "x", "y", (line,)),))


def test_what_is_no_number_is_a_gap() -> None:
    nan = math.nan
    line = Line("l", (nan, 1.0, 2.0), (1.0, nan, math.inf), ((0.0, 1.0), (nan, 2.0), None))
    (chart,) = again(with_line(line)).blocks
    assert isinstance(chart, Chart)
    (found,) = chart.lines
    assert math.isnan(found.x[0])
    assert found.x[1:] == (1.0, 2.0)
    assert found.y[0] == 1.0
    assert all(map(math.isnan, found.y[1:]))
    assert found.band == ((0.0, 1.0), None, None)


@pytest.mark.parametrize(
    "parts",
    [((1.0,), ()), ((), (1.0,)), ((1.0,), (1.0,), (None, None)), ((1.0,), (1.0,), (), "dotted")],
)
def test_a_line_is_whole(parts: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        Line("name", *parts)


def test_a_verdict_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="maybe"):
        Claim("text", "maybe", "because")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("schema", 2),
        ("blocks", 3),
        ("blocks", [{"kind": "film"}]),
        ("blocks", [{"kind": "chart", "title": "t"}]),
        ("blocks", [{"kind": "pictures", "title": "t", "columns": [], "rows": [["a", [{"png": "%", "caption": ""}]]]}]),
        ("claims", [{"text": "t", "verdict": "maybe", "because": "b"}]),
        ("more", 1),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, change: str, value: Any) -> None:
    path = tmp_path / "exhibit.json"
    with_line(Line("l", (1.0,), (2.0,))).save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {change: value}))
    with pytest.raises(UserError, match=r"exhibit\.json is not a saved exhibit"):
        Exhibit.load(path)
    path.write_text("[")
    with pytest.raises(UserError, match="make it again"):
        Exhibit.load(path)
