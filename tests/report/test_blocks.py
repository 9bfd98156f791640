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
from some_exhibits import chart, pictures, table

from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Cell, Chart, Line, Picture, Pictures, Row, Table, Words
from robustsnn.reporting.block_chart import chart_view, data
from robustsnn.reporting.block_pictures import pictures_view
from robustsnn.reporting.block_table import figure_text, table_view
from robustsnn.reporting.blocks import parts
from robustsnn.reporting.scales import Scale, log_ticks, tick_text, ticks

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
    *_, path = re.findall(r'<path class="line" d="(M[^"]*)"', svg.replace(" dashed", ""))  # the legend comes first
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+),([-\d.]+)", path)]


def test_log_axes_are_straight_for_powers() -> None:
    x = (1e-3, 1e-2, 1e-1, 1.0)
    drawn = Chart("", "x", "y", (Line("", x, tuple(v**2 for v in x)),), x_log=True, y_log=True)
    places = points_of(str(chart_view(drawn, "c").wide))
    steps = {(round(b[0] - a[0]), round(b[1] - a[1])) for a, b in pairwise(places)}
    assert len(steps) == 1
    assert ">10⁻⁶</text>" in chart_view(drawn, "c").wide


def test_gaps_are_gaps() -> None:
    svg = str(chart_view(Chart("", "x", "y", (Line("", (1, 2, 3, 4), (1, math.nan, 3, 4)),)), "c").wide)
    assert re.findall(r'class="line" d="([^"]*)"', svg)[0].count("M") == 2
    assert "nan" not in svg
    assert "not a number" in svg


def test_what_a_log_axis_cannot_show_is_said() -> None:
    line = Line("", (0.0, 1.0, 2.0), (1.0, 0.0, 5.0), style="points")
    view = chart_view(Chart("t", "x", "y", (line,), x_log=True, y_log=True), "c")
    assert "2 points at or below zero" in view.note
    assert str(view.wide).count('class="mark"') == 1
    assert len(read(data(view.chart).csv())) == 3


def test_points_are_not_joined_and_many_are_thinned_and_counted() -> None:
    n = 3000
    line = Line("cloud", tuple(map(float, range(n))), (1.0,) * n, style="points")
    view = chart_view(Chart("t", "x", "y", (line,)), "c")
    assert 0 < str(view.wide).count('class="cloud"') <= 1000
    assert '<path class="line' not in view.wide
    assert "the CSV has all" in view.note
    assert len(read(data(view.chart).csv())) == n


@given(st.lists(VALUES, max_size=5), st.lists(st.floats(1e-12, 1e12), max_size=4), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_any_values_can_be_drawn(values: list[float], sizes: list[float], log: bool, percent: bool) -> None:
    both = [*values, *sizes]
    line = Line("l", tuple(both), tuple(reversed(both)))
    view = chart_view(Chart("t", "x", "y", (line,), log, log, percent), "c")
    for svg in (str(view.wide), str(view.narrow)):
        assert not re.search(r"[\"> ,]-?(nan|inf)", svg)
    places = points_of(str(view.wide)) if '<path class="line" d="M' in view.wide else []
    assert all(0 <= x <= 900 and 0 <= y <= 420 for x, y in places)


def test_a_chart_without_points_is_an_empty_frame() -> None:
    for one in (Chart("t", "x", "y", ()), Chart("t", "x", "y", (Line("l", (), ()),), x_log=True, y_log=True)):
        assert str(chart_view(one, "c").wide).startswith("<svg")


def test_lines_of_one_colour_look_alike() -> None:
    x = (1.0, 2.0)
    pair = (Line("a", x, x, colour=3), Line("b", x, x, style="dashed", colour=3))
    svg = str(chart_view(Chart("t", "x", "y", pair), "c").narrow)
    assert set(re.findall(r'<g class="(c\d)">', svg)) == {"c3"}
    assert 'class="line dashed"' in svg
    assert ">b</text>" in svg


def test_long_names_below_the_axis_are_turned() -> None:
    names = tuple((float(k), f"features.{k}.neurons") for k in range(12))
    line = Line("l", tuple(k for k, _ in names), (1.0,) * 12)
    svg = str(chart_view(Chart("t", "layer", "rate", (line,), x_names=names), "c").wide)
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
    assert Scale(1, 100, 0, 50, log=True)(10) == 25


def test_pictures_keep_their_shape_and_are_text_in_the_csv() -> None:
    view = pictures_view(pictures("<b>"), "p")
    wide, tall = re.findall(r'<image x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', str(view.svg))
    assert float(wide[2]) == float(wide[3])
    assert float(tall[3]) == pytest.approx(2 * float(tall[2]), abs=0.2)
    assert "<b>" not in view.svg
    rows = read(view.figure.data.csv())
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
        ("charts", 1),
        ("words", 1),
        ("charts", 2),
        ("table", 1),
        ("pictures", 1),
    ]
    assert [view.figure.name for part in found if part.kind == "charts" for view in part.views] == ["x-1", "x-3", "x-4"]
    assert found[0].views[0].wide != found[0].views[0].narrow
    assert found[2].views[0].wide == found[2].views[0].narrow


def test_text_is_escaped_in_drawings() -> None:
    bad = "<script>alert(1)</script>&\"'"
    for svg in (chart_view(chart(bad), "c").wide, pictures_view(pictures(bad), "p").svg):
        assert "<script" not in svg
        assert "alert(1)" in unescape(str(svg))


def test_a_quotient_by_almost_nothing_does_not_flatten_the_others() -> None:
    x = tuple(float(k) for k in range(1, 31))
    y = (*(1.0 + k / 10 for k in range(29)), 1e13)
    bound = Line("bound", (1.0, 30.0), (1e9, 1e9))
    plain = Chart("ratio", "x", "y", (Line("a", x, y, style="points"), bound), y_log=True)
    view = chart_view(plain, "ratio")
    assert "10¹³" not in view.wide
    assert "1 point far beyond the others not drawn; the CSV has all." in view.note
    assert "10000000000000.0" in data(plain).csv() or "1e+13" in data(plain).csv()
    near = replace(plain, lines=(replace(plain.lines[0], y=(*y[:29], 50.0)), bound))
    assert chart_view(near, "ratio").note == ""


def test_each_column_has_the_decimals_that_its_figures_need() -> None:
    rows = (Row("a", (Cell(1461.984, (1009.58, 2336.96)), Cell(0.0343)), ""), Row("b", (Cell(54.15), Cell(3.787)), ""))
    view = table_view(Table("t", ("big", "small"), rows, "", 5), "t")
    shown = [[cell.ours for cell in cells] for _, cells in view.groups[0][1]]
    assert shown == [["1462", "0.034"], ["54", "3.787"]]
    assert view.groups[0][1][0][1][0].interval == "[1010, 2337]"
