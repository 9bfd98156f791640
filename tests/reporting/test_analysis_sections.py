"""The sections made of analyses, from files as the analyses of a small network write them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_runs import write_runs
from test_exhibits_page import check_figures
from test_report_page import Balanced
from torch import nn

from robustsnn.encoders import Direct
from robustsnn.ground.errors import UserError
from robustsnn.models.classifier import Classifier
from robustsnn.names import load, registered
from robustsnn.neurons import BPTR, IF, Neurons
from robustsnn.records.exhibit import Block, Chart, Line, Pictures, Table, Words
from robustsnn.records.typed import plain
from robustsnn.reporting.figures import ShownQuantity, decimals
from robustsnn.reporting.page import write_report
from robustsnn.reporting.reading import Model, models_of, read_runs
from robustsnn.studies.corruptions.measure import corruptions
from robustsnn.studies.energy import show as energy_page
from robustsnn.studies.energy.measure import energy
from robustsnn.studies.gradients import show as gradients
from robustsnn.studies.gradients.measure import gradients as gradients_of
from robustsnn.studies.smoothing.measure import smoothing
from robustsnn.studies.study import NamedNetwork, Study
from robustsnn.studies.theory import show as theory
from robustsnn.studies.theory.density import density_bound
from robustsnn.studies.theory.difference import finite_difference
from robustsnn.studies.theory.sharing import sharing
from robustsnn.studies.theory.signal import signal_to_noise
from robustsnn.studies.trail.measure import trail
from robustsnn.studies.vulnerability import show as vulnerability
from robustsnn.studies.vulnerability.measure import vulnerability as vulnerability_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `analysis` as `robustsnn analyze` leaves it, of a small random network and eight images."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(2), nn.Linear(64, 16), Neurons(IF(), 2), nn.Linear(16, 10))
    model = Classifier(body, Direct(), (1, 8, 8))
    data = torch.rand(8, 1, 8, 8), torch.arange(8)
    folder = tmp_path_factory.mktemp("made") / "analysis"
    folder.mkdir()
    found = gradients_of(model, data, rules={"own": None, "bptr": BPTR()}, keep=2)
    np.savez(folder / "gradients.npz", **found.heatmaps())
    differences = {
        name: finite_difference(model, data, smooth=name == "smooth").to_dict() for name in ("plain", "smooth")
    }
    contents = {
        "corruptions": corruptions(model, (data[0][:2], data[1][:2])).to_dict(),
        "smoothing": smoothing(model, (data[0][:2], data[1][:2]), draws=5, radii=(0.5,)).to_dict(),
        "trail": trail(model, data).to_dict(),
        "vulnerability": vulnerability_of(model, data, eps=["1/255", "8/255"], draws=3, steps=1).to_dict(),
        "gradients": found.to_dict(),
        "energy": energy(model, data).to_dict(),
        "theory": {
            "signal": signal_to_noise(model, data, steps=(1, 2), samples=6).to_dict(),
            "sharing": sharing(model, data, samples=6).to_dict(),
            "density": density_bound(model, data, samples=4).to_dict(),
            "difference": differences,
        },
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps({"schema": 1} | content))
    return folder


@pytest.fixture
def runs(tmp_path: Path, made: Path) -> list[Path]:
    """Two runs with the same analyses."""
    found = write_runs(tmp_path / "runs", names=("vanilla", "SR"))
    for run in found:
        shutil.copytree(made, run / "analysis")
    return found


def edit(run: Path, name: str, change: str, value: Any) -> None:
    """Set the entry at a dotted path of an analysis; numbers are places in lists."""
    path = run / "analysis" / f"{name}.json"
    content = part = json.loads(path.read_text())
    *parents, last = change.split(".")
    for key in parents:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[int(last) if isinstance(part, list) else last] = value
    path.write_text(json.dumps(content))


def models(runs: list[Path], name: str) -> list[tuple[Model, Any]]:
    """The models that have this study, each with what it found."""
    return [(m, m.run.studies[name][1]) for m in models_of(read_runs(runs)) if name in m.run.studies]


def content(made: Path, name: str) -> Any:
    return json.loads((made / f"{name}.json").read_text())


def words(blocks: list[Block]) -> str:
    return " ".join(text for block in blocks if isinstance(block, Words) for text in block.paragraphs)


def charts(blocks: list[Block]) -> list[Chart]:
    return [block for block in blocks if isinstance(block, Chart)]


def table(blocks: list[Block], start: str) -> Table:
    (found,) = (block for block in blocks if isinstance(block, Table) and block.title.startswith(start))
    return found


def line(chart: Chart, name: str) -> Line:
    (found,) = (each for each in chart.lines if each.name == name)
    return found


def test_the_page_has_the_sections_that_there_are_files_for(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    write_report(runs, out)
    page = out.read_text()
    parsed = Balanced(page)
    assert {"vulnerability", "gradients", "theory", "energy"} <= set(parsed.ids)
    assert {f"#{name}" for name in ("vulnerability", "gradients", "theory", "energy")} <= set(parsed.targets)
    for name in ("vulnerability", "gradients", "theory", "energy"):
        start = page.index(f'<section aria-labelledby="{name}">')
        assert check_figures(page[start : page.index("</section>", start)]) >= 1
    for run in runs:
        (run / "analysis" / "theory.json").unlink()
    (runs[0] / "analysis" / "energy.json").unlink()
    write_report(runs, out)
    ids = Balanced(out.read_text()).ids
    assert "theory" not in ids
    assert "energy" in ids


def test_accuracies_and_ratios_are_those_of_the_file(runs: list[Path], made: Path) -> None:
    file = content(made, "vulnerability")
    blocks = vulnerability.blocks(models(runs, "vulnerability"))
    accuracy, against_l0, against_first = charts(blocks)
    worst = line(accuracy, "vanilla, worst found")
    assert worst.x == pytest.approx((0, 1 / 255, 8 / 255))
    levels = [file["clean"]["accuracy"], *(level["accuracy"]["worst"]["accuracy"] for level in file["levels"])]
    assert worst.y == pytest.approx(levels)
    assert worst.style == "dashed"
    assert dict(accuracy.x_names)[worst.x[1]] == "1/255"
    held = [level for level in file["levels"] if level["first_order"]]
    level = (held or file["levels"])[0]
    for chart, x in ((against_l0, "l0"), (against_first, "ratio")):
        dots = next(one for one in chart.lines if one.name.startswith("SR"))
        for got, wanted in ((dots.x, file["gradient"]["samples"][x]), (dots.y, level["samples"]["ratio"])):
            assert got == pytest.approx([math.nan if v is None else v for v in wanted], nan_ok=True)
    upper, lower = (line(against_l0, name) for name in ("3 l0, upper bound", "3, lower bound"))
    assert upper.y == pytest.approx([3 * x for x in upper.x])
    assert set(lower.y) == {3.0}
    rows = table(blocks, "Accuracy by eps").rows
    assert [row.group for row in rows] == ["vanilla"] * 3 + ["SR"] * 3
    assert rows[1].cells[2].ours == pytest.approx(100 * file["levels"][1]["accuracy"]["fgsm"]["accuracy"])


def test_bounds_are_claimed_only_where_first_order_holds(runs: list[Path]) -> None:
    for run, holds in zip(runs, (False, True), strict=True):
        for level in range(2):
            edit(run, "vulnerability", f"levels.{level}.first_order", holds and level == 1)
    text = words(vulnerability.blocks(models(runs, "vulnerability")))
    vanilla, sr = text.split("vanilla, 8 images")[1].split("SR, 8 images")
    assert "so the bounds are not tested" in vanilla
    assert "At eps = 1/255 the median" in vanilla
    assert "within a factor of two of first order, in the median, at eps 8/255." in sr
    assert "At eps = 8/255 the median" in sr
    assert "the probability of the true class" in text


def test_gradients_are_those_of_the_file(runs: list[Path], made: Path) -> None:
    file = content(made, "gradients")
    blocks = gradients.blocks(models(runs, "gradients"))
    normalised, sizes = charts(blocks)
    shares = [y for y in line(normalised, "vanilla").y if not math.isnan(y)]
    assert sum(shares) == pytest.approx(1)
    assert sum(line(sizes, "SR").y) == pytest.approx(1)
    shown = table(blocks, "Share of entries")
    assert [(row.group, row.label) for row in shown.rows[:2]] == [("vanilla", "own"), ("vanilla", "bptr")]
    assert shown.rows[1].cells[0].ours == pytest.approx(100 * file["rules"][1]["sparsity"]["mean"])
    assert shown.rows[0].cells[2].ours == pytest.approx(100 * file["rules"][0]["near"][1]["mean"])
    assert table(blocks, "Sparsity").rows[0].cells[0].ours == file["rules"][0]["gini"]["mean"]
    (grid,) = (block for block in blocks if isinstance(block, Pictures))
    assert grid.columns == ("image", "vanilla, own", "SR, own")
    assert [len(shots) for _, shots in grid.rows] == [3, 3]


def test_images_of_other_runs_get_a_grid_of_their_own(runs: list[Path]) -> None:
    path = runs[1] / "analysis" / "gradients.npz"
    with np.load(path) as arrays:
        parts = dict(arrays)
    parts["image"] = 1 - parts["image"]
    np.savez(path, **parts)
    grids = [block for block in gradients.blocks(models(runs, "gradients")) if isinstance(block, Pictures)]
    assert [grid.columns[1] for grid in grids] == ["vanilla, own", "SR, own"]
    np.savez(path, **(parts | {"gradient": parts["gradient"][:, :1]}))
    with pytest.raises(UserError, match=r"gradients\.npz: its arrays do not fit"):
        gradients.blocks(models(runs, "gradients"))
    path.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"gradients\.npz cannot be read"):
        gradients.blocks(models(runs, "gradients"))


def test_each_theorem_is_said_with_what_was_found(runs: list[Path], made: Path) -> None:
    file = content(made, "theory")
    for run, held, ends in ((runs[0], True, [0.1, 0.3]), (runs[1], False, [-0.3, -0.1])):
        edit(run, "theory", "signal.held", held)
        edit(run, "theory", "signal.pairs.0.held", held)
        edit(run, "theory", "signal.pairs.0.difference.interval", ends)
    blocks = theory.blocks(models(runs, "theory"))
    titles = [block.title for block in blocks if isinstance(block, Words)]
    assert len(titles) == 5
    text = words(blocks)
    assert "vanilla, 6 images, one network, run longer: the ratio fell nowhere." in text
    assert "the ratio fell from 1 to 2 steps; the 95 % interval of the difference is below 0." in text
    bound = table(blocks, "Both sides")
    assert [(row.group, row.label) for row in bound.rows] == [("vanilla", "gradients"), ("SR", "gradients")]
    assert bound.rows[0].cells[1].ours == pytest.approx(file["density"]["bounds"][0]["right"])
    error = charts(blocks)[-1]
    assert error.x_log
    assert error.y_log
    smooth = line(error, "vanilla, smooth")
    assert smooth.y == pytest.approx([s["median_error"]["median"] for s in file["difference"]["smooth"]["steps"]])
    edit(runs[1], "theory", "signal.pairs.0.difference.interval", [-0.3, 0.1])
    assert "the ratio fell from 1 to 2 steps; the intervals do not settle it." in words(
        theory.blocks(models(runs, "theory"))
    )


def test_intervals_that_no_ratio_can_have_are_not_relied_on(runs: list[Path]) -> None:
    for run, ends in zip(runs, ([-0.3, -0.1], [-0.3, 0.1]), strict=True):
        for at in range(2):
            edit(run, "theory", f"signal.at.{at}.network.sup.snr.interval", [-0.3, 0.1] if at else ends)
    text = words(theory.blocks(models(runs, "theory")))
    assert text.count("the interval is below 0, which no ratio can be") == 1
    assert "T = 1" in text.split("SR, 6 images")[0]


def test_a_single_difference_and_a_part_of_the_theory_will_do(runs: list[Path], made: Path) -> None:
    only = {"schema": 1, "difference": content(made, "theory")["difference"]["plain"]}
    (runs[0] / "analysis" / "theory.json").write_text(json.dumps(only))
    (runs[1] / "analysis" / "theory.json").unlink()
    blocks = theory.blocks(models(runs, "theory"))
    assert len(charts(blocks)) == 1
    assert "vanilla, spiking, 8 images" in words(blocks)


def test_what_was_refused_is_said_and_not_measured(runs: list[Path]) -> None:
    for part in ("signal", "difference.smooth"):
        edit(runs[0], "theory", part, {"refused": "too few images"})
    blocks = theory.blocks(models(runs, "theory"))
    assert words(blocks).count("vanilla: not measured, too few images.") == 2
    assert [each.name for each in charts(blocks)[0].lines] == ["SR"]
    assert [each.name for each in charts(blocks)[-1].lines] == ["vanilla, spiking", "SR, spiking", "SR, smooth"]


def test_energy_is_that_of_the_file(runs: list[Path], made: Path) -> None:
    file = content(made, "energy")
    blocks = energy_page.blocks(models(runs, "energy"))
    layers, steps = charts(blocks)
    assert line(layers, "SR").y == pytest.approx([layer["rate"]["mean"] for layer in file["activity"]])
    assert [name for _, name in layers.x_names] == [layer["name"] for layer in file["activity"]]
    assert line(steps, "SR").y == pytest.approx(file["activity"][0]["rates"])
    joules = table(blocks, "Energy")
    times = {"nJ per image": 1e9, "pJ per image": 1e12}[joules.unit]
    wanted = (file["joule"]["mean"], file["joule_once"]["mean"], file["ann_joule"])
    assert [cell.ours for cell in joules.rows[0].cells] == pytest.approx([times * value for value in wanted])
    assert "counted, not measured" in words(blocks)


@pytest.mark.parametrize(
    ("name", "change", "value", "reason"),
    [
        ("vulnerability", "levels", None, "levels = None is not a list"),
        ("vulnerability", "levels.0.eps", "x", r"levels\[0\].eps"),
        ("vulnerability", "levels.0.accuracy.worst.interval", [1, 0], "a lower and an upper end"),
        ("vulnerability", "levels.0.samples.ratio", 3, "not a list"),
        ("vulnerability", "clean", 3, "clean is int"),
        ("gradients", "rules.0.normalised.counts", [1], "edges of 1 bins"),
        ("gradients", "rules.0.magnitudes.positive", [], r"magnitudes: 57 edges of 56 and 0 bins"),
        ("gradients", "rules", [], "a list of at least one"),
        ("vulnerability", "levels.0.samples.ratio", [1.0], r"samples\.ratio of 1 images, not of 8"),
        ("vulnerability", "levels.0.bounds", {}, "a table of below, within, above"),
        ("gradients", "rules.0.label", 5, "label = 5 is not a string"),
        ("gradients", "n", -1, "n = -1"),
        ("theory", "signal", [], "signal is list"),
        ("theory", "signal.pairs.0.held", "yes", "true or false"),
        ("theory", "density.bounds.0.factor", None, "factor = None is not a finite number"),
        ("theory", "difference.plain.steps.0.h", None, "h = None is not a finite number"),
        ("corruptions", "kinds.0.mean.mean", "x", r"kinds\[0\]\.mean\.mean = 'x' is not a finite number"),
        ("smoothing", "levels.0.between.0.standing", None, "standing is NoneType, not a table"),
        ("energy", "activity.0.rates", ["x"], r"rates\[0\]"),
        ("energy", "mac", None, "mac = None is not a finite number"),
        ("energy", "schema", 9, "schema = 9"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    runs: list[Path], tmp_path: Path, name: str, change: str, value: Any, reason: str
) -> None:
    edit(runs[1], name, change, value)
    with pytest.raises(UserError, match=reason) as caught:
        write_report(runs, tmp_path / "page.html")
    assert str(runs[1] / "analysis" / f"{name}.json") in str(caught.value)
    assert "analyse the run" in str(caught.value)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", registered("study"))
def test_what_is_read_and_written_again_is_the_same(made: Path, name: str) -> None:
    read = load(registered("study")[name]).read
    assert {"schema": 1} | plain(read(made / f"{name}.json")) == content(made, name)


GONE, WRONG = object(), {"?": [None]}
NOT_READ = {
    "energy": {"interval", "mean", "rate", "saving"},
    "theory": {"grows_towards_input", "held", "interval", "mean", "right", "schema", "vacuous"},
    "trail": {"interval", "mean"},
}
"""What follows from other entries."""


def places(part: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where the entries of a file are, of those in lists the first."""
    parts = part.items() if isinstance(part, dict) else enumerate(part[:1]) if isinstance(part, list) else ()
    for key, value in parts:
        yield (*before, key)
        yield from places(value, *before, key)


def refusal(study: Study[Any], path: Path) -> str:
    """What is said of a file that is refused; "" if it can be shown."""
    assert study.read is not None
    try:
        study.blocks([(NamedNetwork("net"), study.read(path))])
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", registered("study"))
def test_whatever_is_damaged_there_is_a_page_or_one_line_that_says_where(made: Path, tmp_path: Path, name: str) -> None:
    study, path, missed = load(registered("study")[name]), tmp_path / "analysis" / f"{name}.json", set()
    path.parent.mkdir()
    for place in {place[-2:]: place for place in places(content(made, name))}.values():
        for damage in (GONE, WRONG, math.nan, [0.5] * 99):
            whole = part = content(made, name)
            for key in place[:-1]:
                part = part[key]
            part[place[-1]] = damage
            if damage is GONE:
                del part[place[-1]]
            path.write_text(json.dumps(whole))
            if said := refusal(study, path):
                assert said.startswith(str(path))
                assert "\n" not in said
                assert "analyse the run again" in said
            elif damage is WRONG and isinstance(place[-1], str):
                missed.add(place[-1])
    assert missed == NOT_READ.get(name, set())


def test_an_analysis_of_other_weights_is_refused(runs: list[Path]) -> None:
    (runs[0] / "weights.safetensors").write_bytes(b"weights")
    edit(runs[0], "energy", "made_with", "0" * 64)
    with pytest.raises(UserError, match=r"energy\.json was made with other weights.*analyse the run again"):
        read_runs(runs)


def test_found_figures_in_words() -> None:
    assert ShownQuantity((0.39, 0.4341), 8, 0.41234).text() == "0.412 [0.39, 0.434]"
    assert ShownQuantity(None, 8, 0.41234).text(percent=True) == "41.2 %"
    assert ShownQuantity(None, 0, None).text() == "undefined"
    assert ShownQuantity((0.95, 1.03), 8, 0.99).percents().interval == (95.0, 100.0)
    assert decimals([123.0, None, 0.0]) == 0
    assert decimals([0.0123]) == 4
