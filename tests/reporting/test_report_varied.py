"""A page with everything at once: long and short suites, both spaces, a stochastic model, flags of both kinds."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from fake_runs import write_varied

from robustsnn.reporting.page import write_report

PIXEL, ENCODED = "Linf 32/255 in pixel space", "Linf 32/255 in encoded space"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    out = tmp_path / "report.html"
    write_report(write_varied(tmp_path / "runs"), out)
    return out


def section(page: Path, name: str) -> str:
    """The HTML of one section."""
    text = page.read_text(encoding="utf-8")
    start = text.index(f'<section aria-labelledby="{name}">')
    return text[start : text.index("</section>", start)]


def words(html: str) -> str:
    return re.sub(r"[ \n]+", " ", re.sub("<[^>]*>", " ", html)).strip()


def test_the_space_is_said_wherever_a_radius_is(page: Path) -> None:
    text = words(page.read_text(encoding="utf-8").split("</style>")[1])
    for part in ("lede", "summary", "table", "curve", "breaks", "attacks"):
        said = text if part == "lede" else words(section(page, part))
        assert "pixel space" in said, part
    assert f"Threat: {PIXEL}; {ENCODED}" in text
    # What is left after the threats said in full: axes and tables of curves, pictures, settings, reprs.
    assert not re.search(r"Linf[^(]{0,12}32/255(?! in (pixel|encoded) space)", text)


def test_each_space_has_its_own_curve_and_its_own_marks(page: Path) -> None:
    curve = section(page, "curve")
    assert "(Linf, pixel space)" in curve
    assert "(Linf, encoded space)" in curve
    assert curve.count("<svg") == 2
    # Only clean accuracy is the same test for all; every other column mixes suites or spaces.
    body = section(page, "table").split("<tbody>")[1]
    for row in body.split("<tr>")[1:]:
        worst, clean, *others = re.findall(r'<td data-value="[^"]*"(?: class="([^"]*)")?', row)
        assert clean in ("best", "close")
        assert not any((worst, *others))
    assert "different tests and no figure of one is compared" in words(body)


def test_table_files_carry_space_and_draws(page: Path) -> None:
    rows = list(csv.DictReader(page.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert [row["space"] for row in rows] == ["pixel", "encoded", "pixel", "pixel", "pixel"]
    assert [row["draws"] for row in rows] == ["", "", "", "", "20"]
    for kind in (".md", ".tex"):
        text = page.with_suffix(kind).read_text(encoding="utf-8")
        assert text.count("attacked with") == 1
        assert text.count(f"{ENCODED}, suite paper-trail") == 2  # its row and the caption
        assert text.count(f"{PIXEL}, suite reliable") == 3
        assert "majority vote; 20 single draws" in text


def test_columns_of_survivors_are_no_columns_of_the_main_table(page: Path) -> None:
    header = page.with_suffix(".csv").read_text(encoding="utf-8").split("\n")[0]
    assert '"worst case"' in header
    assert '"steps"' not in header
    assert '"black box"' not in header


def test_draws_stand_near_the_figures(page: Path) -> None:
    said = "majority vote; 20 single draws 31.0 % ± 1.0 (29.0 to 33.0)"
    for name in ("summary", "table", "attacks"):
        assert said in words(section(page, name))


def test_long_suites_show_what_broke_something_and_fold_the_rest(page: Path) -> None:
    attacks = section(page, "attacks")
    one = attacks[attacks.index('aria-label="Attacks on AT"') :]
    one = one[: one.index("</table></div></details>")]
    shown, folded = one.split('<details class="inner">')

    def places(html: str) -> list[int]:
        return [int(place) for place in re.findall(r"<tr><td>(\d+)</td>", html)]

    assert places(shown) == [1, 2, 8, 12, 41, 72]  # those with images, in the order they ran
    assert sorted(places(shown) + places(folded)) == list(range(1, 81))
    assert places(folded) == sorted(places(folded))
    # 173 of 346 images by 100 gradients each
    first = shown.split("<tbody>")[1].split("</tr>")[0]
    assert re.findall(r"<td>([\d.]+)</td>", first) == ["1", "346", "173", "100", "101", "5"]
    totals = words(shown.split("<tfoot>")[1])
    assert totals.startswith("all 80 223 34.2 % worst case 884\N{NO-BREAK SPACE}700 in all")
    assert "12 of them black-box" in words(attacks)
    assert ">black<" in shown
    assert "per 1000 forwards" in shown


def test_short_suites_show_every_attack(page: Path) -> None:
    attacks = section(page, "attacks")
    one = attacks[attacks.index('aria-label="Attacks on SR"') :].split("</table></div>")[0]
    assert len(re.findall(r"<tr><td>\d+</td>", one)) == 15


def test_warnings_and_notes_are_told_apart_by_word_and_mark(page: Path) -> None:
    trust = section(page, "trust")
    warning, note = re.findall(r'<article class="sign.*?</article>', trust, re.DOTALL)
    assert "Warning zero-gradient SR 37 of 360" in words(warning)
    assert "Note single-surrogate" in words(note)
    assert words(note).count("All gradients came from one surrogate.") == 2  # two entries, one explanation
    assert words(note).count("Why it matters") == 1
    icons = [re.findall(r'<svg class="icon".*?</svg>', sign)[0] for sign in (warning, note)]
    assert icons[0] != icons[1]
    assert "No warning vanilla (paper-sr, pixel) , AT , SR*" in words(trust)
    table = trust[trust.index("<details") :]
    assert table.count("not raised") == 4 * 4 - 1
    assert table.count('class="raised masking"') == 1


def test_a_page_of_long_suites_stays_small(page: Path) -> None:
    assert page.stat().st_size < 1_000_000
