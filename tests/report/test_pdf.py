from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from fake_runs import write_runs
from some_exhibits import chart, pictures

from robustsnn.reporting.block_chart import chart_view
from robustsnn.reporting.block_pictures import pictures_view
from robustsnn.reporting.colours import DARK, LIGHT
from robustsnn.reporting.curves import eps_curves
from robustsnn.reporting.look import PAPER, Element, look, rules
from robustsnn.reporting.pdf import pdf
from robustsnn.reporting.reading import models_of, read_runs
from robustsnn.reporting.render import render


def streams(file: bytes) -> bytes:
    """The drawing instructions of a PDF file, unpacked."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", file, re.S)
    texts = []
    for part in found:
        try:
            texts.append(zlib.decompress(part))
        except zlib.error:
            texts.append(part)
    return b"\n".join(texts)


def colour(text: str) -> tuple[float, ...]:
    return tuple(int(text[k : k + 2], 16) / 255 for k in (1, 3, 5))


def colours_in(file: bytes, operator: bytes) -> set[tuple[float, ...]]:
    found = re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) " + operator + rb"\b", streams(file))
    return {tuple(round(float(part), 3) for part in triple) for triple in found}


def element(name: str, classes: str = "") -> Element:
    return Element(name, frozenset(classes.split()))


SVG = element("svg")


def svg(body: str, size: str = "0 0 100 50") -> str:
    return f'<svg viewBox="{size}" width="100" height="50" role="img" aria-label="a">{body}</svg>'


def test_a_drawing_is_a_page_and_equal_drawings_are_equal_files() -> None:
    drawn = (str(chart_view(chart(), "c").wide), str(pictures_view(pictures(), "p").svg))
    first = pdf(drawn, "A heading")
    pdf.cache_clear()
    assert pdf(drawn, "A heading") == first
    assert first.startswith(b"%PDF-")
    assert b"/Count 2" in first
    assert b"CreationDate" not in first
    assert b"/Subtype /Image" in first
    assert b"/ToUnicode" in first or b"/Type3" in first  # letters, not outlines on the page


def test_colours_are_those_of_the_style_sheet(tmp_path: Path) -> None:
    drawn = str(eps_curves(models_of(read_runs(write_runs(tmp_path))))[0].wide)
    file = pdf((drawn,), "")
    for name in ("c0", "c1", "c2", "c3"):
        wanted = tuple(round(part, 3) for part in colour(LIGHT[name]))
        assert wanted in colours_in(file, b"RG"), name  # lines
        assert wanted in colours_in(file, b"rg"), name  # areas
    dark = {tuple(round(part, 3) for part in colour(value)) for value in DARK.values()}
    light = {tuple(round(part, 3) for part in colour(value)) for value in LIGHT.values()}
    assert not (dark - light) & (colours_in(file, b"RG") | colours_in(file, b"rg"))


def test_page_and_paper_share_one_table_of_colours() -> None:
    page = render(
        "exhibits.html.j2", {"title": "", "counted": "", "sections": [], "notes": [], "made": [], "scales": []}
    )
    for name in LIGHT:
        assert f"--{name}: {LIGHT[name]};" in page
        assert f"--{name}: {DARK[name]};" in page
    assert LIGHT.keys() == DARK.keys() == PAPER.keys()
    assert not re.search(r"--\w+:\s*#", (Path(render.__code__.co_filename).parent / "figures.css.j2").read_text())


def test_rules_are_read_as_a_browser_does() -> None:
    assert look((SVG, element("g", "c3"), element("path", "line")))["stroke"] == LIGHT["c3"]
    assert look((SVG, element("g", "c3"), element("path", "line")))["fill"] == "none"
    assert look((SVG, element("text", "tick end")))["text-anchor"] == "end"
    assert look((SVG, element("text", "name")))["fill"] == LIGHT["ink"]
    assert look((SVG, element("text")))["font-size"] == "12"
    assert look((element("svg", "trail"), element("text", "tick")))["font-size"] == "11px"
    assert look((SVG, element("g", "c1"), element("path", "mark hollow")))["fill"] == PAPER["paper"] == "#ffffff"
    assert look((SVG, element("g", "c1"), element("circle", "dot in")))["fill"] == LIGHT["c1"]
    assert look((SVG, element("g", "c1"), element("circle", "dot")))["fill"] == LIGHT["rule"]
    # Opacity is of the element alone, and what the mouse does is left out.
    assert "opacity" not in look((SVG, element("g", "share"), element("rect")))
    assert look((SVG, element("g", "at"), element("line", "guide")))["opacity"] == "0"
    assert not any(":" in part.name for rule in rules() for part in rule.selector)


def test_classes_of_all_figures_have_a_rule(tmp_path: Path) -> None:
    """Or are known to be for the page and the script alone."""
    known = {name for rule in rules() for part in rule.selector for name in part.classes}
    alone = {"at", "axis", "grid-of-images", "breaks", "end", "mid"}
    models = models_of(read_runs(write_runs(tmp_path)))
    drawn = (
        str(eps_curves(models)[0].wide) + str(chart_view(chart(), "c").narrow) + str(pictures_view(pictures(), "p").svg)
    )
    used = {name for names in re.findall(r'class="([^"]*)"', drawn) for name in names.split()}
    assert used <= known | alone


@pytest.mark.parametrize(
    ("body", "instruction"),
    [
        # 8 pixels of margin and 3/4 of a point per pixel, from below: y = 0.75 (50 + 16 - 8 - y)
        ('<line class="grid" x1="0" y1="0" x2="100" y2="50"/>', rb"6 43\.5 m\s+81 6 l"),
        (
            '<path class="mark" transform="translate(10 20)" d="M0,0h4v4z"/>',
            rb"13\.5 28\.5 m\s+16\.5 28\.5 l\s+16\.5 25\.5 l",
        ),
        ('<rect class="bar" x="0" y="0" width="8" height="4"/>', rb"6 43\.5 m\s+12 43\.5 l\s+12 40\.5 l"),
        ('<polygon class="band" points="0,0 4,0 4,4"/>', rb"6 43\.5 m\s+9 43\.5 l\s+9 40\.5 l"),
    ],
)
def test_shapes_lie_where_the_page_has_them(body: str, instruction: bytes) -> None:
    assert re.search(instruction, streams(pdf((svg(f'<g class="c0">{body}</g>'),))))


def test_what_the_page_hides_is_not_drawn() -> None:
    hidden = (
        '<g class="at"><title>secret</title><rect class="hit" width="9" height="9"/><line class="guide" x2="9"/></g>'
    )
    assert streams(pdf((svg(hidden),))) == streams(pdf((svg(""),)))


def test_letters_of_every_kind_do_no_harm() -> None:
    body = "<text>$x_1$ \\frac \x00\x0b &lt;b&gt; 漢字 😀 10⁻⁴ μ</text>"
    assert pdf((svg(body),), "$\\alpha \x01$").startswith(b"%PDF")
