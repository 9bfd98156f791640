from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_runs import samples, write_run, write_runs

from robustsnn.ground.errors import UserError
from robustsnn.reporting.page import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Fails on a tag that is not closed where it should be; collects ids, links and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.words: list[str] = []
        self.scripts = 0
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for key, value in attrs:
            assert not key.startswith("on")
            if key == "id":
                self.ids.append(value or "")
            if key in ("src", "href"):
                self.targets.append(value or "")
        if tag == "img":
            assert dict(attrs).get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # an SVG element without content

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


def render(runs: list[Path], out: Path) -> tuple[str, str, Balanced]:
    """The page, its text with single spaces, and the parsed page."""
    write_report(runs, out)
    page = out.read_text(encoding="utf-8")
    parsed = Balanced(page)
    return page, " ".join("".join(parsed.words).split()), parsed


def edit(path: Path, change: str, value: object) -> None:
    """Set the entry at the dotted path `change` of a JSON or YAML file."""
    content = yaml.safe_load(path.read_text())
    *parents, last = change.split(".")
    part = content
    for key in parents:
        part = part[key]
    part[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("colour", [False, True])
def test_page_holds_every_model_and_figure(tmp_path: Path, out: Path, colour: bool) -> None:
    runs = write_runs(tmp_path / "runs", colour=colour)
    page, text, _ = render(runs, out)
    for run in runs:
        models = json.loads((run / "results.json").read_text())["models"]
        for name, result in models.items():
            assert name in text
            rates = [result["clean"], result["worst_case"], *result["columns"].values(), *result["curve"]]
            for rate in [*rates, *result["attacks"].values()]:
                assert f"{100 * rate['accuracy']:.1f} %" in text
                assert "[{:.1f}, {:.1f}]".format(*(100 * end for end in rate["interval"])) in page
            for attack, entry in result["attacks"].items():
                assert attack in text
                assert entry["label"] in text
            said = [flag[key] for flag in result["flags"] for key in ("message", "why", "todo")]
            for part in said + [check[key] for check in result["checks"] for key in ("message", "raised_if")]:
                assert part in text
    # 5 images: each clean once, and 3 pictures per model
    assert page.count("data:image/png;base64,") == 5 + 5 * 3 * len(runs)
    # overview, eps curve, per model what broke what, accuracy and loss, with sparsity for the two SR; a scale
    assert page.count('role="img"') == 1 + 1 + 3 * len(runs) + 2 + 1
    assert ("nothing about CIFAR-10" in text) != colour
    assert out.stat().st_size < 1_000_000


def test_page_needs_nothing_from_elsewhere(runs: list[Path], out: Path) -> None:
    page, _, parsed = render(runs, out)
    for target in parsed.targets:
        assert target.startswith(("data:", "#"))
        assert not target.startswith("#") or target[1:] in parsed.ids
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert not re.search(r"https?:|url\(|@import", page)
    assert parsed.scripts == 1


def test_table_files_lie_beside_the_page(runs: list[Path], out: Path) -> None:
    write_report(runs, out)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["vanilla", "SR", "AT", "SR*"]
    assert float(rows[0]["clean"]) == 350 / 360
    assert "SR\\*" in out.with_suffix(".md").read_text()
    assert "SR{*}" in out.with_suffix(".tex").read_text()


def test_hostile_text_is_shown_not_run(runs: list[Path], out: Path) -> None:
    bad = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
    edit(runs[1] / "config.yaml", "name", bad)
    edit(runs[1] / "config.yaml", "notes", bad)
    edit(runs[1] / "config.yaml", "objective.name", bad)
    edit(runs[1] / "config.yaml", "data.name", bad)
    result = json.loads((runs[1] / "results.json").read_text())["models"]["SR"]
    flag = {"name": bad, "message": bad, "why": bad, "todo": bad}
    result |= {"flags": [flag, {**flag, "masking": False}], "suite": bad, "norm": bad}
    result["checks"] = [{"name": bad, "message": bad, "raised": True, "raised_if": bad}]
    result["breaks"] = {"what": bad, "sets": [bad, bad], "n": 9, "groups": [{"members": [0, 1], "count": 2}]}
    result["columns"][bad] = result["clean"]
    result["attacks"][bad] = {"column": bad, "label": bad, **result["clean"]}
    edit(runs[1] / "results.json", "models", {bad: result})
    saved = samples(1, False, 5.0) | {"classes": np.array([bad] * 10), "attack": np.array(bad)}
    np.savez(runs[1] / "samples.npz", **saved)  # pyright: ignore[reportArgumentType]
    write_report(runs, out, title=bad)
    page = out.read_text()
    parsed = Balanced(page)
    assert parsed.scripts == 1
    assert page.count("<script") == 1
    text = "".join(parsed.words)
    assert text.count("<script>alert(1)</script>\"'&{{ 7 * 7 }}") > 20


@pytest.mark.parametrize("missing", ["samples.npz", "metrics.jsonl", "results.json"])
def test_page_does_without_a_file(runs: list[Path], out: Path, missing: str) -> None:
    for run in runs[:2]:
        (run / missing).unlink()
    _, some, _ = render(runs, out)
    for run in runs[2:]:
        (run / missing).unlink()
    _, none, parsed = render(runs, out)
    if missing == "results.json":
        assert "vanilla is trained but not evaluated yet" in some
        assert "No model has been evaluated yet." in none
    assert ("pictures" in parsed.ids) == (missing != "samples.npz")
    assert ("training" in parsed.ids) == (missing != "metrics.jsonl")
    assert ("curve" in parsed.ids) == (missing != "results.json")


def test_page_does_with_an_empty_config_alone(tmp_path: Path, out: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_text("{}")
    _, text, _ = render([tmp_path / "bare"], out)
    assert "bare is trained but not evaluated yet" in text


def test_page_does_with_results_that_hold_little(runs: list[Path], out: Path) -> None:
    rate = {"accuracy": 0.5, "n": 10}
    edit(runs[0] / "results.json", "models", {"a": {"clean": rate}, "b": {"columns": {"X": rate}}, "c": {}})
    _, text, _ = render(runs[:1], out)
    assert "Against b only X was run (50.0 % left)." in text


@pytest.mark.parametrize("loss", ["NaN", "1" + 400 * "0"], ids=["NaN", "more than a float holds"])
def test_one_epoch_with_a_loss_that_is_not_a_number(loss: str, runs: list[Path], out: Path) -> None:
    line = f'{{"epoch": 1, "epochs": 3, "seconds": null, "train": {{"loss": {loss}, "accuracy": 0.1}}}}\n'
    (runs[0] / "metrics.jsonl").write_text(line)
    _, text, _ = render(runs[:1], out)
    assert "1 of 3 epochs; 1 training figure not finite" in text


def test_gradients_that_are_zero_or_not_finite(runs: list[Path], out: Path) -> None:
    saved = samples(0, False, 5.0)
    saved["gradient"][0] = 0
    saved["gradient"][1, 0, 0, 0] = np.nan
    np.savez(runs[0] / "samples.npz", **saved)  # pyright: ignore[reportArgumentType]
    _, text, _ = render(runs[:1], out)
    assert "every entry is exactly 0" in text
    assert "1 gradient entries are not finite" in text


@pytest.mark.parametrize(
    ("space", "said"),
    [("pixel", "in pixel space"), ("encoded", "in encoded space, shown as the mean change over time")],
)
def test_pictures_say_in_which_space_they_were_attacked(runs: list[Path], out: Path, space: str, said: str) -> None:
    saved = samples(0, False, 5.0) | {"attack": np.array("PGD10 of s"), "space": np.array(space)}
    np.savez(runs[0] / "samples.npz", **saved)  # pyright: ignore[reportArgumentType]
    _, text, _ = render(runs[:1], out)
    assert f"PGD10 of s, eps = 32/255 {said} " in text


def test_samples_that_do_not_coincide_are_shown_apart(runs: list[Path], out: Path) -> None:
    saved = samples(0, False, 5.0)
    saved["index"] += 1000
    np.savez(runs[0] / "samples.npz", **saved)  # pyright: ignore[reportArgumentType]
    page, text, _ = render(runs[:2], out)
    assert "same images for every model" not in text
    assert page.count("data:image/png;base64,") == 2 * 5 * 4


def test_names_that_occur_twice_are_told_apart(tmp_path: Path, out: Path) -> None:
    runs = [write_run(tmp_path / folder, "SR") for folder in ("a", "b", "c/a")]
    write_report(runs, out)
    rows = list(csv.DictReader(out.with_suffix(".csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["SR (a)", "SR (b)", "SR (a) #2"]


def test_two_writes_are_the_same_bytes(runs: list[Path], out: Path) -> None:
    def written() -> list[bytes]:
        write_report(runs, out)
        return [path.read_bytes() for path in sorted(out.parent.iterdir())]

    first = written()
    shutil.rmtree(out.parent)
    assert written() == first
    assert len(first) == 4


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "results.json", "samples.npz"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, 2", b"3", b"cut"])
def test_corrupt_files_are_refused_by_name(runs: list[Path], out: Path, name: str, content: bytes) -> None:
    path = runs[2] / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 3] if content == b"cut" else content)
    if name == "metrics.jsonl" and content == b"":
        return  # a run that was stopped before its first epoch ended
    if name == "config.yaml" and content == b"cut":
        path.write_bytes(b"a: {b: 1")
    with pytest.raises(UserError, match=re.escape(str(path))) as refused:
        write_report(runs, out)
    assert "\n" not in str(refused.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("schema", 1),
        ("schema", 3),
        ("models.AT.space", "voxel"),
        ("models.AT.survivors_only", "no"),
        ("models.AT.flags", [{"masking": 1}]),
        ("models.AT.checks", [{"value": "0.1"}]),
        ("models.AT.attacks", {"a": {"black_box": "yes"}}),
        ("models.AT.breaks.groups", [{"members": [5], "count": 1}]),
        ("models.AT.breaks.groups", [{"members": [0], "count": -1}]),
        ("models.AT.breaks.n", 3),
        ("models.AT.draws", {"n": 20, "mean": 31.0, "std": 0.1, "least": 0.1, "most": 0.2}),
        ("models.AT.cost", {"forwards": "many"}),
        ("models", []),
        ("models.AT.clean.accuracy", 1.5),
        ("models.AT.clean.accuracy", "0.5"),
        ("models.AT.clean.interval", [0.9, 0.1]),
        ("models.AT.clean.interval", [0.9]),
        ("models.AT.columns", [1]),
        ("models.AT.curve", [{"accuracy": 0.5}]),
        ("models.AT.flags", ["x"]),
        ("models.AT.eps", True),
        ("models.AT.levels", "many"),
        ("models.AT.rounded", {"standing": 1}),
    ],
)
def test_results_that_make_no_sense_are_refused(runs: list[Path], out: Path, entry: str, value: object) -> None:
    edit(runs[2] / "results.json", entry, value)
    with pytest.raises(UserError, match=re.escape(str(runs[2] / "results.json"))) as refused:
        write_report(runs, out)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["gradient", "label", "eps", "image"])
def test_samples_that_do_not_fit_are_refused(runs: list[Path], out: Path, name: str) -> None:
    saved = samples(0, False, 5.0)
    saved[name] = np.array("word") if name == "eps" else saved[name][:-1]
    np.savez(runs[0] / "samples.npz", **saved)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"samples\.npz"):
        write_report(runs, out)


def test_pickled_samples_are_refused(runs: list[Path], out: Path) -> None:
    saved = samples(0, False, 5.0) | {"classes": np.array([{}], dtype=object)}
    np.savez(runs[0] / "samples.npz", **saved)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"samples\.npz"):
        write_report(runs, out)


def test_wrong_arguments_say_the_fix(runs: list[Path], out: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one folder"):
        write_report([], out)
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        write_report([tmp_path], out)
    with pytest.raises(UserError, match="more than once"):
        write_report([runs[0], runs[0]], out)
    with pytest.raises(UserError, match=r"must end in \.html"):
        write_report(runs, out.with_suffix(".csv"))
    with pytest.raises(UserError, match="a file is where a folder is needed; give another name"):
        write_report(runs, runs[0] / "config.yaml" / "report.html")


def test_the_room_imports_no_torch() -> None:
    code = "import robustsnn.reporting.page, sys; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
