"""How deep the attacks went, on the page: what `robustsnn.evaluation.depth` writes is read, drawn and said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report_page import edit, render

from robustsnn.draw.chart import chart_view, data
from robustsnn.evaluation.depth import depth
from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Bars, Chart, Words
from robustsnn.records.outcome import Outcomes
from robustsnn.records.result import Depth
from robustsnn.records.typed import record_of
from robustsnn.reporting.card import write_cards
from robustsnn.reporting.page import write_report
from robustsnn.reporting.reading import models_of, read_runs
from robustsnn.reporting.results import depths

N = 360


def entry(late: int, stand: int = 100) -> dict[str, Any]:
    """N images: some fall to a first attack, `late` to one that doubles the passes, `stand` to none."""
    found = Outcomes.empty(3, N)
    found.clean_margin[:] = -4
    fate = np.array([0] * (N - stand - late) + [2] * late + [-1] * stand)
    for row, passes in enumerate((9, 490, 500)):
        met = found.standing(list(range(row))) if row else found.correct
        found.attacked[row], found.broken[row] = met, met & (fate == row)
        found.forwards[row, met], found.margin[row, met] = passes, -1
    return depth(found, found.standing(), [])


def deepen(run: Path, name: str, late: int, stand: int = 100) -> dict[str, Any]:
    """Give the model of a run the entry, and a worst case that fits to it."""
    made = entry(late, stand)
    content = json.loads((run / "results.json").read_text())
    model = content["models"][name]
    model["depth"] = made
    worst = {key: made["points"][-1][key] for key in ("accuracy", "interval", "n")}
    model["worst_case"] |= {**worst, "at_most": bool(made["at_most"])}
    (run / "results.json").write_text(json.dumps(content))
    return made


def test_what_is_written_is_what_is_read() -> None:
    made = entry(20)
    read = record_of(Depth, json.loads(json.dumps(made)), "here")
    assert [point.passes for point in read.points] == [point["passes"] for point in made["points"]]
    assert [point.accuracy for point in read.points] == [point["accuracy"] for point in made["points"]]
    assert (read.next_doubling.fell, read.next_doubling.of, read.next_doubling.standing) == (20, 120, 100)
    assert read.next_doubling.broken == pytest.approx(100 * 20 / 120)
    assert read.survivors.margins == (-1.0,) * 5
    assert read.survivors.left == (0, 0, 100, 0, 0, 0, 0, 0, 0, 0)
    assert list(read.at_most) == made["at_most"]


def test_results_of_before_have_no_section_and_nothing_at_most(runs: list[Path], out: Path) -> None:
    page, text, _ = render(runs, out)
    assert 'id="depth"' not in page
    assert "t most" not in text.replace("At most 12 bars", "").replace("at most 12 bars", "")


def test_the_page_says_what_the_last_doubling_broke_and_what_the_next_would(runs: list[Path], out: Path) -> None:
    made = deepen(runs[2], "AT", 20)
    page, text, _ = render(runs, out)
    low, high = made["next_doubling"]["interval"]
    assert "The last doubling of effort, up to 1000 passes an image, broke 20 of the 120 images that it met" in text
    assert f"at this rate the next breaks {low} to {high} more of the 100 that stand (16.7 expected)" in text
    assert "0 of 100 images that stand kept less than a tenth of the clean margin" in text
    assert made["next_doubling"]["assumption"] in text
    assert page.count('href="#depth"') == 2  # of the list of sections, and of the footnote
    drawn = re.findall(r'<svg [^>]*aria-label="Standing against passes spent[^"]*"', page)
    assert len(drawn) == 1
    bars = re.findall(r"<title>(\d+) images? with (\d+) to (\d+) % of the clean margin left</title>", page)
    assert [int(number) for number, _, _ in bars] == made["survivors"]["left"]


def test_a_figure_that_still_falls_is_at_most_wherever_it_stands(runs: list[Path], out: Path) -> None:
    made = deepen(runs[2], "AT", 20)
    deepen(runs[3], "SR*", 0)
    page, text, _ = render(runs, out)
    (reason,) = made["at_most"]
    assert "AT at most 27.8 %" in text
    assert "<b>at most 27.8 %</b>" in page
    assert text.count("at most 27.8 %") >= 2
    assert f"AT: {reason}." in text
    assert "at most 27.8 (" in out.with_suffix(".md").read_text()
    assert "at most 27.8 (" in out.with_suffix(".tex").read_text()
    assert "SR* 27.8 %" in text  # of the same figure, which does not fall any more
    write_cards(runs[2:3])
    assert "at most 27.8 %" in (runs[2] / "card.md").read_text()


def test_nothing_stands(runs: list[Path], out: Path) -> None:
    deepen(runs[0], "vanilla", 3, stand=0)
    _, text, _ = render(runs[:1], out)
    assert "No image stands: the last one fell within 1000 passes an image." in text


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("points", []),
        ("points", [{"passes": 0, "accuracy": 0.5}]),
        ("points", [{"passes": 5, "accuracy": 0.5}, {"passes": 5, "accuracy": 0.4}]),
        ("points", [{"passes": 5, "accuracy": 1.5}]),
        ("next_doubling", None),
        ("next_doubling.passes", [5]),
        ("next_doubling.interval", [3, 2]),
        ("next_doubling.interval", [0, 1000]),
        ("next_doubling.broken", -1),
        ("next_doubling.broken", float("nan")),
        ("next_doubling.fell", 1000),
        ("survivors", []),
        ("survivors.margins", [1, 2]),
        ("survivors.left", [-1]),
    ],
)
def test_what_makes_no_sense_is_refused(runs: list[Path], out: Path, where: str, value: object) -> None:
    deepen(runs[2], "AT", 20)
    edit(runs[2] / "results.json", f"models.AT.depth.{where}", value)
    with pytest.raises(UserError, match=r"results\.json.*depth") as refused:
        write_report(runs, out)
    assert "\n" not in str(refused.value)


def test_the_picture_comes_with_its_data(runs: list[Path]) -> None:
    made = deepen(runs[2], "AT", 20)
    said, chart, bars = depths(models_of(read_runs(runs)))
    assert isinstance(said, Words)
    assert isinstance(chart, Chart)
    assert isinstance(bars, Bars)
    assert [row[1] for row in data(chart).rows] == [point["passes"] for point in made["points"]]
    assert [file.name.rpartition(".")[2] for file in chart_view(chart, "c").files] == ["pdf", "csv"]
    assert [row.parts[0] for row in bars.rows] == made["survivors"]["left"]
