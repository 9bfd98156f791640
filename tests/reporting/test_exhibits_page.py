from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from fake_runs import write_runs
from some_exhibits import chart, exhibits, pictures
from test_report_page import Balanced

from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Exhibit, Picture, Pictures
from robustsnn.reporting.exhibits import counted, write_exhibits
from robustsnn.reporting.page import write_report

BAD = "<script>alert(1)</script>\"'&{{ 7 * 7 }}$x^2$"


def written(out: Path, *args: object, write: Callable[..., None] = write_exhibits) -> str:
    write(*args, out)
    return out.read_text(encoding="utf-8")


def downloads(html: str) -> dict[str, bytes]:
    """The files inside a piece of a page, by name."""
    found = re.findall(r'<a href="data:[^"]*base64,([^"]*)" download="([^"]*)"', html)
    names = [name for _, name in found]
    assert len(set(names)) == len(names)
    return {unescape(name): base64.b64decode(data, validate=True) for data, name in found}


def check_figures(page: str) -> int:
    """Every drawing stands in a figure with both files; returns how many figures there are."""
    figures = [part for part in re.findall(r"<figure.*?</figure>", page, re.S) if 'role="img"' in part]
    for part in figures:
        files = downloads(part)
        assert {Path(name).suffix for name in files} == {".pdf", ".csv"}
        for name, content in files.items():
            if name.endswith(".pdf"):
                assert content.startswith(b"%PDF-")
                assert content.rstrip().endswith(b"%%EOF")
            else:
                lines = list(csv.reader(io.StringIO(content.decode(), newline="")))
                assert len(lines) > 1
                assert len({len(line) for line in lines}) == 1
    drawn = sum(part.count('role="img"') for part in figures)
    assert page.count('role="img"') - page.count('class="scale" role="img"') == drawn
    return len(figures)


def test_each_figure_has_its_files(tmp_path: Path) -> None:
    page = written(tmp_path / "page.html", exhibits(3))
    assert check_figures(page) == 3 * 5
    assert len(downloads(page)) == 3 * (5 * 2 + 2)


def test_each_figure_of_a_report_has_its_files(tmp_path: Path) -> None:
    page = written(tmp_path / "page.html", write_runs(tmp_path / "runs"), write=write_report)
    page = re.sub(r'<section aria-labelledby="pictures">.*?</section>', "", page, flags=re.S)
    # overview, curve, and per model what broke what, accuracy and loss; for two also sparsity
    assert check_figures(page) == 2 + 4 * 3 + 2


def test_every_claim_is_told_with_word_and_sign(tmp_path: Path) -> None:
    page = written(tmp_path / "page.html", exhibits(4))
    summary = page[page.index('id="summary"') : page.index("</section>")]
    signs: dict[str, set[str]] = {}
    for sign, verdict in re.findall(r'<span class="verdict[^"]*">(<svg.*?</svg>)([^<]*)</span>', summary, re.S):
        signs.setdefault(verdict, set()).add(re.sub(r"\s+", " ", sign))
    assert signs.keys() == {"holds", "does not hold", "undecided"}
    assert len({*map(tuple, signs.values())}) == 3  # one drawing each, all different
    for exhibit in exhibits(4):
        for claim in exhibit.claims:
            assert page.count(claim.text) >= 2  # in the summary and in its section
            assert claim.because in page
    assert "shown without a claim" in summary
    assert counted(exhibits(4)) == ("4 exhibits with 6 claims: 2 hold, 2 do not hold and 2 are undecided.")
    assert counted(exhibits(2)) == "2 exhibits with 1 claim: 1 does not hold."
    assert counted(exhibits(1)) == "1 exhibit, without claims."


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = written(tmp_path / "page.html", exhibits(3))
    parsed = Balanced(page)
    for target in parsed.targets:
        assert target.startswith(("data:", "#"))
        assert not target.startswith("#") or target[1:] in parsed.ids
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert not re.search(r"https?:|url\(|@import", page)
    assert parsed.scripts == 1
    assert "56.8" in page
    assert "paper" in page


def test_hostile_text_is_shown_not_run(tmp_path: Path) -> None:
    page = written(tmp_path / "page.html", exhibits(2, BAD))
    parsed = Balanced(page)
    assert page.count("<script") == parsed.scripts == 1
    assert "".join(parsed.words).count(BAD) > 20
    assert "{{ 7 * 7 }}" in unescape(page)


def test_two_pages_are_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "a.html", exhibits(2)) == written(tmp_path / "b.html", exhibits(2))


def test_a_saved_exhibit_makes_the_same_page(tmp_path: Path) -> None:
    (one,) = exhibits(2)[1:]
    one.save(tmp_path / "one.json")
    assert written(tmp_path / "a.html", [one]) == written(tmp_path / "b.html", [Exhibit.load(tmp_path / "one.json")])


def test_fifteen_exhibits_stay_below_five_megabytes(tmp_path: Path) -> None:
    written(tmp_path / "page.html", exhibits(15))
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


def test_names_become_addresses_of_their_own(tmp_path: Path) -> None:
    def named(name: str, scale: str = "digits") -> Exhibit:
        return Exhibit(name, "t", "s", scale, (chart(),))

    page = written(
        tmp_path / "page.html",
        [named("A b"), named("a-b"), named("x"), named("x", "full"), named("!"), named("summary")],
    )
    ids = Balanced(page).ids
    assert [name for name in ids if name != "summary"] == ["a-b", "a-b-2", "x-digits", "x-full", "exhibit", "summary-2"]
    assert downloads(page).keys() >= {"a-b-1.pdf", "a-b-2-1.pdf", "x-full-1.csv"}


def test_wrong_arguments_say_the_fix(tmp_path: Path) -> None:
    some = exhibits(1)
    with pytest.raises(UserError, match=r"must end in \.html"):
        write_exhibits(some, tmp_path / "page.pdf")
    with pytest.raises(UserError, match="make at least one"):
        write_exhibits([], tmp_path / "page.html")
    with pytest.raises(UserError, match="name each once"):
        write_exhibits([*some, *some], tmp_path / "page.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file is where a folder is needed; give another name"):
        write_exhibits(some, tmp_path / "file" / "page.html")
    broken = Exhibit("a", "b", "c", "d", (Pictures("heat", ("x",), (("r", (Picture(b"no"),)),)), pictures()))
    with pytest.raises(UserError, match="no PNG"):
        write_exhibits([broken], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
