from __future__ import annotations

import json
import re
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_runs

from robustsnn.ground.errors import UserError
from robustsnn.reporting.page import write_report
from robustsnn.reporting.reading import models_of, read_runs
from robustsnn.studies.trail.chart import rows_of
from robustsnn.studies.trail.record import read_trail
from robustsnn.studies.trail.show import Trails, trails

CONV, NEURONS, POOL = (
    ("body.0", "convolution", {"passed": 0.1}),
    ("body.1", "neurons", {"passed": 0.1, "architectural": 0.05, "natural": 0.25}),
    ("body.2", "max-pool", {"architectural": 0.75}),
)
AVERAGE = ("body.2", "average-pool", {"passed": 0.5, "other": 0.25})


def estimate(mean: float, spread: float = 0.02) -> dict[str, Any]:
    return {"n": 8, "total": 1, "scatter": 1, "mean": mean, "interval": [mean - spread, mean + spread]}


def operation(path: str, kind: str, parts: dict[str, float] | None, norm: float = 0.1) -> dict[str, Any]:
    """An operation of 100 entries with the given shares of zeros; of unknown origin if there are none."""
    zeros = 0.5 if parts is None else sum(parts.values())
    side = {"entries": 100, "zeros": estimate(zeros), "l1": estimate(1.0), "l2": estimate(norm)}
    origins = ("passed", "architectural", "natural", "other")
    split = {o: None if parts is None else estimate(parts.get(o, 0.0)) for o in origins}
    return {"name": f"{path} {kind}", "path": path, "kind": kind, "input": side, "output": side, **split}


def content(*operations: Any, pixels: float = 0.1, **more: Any) -> dict[str, Any]:
    side = {"entries": 64, "zeros": estimate(pixels), "l1": estimate(1), "l2": estimate(1)}
    head = {"schema": 2, "n": 8, "loss": "cross_entropy", "attack": "", "rule": "", "input": side, "weights": []}
    return head | {"operations": [operation(*each) for each in operations]} | more


SIDE = {"entries": 64, "zeros": estimate(0.1), "l1": estimate(1), "l2": estimate(1)}


def dented(key: str, **change: Any) -> dict[str, Any]:
    """The side of an operation with another value in one of its estimates."""
    return SIDE | {key: SIDE[key] | change}


def weight(name: str, share: float, entries: int = 100) -> dict[str, Any]:
    return {"name": name, "entries": entries, "zeros": estimate(share), "l2": estimate(1)}


def save(run: Path, value: Any) -> Path:
    path = run / "analysis" / "trail.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def section(runs: list[Path]) -> Trails:
    return trails([(m, m.run.studies["trail"][1]) for m in models_of(read_runs(runs)) if "trail" in m.run.studies])


def test_bars_are_the_shares_by_origin(runs: list[Path]) -> None:
    save(runs[0], content(CONV, NEURONS, POOL))
    svg = str(section(runs).wide)
    groups = re.findall(r'<g class="at c\d"><title>(.*?)</title>(.*?)</g>', svg, re.S)
    assert [unescape(tip).split("\n")[0] for tip, _ in groups] == [
        "vanilla: body.0 convolution",
        "vanilla: body.1 neurons",
        "vanilla: body.2 max-pool",
    ]
    widths = [
        {origin: float(width) for origin, width in re.findall(r'class="bar (\w+)"[^>]* width="([\d.]+)"', body)}
        for _, body in groups
    ]
    assert widths[1].keys() == {"passed", "architectural", "natural"}
    assert widths[1]["natural"] / widths[1]["passed"] == pytest.approx(2.5, rel=0.01)
    assert widths[2]["architectural"] / widths[0]["passed"] == pytest.approx(7.5, rel=0.01)
    assert "added, natural 25.0 %" in groups[1][0]
    assert "zeros at its input 40.0 % [38.0, 42.0]" in groups[1][0]


def test_the_norm_is_on_a_log_axis(runs: list[Path]) -> None:
    save(runs[0], content((*CONV, 1e-4), (*NEURONS, 1e-2), (*POOL, 1.0), ("a", "add", {}, 0.0)))
    svg = str(section(runs).wide)
    first, second, third = (float(x) for x in re.findall(r'<circle class="mark" cx="([\d.]+)"', svg))
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert second > first
    assert svg.count(">10⁻⁴</text>") == 2
    assert svg.count(">0</text>") == 2 + 1  # the axis, above and below, and the norm of zero


def test_words_and_means_are_those_of_the_file(runs: list[Path]) -> None:
    save(runs[0], content(CONV, NEURONS, POOL, ("body.3", "neurons", {"natural": 0.25})))
    found = section(runs)
    ((model, words),) = found.words
    assert model.name == "vanilla"
    # Added are 5 + 25 + 75 + 25 of 100 entries each.
    assert "Of the gradient at the pixels 10.0 % [8.0, 12.0] is exactly zero." in words
    assert "came to 57.7 % from max-pooling (architectural) and 38.5 % from neurons (natural)" in words
    assert "by body.2 max-pool, 75.0 %" in words
    kinds = {kind: cells[0] for kind, _, cells in found.kinds}
    assert kinds["neurons"] is not None
    assert (kinds["neurons"].zeros, kinds["neurons"].added) == ("32.5 %", "added 27.5 %")
    assert found.what == [("cross_entropy at 8 clean images, each layer by its own gradient rule", "vanilla")]


def test_nothing_is_claimed_of_what_is_not_known(runs: list[Path]) -> None:
    save(runs[0], content(("a", "cummax", None)))
    found = section(runs)
    assert "For 1 operation it is not known" in found.words[0][1]
    assert "their gradient rule does not say" not in found.words[0][1]
    assert "No operation added any" not in found.words[0][1]
    assert found.kinds[0][2][0].added == "added: not known"  # type: ignore[union-attr]
    assert 'class="bar unknown"' in str(found.wide)
    save(runs[0], content(("a", "neurons", None)))
    assert "1 operation it is not known which zeros they added (neurons: their gradient" in section(runs).words[0][1]
    save(runs[0], content(("body.0", "convolution", {})))
    assert "No operation added any." in section(runs).words[0][1]


def test_runs_stand_side_by_side_row_by_row(runs: list[Path]) -> None:
    save(runs[0], content(CONV, NEURONS, POOL, ("head", "linear", {})))
    save(runs[2], content(CONV, NEURONS, AVERAGE, ("head", "linear", {}), attack="pgd(eps=8/255)"))
    found = section(runs)
    assert [model.name for model in found.models] == ["vanilla", "AT"]
    assert len(found.narrow) == 2
    assert len(found.what) == 2
    files = [read_trail(run / "analysis" / "trail.json") for run in (runs[0], runs[2])]
    rows = rows_of(files)
    assert len(rows) == len(set(rows)) == 5
    for trail in files:
        names = [step.name for step in trail.steps]
        assert [name for name in rows if name in names] == names  # the order of each
    (pooled,) = [cells for kind, _, cells in found.kinds if kind == "max-pool"]
    assert pooled[1] is None


def test_the_page_has_the_section_only_with_a_trail(runs: list[Path], out: Path) -> None:
    write_report(runs, out)
    assert 'id="trail"' not in out.read_text()
    save(runs[1], content(CONV, NEURONS, POOL))
    write_report(runs, out)
    page = out.read_text()
    assert page.count('id="trail"') == 1
    assert 'href="#trail"' in page
    assert page.count("<svg") == page.count("</svg>")


def test_names_from_files_are_text(runs: list[Path], out: Path) -> None:
    save(runs[0], content(("<script>alert(1)</script>", "<b>", {"natural": 0.1})))
    write_report(runs, out)
    assert "<script>alert" not in out.read_text()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ([], "not a table"),
        (content(CONV, n=-1), "n = -1"),
        (content(("a", "add", {"passed": 1.5})), "is not a share"),
        (content(pixels=float("nan")), "finite"),
        (content(operations=[{"name": "x"}]), "path = None is not a string"),
        (content(operations=[{"name": "x", "path": "", "kind": "add"}]), "not a table"),
        (content(operations=None), "operations = None is not a list"),
        (content(weights=None), "weights = None is not a list"),
        (content(n=0), "n = 0 is not an integer of at least 1"),
        (content(CONV, CONV, loss=3), "loss = 3 is not a string"),
        (content((*CONV, -0.1)), "l2.mean = -0.1 is not at least 0"),
        (content(input=dented("zeros", interval=[0.1])), "zeros.interval"),
        (content(input=dented("zeros", interval=[0.1, None])), "zeros.interval = None is not a number"),
        (content(input=dented("zeros", interval=[0.3, 0.4])), "a lower and an upper end around 0.1"),
        (content(input=dented("l2", interval=[2, 0])), "l2.interval"),
        (content(input=dented("l2", mean=None)), "l2.mean = None is not a number"),
        (content(input=SIDE | {"entries": 0}), "entries = 0"),
        (content(operations=[operation(*CONV) | {"other": estimate(0.5)}]), "not the sum of passed"),
        (content(operations=[operation(*CONV) | {"output": SIDE | {"zeros": estimate(7.0)}}]), "7.0 is not a share"),
        (content(weights=[weight("w", 0.5) | {"zeros": 3}]), r"weights\[0\].zeros is int"),
        (content(weights=[weight("w", 1.5)]), "1.5 is not a share"),
        (content(weights=[weight("w", 0.5) | {"zeros": estimate(0.5) | {"n": 0}}]), "n = 0"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(runs: list[Path], value: Any, reason: str) -> None:
    path = save(runs[0], value)
    with pytest.raises(UserError, match=reason) as caught:
        read_trail(path)
    assert str(path) in str(caught.value)
    assert "analyse the run again" in str(caught.value)


def test_an_interval_may_be_missing_and_rounded(runs: list[Path]) -> None:
    mean = 0.1 + 0.2
    save(runs[0], content(CONV, input=SIDE | {"zeros": {"mean": mean, "interval": [0.3, 0.3]}, "l2": {"mean": 0.0}}))
    pixels = read_trail(runs[0] / "analysis" / "trail.json").pixels
    assert (pixels.zeros.interval, pixels.norm.interval) == ((0.3, 0.3), None)


def test_weights_stand_side_by_side(runs: list[Path], out: Path) -> None:
    save(runs[0], content(CONV, weights=[weight("a.weight", 0.25, 300), weight("a.bias", 0.0)]))
    save(runs[1], content(CONV, weights=[weight("a.weight", 0.5), weight("b.weight", 0.0)]))
    found = section(runs)
    assert found.weights == [
        ("a.weight", ["25.0 % [23.0, 27.0]", "50.0 % [48.0, 52.0]"]),
        ("a.bias", ["0.0 % [0.0, 2.0]", ""]),
        ("b.weight", ["", "0.0 % [0.0, 2.0]"]),
    ]
    said = "Of the gradient at the weights, taken image by image over the first 8, 18.8 % is exactly zero"
    assert f"{said}; the sparsest is a.weight with 25.0 %." in found.words[0][1]  # 75 of 400
    write_report(runs, out)
    assert "Zeros at the weights<small>3 weights" in out.read_text()
    save(runs[0], content(CONV))
    save(runs[1], content(CONV))
    assert "at the weights" not in section(runs).words[0][1]
    write_report(runs, out)
    assert "Zeros at the weights" not in out.read_text()


def test_a_trail_of_other_weights_is_refused(tmp_path: Path) -> None:
    (run,) = write_runs(tmp_path, names=("vanilla",))
    (run / "weights.safetensors").write_bytes(b"weights")
    save(run, content(CONV, made_with=sha256(b"weights").hexdigest()))
    assert section([run]).models
    save(run, content(CONV, made_with="0" * 64))
    with pytest.raises(UserError, match=r"other weights.*analyse the run again"):
        read_runs([run])
