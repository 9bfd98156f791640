from __future__ import annotations

import base64
import csv
import io
import math
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from some_exhibits import bars, chart, pictures, table

from robustsnn.draw.bars import bars_view
from robustsnn.draw.blocks import parts
from robustsnn.draw.chart import chart_view, data
from robustsnn.draw.colours import DARK, LIGHT
from robustsnn.draw.pictures import pictures_view
from robustsnn.draw.scales import log_ticks, nice_ticks, tick_text, ticks
from robustsnn.draw.table import figure_text, table_view
from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Bar, Bars, Cell, Chart, Line, Picture, Pictures, Row, Table, Words

NUMBERS = st.floats(-1e6, 1e6)
VALUES = NUMBERS | st.just(math.nan)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@given(st.lists(st.tuples(NUMBERS, VALUES, st.none() | st.tuples(NUMBERS, NUMBERS)), max_size=6))
@settings(deadline=None)
def test_the_csv_of_a_chart_is_its_points(points: list[tuple[float, float, tuple[float, float] | None]]) -> None:
    line = Line("l", *(tuple(p[k] for p in points) for k in range(3)))  # type: ignore[arg-type]
    rows = read(data(Chart("t", "h", "error", (line,))).csv())
    assert len(rows) == len(points)
    for row, (x, y, band) in zip(rows, points, strict=True):
        assert float(row["x: h"]) == x
        assert row["y: error"] == "" if math.isnan(y) else float(row["y: error"]) == y
        assert (row["low"], row["high"]) == ("", "") if band is None else float(row["low"]) == band[0]


@given(st.lists(st.lists(st.builds(Cell, st.none() | NUMBERS, st.none(), st.none(), st.none() | NUMBERS), max_size=3)))
@settings(deadline=None, max_examples=40)
def test_the_csv_of_a_table_is_its_figures(cells: list[list[Cell]]) -> None:
    rows = tuple(Row(f"row {k}", tuple(line), "g") for k, line in enumerate(cells))
    view = table_view(Table("t", ("a", "b", "c"), rows, unit="s"), "name")
    found = read(base64.b64decode(view.files[0].address.partition(",")[2]).decode())
    assert [row["row"] for row in found] == [row.label for row in rows]
    for line, row in zip(found, rows, strict=True):
        for name, cell in zip("abc", row.cells, strict=False):
            for column, value in ((f"{name} (s)", cell.ours), (f"{name} (s) paper", cell.published)):
                assert line[column] == "" if value is None else float(line[column]) == value


def test_a_table_shows_ours_beside_the_paper() -> None:
    view = table_view(table(), "t")
    assert [group for group, _ in view.groups] == ["CIFAR-10", "CIFAR-100"]
    first, second, third = view.groups[0][1][0][1]
    assert (first.ours, first.interval, first.published) == ("56.8", "[52.0, 61.2]", "30.5")
    assert (second.ours, second.published) == ("", "9.0")
    assert third.ours == "0.0"  # minus nothing
    assert first.n == ""
    assert "n = 360 where there is an interval." in view.note
    assert "Paper: as published." in view.note
    assert len(view.groups[1][1][0][1]) == 3  # a short row is filled up
    assert figure_text(-1.25, 1) == "\N{MINUS SIGN}1.2"


def test_counts_that_differ_stand_in_the_cells() -> None:
    rows = (Row("a", (Cell(1.0, None, 5),)), Row("b", (Cell(2.0, None, 6),)))
    view = table_view(Table("t", ("x",), rows, unit=""), "t")
    assert [cells[0].n for _, cells in view.groups[0][1]] == ["n = 5", "n = 6"]
    assert view.note == ""


def points_of(svg: str) -> list[tuple[float, float]]:
    *_, path = re.findall(r'<g class="line">\s*<path d="(M[^"]*)"', svg)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path)]


def marks_of(svg: str) -> int:
    """How many marks stand at points."""
    return sum(part.count("<use") for part in re.findall(r'<g class="marks">(.*?)</g>', svg))


def test_log_axes_are_straight_for_powers() -> None:
    x = (1e-3, 1e-2, 1e-1, 1.0)
    drawn = Chart("", "x", "y", (Line("", x, tuple(v**2 for v in x)),), x_log=True, y_log=True)
    places = points_of(str(chart_view(drawn, "c").svg))
    steps = {(round(b[0] - a[0]), round(b[1] - a[1])) for a, b in pairwise(places)}
    assert len(steps) == 1
    assert ">10⁻⁶</text>" in chart_view(drawn, "c").svg


def test_gaps_are_gaps() -> None:
    svg = str(chart_view(Chart("", "x", "y", (Line("", (1, 2, 3, 4), (1, math.nan, 3, 4)),)), "c").svg)
    assert re.findall(r'<g class="line">\s*<path d="([^"]*)"', svg)[0].count("M") == 2
    assert "nan" not in svg
    assert "not a number" in svg


def test_what_a_log_axis_cannot_show_is_said() -> None:
    line = Line("", (0.0, 1.0, 2.0), (1.0, 0.0, 5.0), style="points")
    view = chart_view(Chart("t", "x", "y", (line,), x_log=True, y_log=True), "c")
    assert "2 points at or below zero" in view.caption
    assert marks_of(str(view.svg)) == 1
    assert len(read(view.data.csv())) == 3


def test_points_are_not_joined_and_many_are_thinned_and_counted() -> None:
    n = 3000
    line = Line("cloud", tuple(map(float, range(n))), (1.0,) * n, style="points")
    view = chart_view(Chart("t", "x", "y", (line,)), "c")
    assert 0 < marks_of(str(view.svg)) <= 1000
    assert 'class="line"' not in view.svg
    assert "the CSV has all" in view.caption
    assert len(read(view.data.csv())) == n


@given(st.lists(VALUES, max_size=5), st.lists(st.floats(1e-12, 1e12), max_size=4), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=25)
def test_any_values_can_be_drawn(values: list[float], sizes: list[float], log: bool, percent: bool) -> None:
    both = [*values, *sizes]
    line = Line("l", tuple(both), tuple(reversed(both)))
    view = chart_view(Chart("t", "x", "y", (line,), log, log, percent), "c")
    svg = str(view.svg)
    assert not re.search(r"[\"> ,]-?(nan|inf)", svg)
    places = points_of(svg) if re.search(r'<g class="line">\s*<path d="M', svg) else []
    assert all(0 <= x <= 900 and 0 <= y <= 420 for x, y in places)


def test_a_chart_without_points_is_an_empty_frame() -> None:
    for one in (Chart("t", "x", "y", ()), Chart("t", "x", "y", (Line("l", (), ()),), x_log=True, y_log=True)):
        assert str(chart_view(one, "c").svg).startswith("<svg")


def test_lines_of_one_colour_look_alike() -> None:
    x = (1.0, 2.0)
    pair = (Line("a", x, x, colour=3), Line("b", x, x, style="dashed", colour=3))
    svg = str(chart_view(Chart("t", "x", "y", pair), "c").svg)
    assert set(re.findall(r"var\(--(c\d)\)", svg)) == {"c3"}
    assert "stroke-dasharray" in svg
    assert ">b</text>" in svg


def test_long_names_below_the_axis_are_turned() -> None:
    names = tuple((float(k), f"features.{k}.neurons") for k in range(12))
    line = Line("l", tuple(k for k, _ in names), (1.0,) * 12)
    svg = str(chart_view(Chart("t", "layer", "rate", (line,), x_names=names), "c").svg)
    assert svg.count('transform="rotate(-45') == 12
    assert "features.11.neurons" in svg


@given(st.floats(1e-9, 1e9), st.floats(1, 1e9))
def test_log_ticks_span_the_values(low: float, factor: float) -> None:
    found = log_ticks(low, low * factor)
    assert found == sorted(set(found))
    assert found[0] <= low * (1 + 1e-6)
    assert found[-1] >= low * factor * (1 - 1e-6)
    assert 2 <= len(found) <= 9


def test_ticks_and_their_text() -> None:
    assert [text for _, text in ticks([0.1, 0.9], percent=True)] == ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]
    assert next(text for _, text in ticks([1e-7, 1e-2], log=True)) == "10⁻⁷"
    assert next(value for value, _ in ticks([0.2, 0.9])) == 0
    assert tick_text(2e-7) == "2·10⁻⁷"
    assert tick_text(-0.5) == "\N{MINUS SIGN}0.5"


def test_pictures_keep_their_shape_and_are_text_in_the_csv() -> None:
    view = pictures_view(pictures("<b>"), "p")
    shapes = re.findall(r'width="(\d+)" height="(\d+)" transform="matrix\(([\d.]+) 0 0 ([\d.]+)', str(view.svg))
    wide, tall = ((int(w) * float(x), int(h) * float(y)) for w, h, x, y in shapes)
    assert wide[0] == wide[1]
    assert tall[1] == 2 * tall[0]
    assert "<b>" not in view.svg
    rows = read(view.data.csv())
    assert [(row["subject"], row["view"], row["width"], row["height"]) for row in rows] == [
        ("<b>", "image", "4", "4"),
        ("<b>", "<b>", "4", "8"),
    ]


def test_what_is_no_png_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="a picture of 'heat' is no PNG"):
        pictures_view(Pictures("heat", ("a",), (("row", (Picture(b"GIF89a"),)),)), "p")


def test_charts_that_follow_one_another_stand_side_by_side() -> None:
    blocks = [chart(), Words(("w",)), chart(), chart(), table(), pictures()]
    found = parts(blocks, "x")
    assert [(part.kind, len(part.views)) for part in found] == [
        ("figures", 1),
        ("words", 1),
        ("figures", 2),
        ("table", 1),
        ("wide", 1),
    ]
    assert [view.name for part in found if part.kind == "figures" for view in part.views] == ["x-1", "x-3", "x-4"]


def test_text_is_escaped_in_drawings() -> None:
    bad = "<script>alert(1)</script>&\"'"
    for svg in (chart_view(chart(bad), "c").svg, bars_view(bars(bad), "b").svg, pictures_view(pictures(bad), "p").svg):
        assert "<script" not in svg
        assert "alert(1)" in unescape(str(svg))


def test_a_quotient_by_almost_nothing_does_not_flatten_the_others() -> None:
    x = tuple(float(k) for k in range(1, 31))
    y = (*(1.0 + k / 10 for k in range(29)), 1e13)
    bound = Line("bound", (1.0, 30.0), (1e9, 1e9))
    plain = Chart("ratio", "x", "y", (Line("a", x, y, style="points"), bound), y_log=True)
    view = chart_view(plain, "ratio")
    assert "10¹³" not in view.svg
    assert "1 point far beyond the others not drawn; the CSV has all." in view.caption
    assert "10000000000000.0" in data(plain).csv() or "1e+13" in data(plain).csv()
    near = replace(plain, lines=(replace(plain.lines[0], y=(*y[:29], 50.0)), bound))
    assert chart_view(near, "ratio").caption == ""


def test_each_column_has_the_decimals_that_its_figures_need() -> None:
    rows = (Row("a", (Cell(1461.984, (1009.58, 2336.96)), Cell(0.0343)), ""), Row("b", (Cell(54.15), Cell(3.787)), ""))
    view = table_view(Table("t", ("big", "small"), rows, "", 5), "t")
    shown = [[cell.ours for cell in cells] for _, cells in view.groups[0][1]]
    assert shown == [["1462", "0.034"], ["54", "3.787"]]
    assert view.groups[0][1][0][1][0].interval == "[1010, 2337]"


def lengths(svg: str, part: int) -> list[float]:
    """How long the drawn bars of a part are, from top to bottom."""
    paths = re.findall(rf'<g class="bar" data-part="{part}">\s*<path d="M ([\d.]+) [\d.]+ *L ([\d.]+)', svg)
    return [float(end) - float(start) for start, end in paths]


@given(st.lists(st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=10)
def test_bars_are_as_long_as_their_parts(shares: list[tuple[float, float]]) -> None:
    rows = tuple(Bar(f"row {k}", pair, tip=f"row {k} said") for k, pair in enumerate(shares))
    view = bars_view(Bars("t", "share", rows, ("a", "b"), percent=True), "b")
    svg = str(view.svg)
    firsts, seconds = lengths(svg, 0), lengths(svg, 1)
    assert len(firsts) == len(seconds) == len(shares)
    for (a, b), first, second in zip(shares, firsts, seconds, strict=True):
        assert first / second == pytest.approx(max(a / b, 0), rel=0.2) or min(first, second) < 4
        assert first / firsts[0] == pytest.approx(a / shares[0][0], rel=0.2) or min(first, firsts[0]) < 4
    assert re.findall(r"<title>(row \d) said</title>", svg) == [row.label for row in rows]
    assert [(float(row["a"]), float(row["b"])) for row in read(view.data.csv())] == shares


def test_points_have_their_intervals_and_log_axes_are_straight() -> None:
    rows = tuple(Bar(str(v), points=(Cell(v, (v / 2, 2 * v), 9), Cell(None)), colour=2) for v in (0.01, 0.1, 1.0))
    view = bars_view(Bars("t", "norm", rows, (), ("one", "two"), x_log=True), "b")
    ends = [
        tuple(map(float, pair))
        for pair in re.findall(r'd="M ([\d.]+) [\d.]+ *L ([\d.]+) [^"]*" style="[^"]*0.32', str(view.svg))
    ]
    middles = [(a + b) / 2 for a, b in ends]
    assert len(middles) == 3
    assert middles[1] - middles[0] == pytest.approx(middles[2] - middles[1], abs=0.1)
    assert [(row["one"], row["one low"], row["one n"], row["two"]) for row in read(view.data.csv())][2] == (
        "1.0",
        "0.5",
        "9",
        "",
    )


def test_drawings_are_files_and_equal_ones_are_equal() -> None:
    for make, block in ((chart_view, chart), (bars_view, bars), (pictures_view, pictures)):
        first, again = (make(block(), "c") for _ in range(2))  # type: ignore[operator]
        assert str(first.svg) == str(again.svg)
        pdfs = [base64.b64decode(view.files[0].address.partition(",")[2]) for view in (first, again)]
        assert pdfs[0] == pdfs[1]
        assert pdfs[0].startswith(b"%PDF-")
        assert b"CreationDate" not in pdfs[0]
        assert b"/Type3" in pdfs[0]  # letters, not outlines on the page
        assert (b"/Subtype /Image" in pdfs[0]) == (block is pictures)


def test_colours_of_a_drawing_are_variables_of_the_page() -> None:
    for view in (chart_view(chart(), "c"), bars_view(bars(), "b")):
        svg = str(view.svg)
        assert not re.search(r"#[0-9a-f]{6}[;\"]", svg)
        used = set(re.findall(r"var\(--(\w+)\)", svg))
        assert {"c0", "ink", "muted", "rule"} <= used <= LIGHT.keys()
        assert not re.search(r"url\(|<style|https?:", svg)
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)  # else a colour could not be told from the other in a drawing


def test_letters_of_every_kind_do_no_harm() -> None:
    text = "$x_1$ \\frac \x00\x0b <b> 漢字 😀 10⁻⁴ μ"
    view = chart_view(chart(text), "c")
    assert view.files[0].kind == "PDF"
    assert "<b>" not in view.svg
    assert "\x00" not in view.svg.split(">", 1)[1]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NEAR = st.tuples(FLOATS, st.floats(-1e-9, 1e-9)).map(lambda drawn: (drawn[0], drawn[0] * (1 + drawn[1])))


@given(st.tuples(FLOATS, FLOATS) | NEAR.filter(lambda pair: math.isfinite(pair[1])))
def test_any_two_numbers_have_ticks_around_them(pair: tuple[float, float]) -> None:
    a, b = pair
    low, high = min(a, b), max(a, b)
    found = nice_ticks(low, high)
    assert 2 <= len(found) <= 12
    assert all(math.isfinite(tick) for tick in found)
    assert all(x < y for x, y in pairwise(found))
    if abs(low) < 1e300 and abs(high) < 1e300:
        step = found[1] - found[0]
        assert found[0] <= low + 1e-9 * step
        assert high - 1e-9 * step <= found[-1]


@pytest.mark.parametrize("values", [(0.0, 5e-324), (1e300, 1e300), (-1.7e308, 1.7e308), (1e-310, 2e-310)])
def test_numbers_at_the_ends_of_floats_have_ticks(values: tuple[float, float]) -> None:
    assert all(math.isfinite(tick) for tick, _ in ticks(values))
