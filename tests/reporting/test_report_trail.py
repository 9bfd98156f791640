from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_runs

from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Bars, Block, Table, Words
from robustsnn.reporting.page import write_report
from robustsnn.reporting.reading import models_of, read_runs
from robustsnn.studies.trail.show import blocks
from robustsnn.studies.trail.study import STUDY

CONV, NEURONS, POOL = (
    ("body.0", "convolution", {"passed": 0.1}),
    ("body.1", "neurons", {"passed": 0.1, "architectural": 0.05, "natural": 0.25}),
    ("body.2", "max-pool", {"architectural": 0.75}),
)
AVERAGE = ("body.2", "average-pool", {"passed": 0.5, "other": 0.25})


N = 8


def tally(mean: float, scatter: float = 0.0, n: int = N) -> dict[str, Any]:
    """What a file holds of a figure over so many samples."""
    return {"n": n, "total": mean * n, "scatter": scatter, "mean": mean, "interval": None}


def side(entries: int, zeros: float, norm: float = 1.0) -> dict[str, Any]:
    """A gradient with that share of zeros; its samples differ by a zero or two."""
    return {"entries": entries, "zeros": tally(zeros * entries, 64 * 4 / 3), "l1": tally(1.0), "l2": tally(norm)}


def operation(path: str, kind: str, parts: dict[str, float] | None, norm: float = 0.1) -> dict[str, Any]:
    """An operation of 100 entries with the given shares of zeros; of unknown origin if there are none."""
    zeros = 0.5 if parts is None else sum(parts.values())
    origins = ("passed", "architectural", "natural", "other")
    split = {o: None if parts is None else tally(round(100 * parts.get(o, 0.0))) for o in origins}
    both = side(100, round(100 * zeros) / 100, norm)
    return {"path": path, "kind": kind, "number": 0, "input": both, "output": both, "spiking": None, **split}


def content(*operations: Any, pixels: float = 0.125, **more: Any) -> dict[str, Any]:
    head = {"schema": 2, "n": N, "loss": "cross_entropy", "attack": "", "rule": "", "input": side(64, pixels)}
    return head | {"operations": [operation(*each) for each in operations], "weights": []} | more


SIDE = side(64, 0.125)


def dented(key: str, **change: Any) -> dict[str, Any]:
    """The side of an operation with another value in one of its figures."""
    return SIDE | {key: SIDE[key] | change}


def weight(name: str, share: float, entries: int = 100) -> dict[str, Any]:
    return {"name": name, "entries": entries, "zeros": tally(share * entries), "l2": tally(1)}


def save(run: Path, value: Any) -> Path:
    path = run / "analysis" / "trail.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def section(runs: list[Path]) -> list[Block]:
    return blocks([(m, m.run.studies["trail"][1]) for m in models_of(read_runs(runs)) if "trail" in m.run.studies])


def bars(found: list[Block], name: str) -> Bars:
    (one,) = (block for block in found if isinstance(block, Bars) and block.title == name)
    return one


def table(found: list[Block], start: str) -> Table:
    (one,) = (block for block in found if isinstance(block, Table) and block.title.startswith(start))
    return one


def words(found: list[Block]) -> str:
    return " ".join(text for block in found if isinstance(block, Words) for text in block.paragraphs)


def test_bars_are_the_shares_by_origin(runs: list[Path]) -> None:
    save(runs[0], content(CONV, NEURONS, POOL))
    drawn = bars(section(runs), "vanilla: zeros of the gradient")
    assert [row.tip.split("\n")[0] for row in drawn.rows] == [
        "vanilla: body.0 convolution",
        "vanilla: body.1 neurons",
        "vanilla: body.2 max-pool",
    ]
    shares = [dict(zip(drawn.parts, row.parts, strict=True)) for row in drawn.rows]
    assert shares[0]["passed on"] == pytest.approx(0.1)
    assert [shares[1][f"added, {o}"] for o in ("architectural", "natural", "other")] == pytest.approx([0.05, 0.25, 0])
    assert shares[2]["added, architectural"] == pytest.approx(0.75)
    assert [sum(row.parts) for row in drawn.rows] == pytest.approx([0.1, 0.4, 0.75])
    assert "added, natural 25.0 %" in drawn.rows[1].tip
    assert "zeros at its input 40.0 % [39.0, 41.0] of 100 entries" in drawn.rows[1].tip


def test_the_norm_is_on_a_log_axis(runs: list[Path]) -> None:
    save(runs[0], content((*CONV, 1e-4), (*NEURONS, 1e-2), (*POOL, 1.0), ("a", "add", {}, 0.0)))
    drawn = bars(section(runs), "vanilla: size of the gradient")
    assert drawn.x_log
    assert [row.points[0].ours for row in drawn.rows] == pytest.approx([1e-4, 1e-2, 1.0, 0.0])


def test_words_and_means_are_those_of_the_file(runs: list[Path]) -> None:
    save(runs[0], content(CONV, NEURONS, POOL, ("body.3", "neurons", {"natural": 0.25})))
    found = section(runs)
    text = words(found)
    # Added are 5 + 25 + 75 + 25 of 100 entries each.
    assert "vanilla: Of the gradient at the pixels 12.5 % [10.9, 14.1] is exactly zero." in text
    assert "came to 57.7 % from max-pooling (architectural) and 38.5 % from neurons (natural)" in text
    assert "by body.2 max-pool, 75.0 %" in text
    kinds = {row.label: [cell.ours for cell in row.cells] for row in table(found, "Zeros at the input").rows}
    assert kinds["neurons"] == pytest.approx([32.5, 27.5])
    assert "cross_entropy at 8 clean images, each layer by its own gradient rule" in text


def test_nothing_is_claimed_of_what_is_not_known(runs: list[Path]) -> None:
    save(runs[0], content(("a", "cummax", None)))
    found = section(runs)
    text = words(found)
    assert "For 1 operation it is not known" in text
    assert "their gradient rule does not say" not in text
    assert "No operation added any" not in text
    assert table(found, "Zeros at the input").rows[0].cells[1].ours is None
    drawn = bars(found, "vanilla: zeros of the gradient")
    assert dict(zip(drawn.parts, drawn.rows[0].parts, strict=True))["not known"] == 0.5
    assert "where they come from is not known" in drawn.rows[0].tip
    save(runs[0], content(("a", "neurons", None)))
    assert "1 operation it is not known which zeros they added (neurons: their gradient" in words(section(runs))
    save(runs[0], content(("body.0", "convolution", {})))
    assert "No operation added any." in words(section(runs))


def test_runs_stand_side_by_side(runs: list[Path]) -> None:
    save(runs[0], content(CONV, NEURONS, POOL, ("head", "linear", {})))
    save(runs[2], content(CONV, NEURONS, AVERAGE, ("head", "linear", {}), attack="pgd(eps=8/255)"))
    found = section(runs)
    assert [len(block.rows) for block in found if isinstance(block, Bars)] == [4] * 4
    text = words(found)
    assert "vanilla: cross_entropy at 8 clean images" in text
    assert "AT: cross_entropy at 8 images attacked by pgd(eps=8/255)" in text
    kinds = table(found, "Zeros at the input")
    assert kinds.columns == ("vanilla", "vanilla: added itself", "AT", "AT: added itself")
    (pooled,) = (row for row in kinds.rows if row.label == "max-pool")
    assert [cell.ours is None for cell in pooled.cells] == [False, False, True, True]


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
        (content(pixels=1.5), "768.0 zeros of 64 entries"),
        (content(input=dented("zeros", total=float("nan"))), "finite"),
        (content(operations=[{"name": "x"}]), "path = None is not a string"),
        (content(operations=[{"name": "x", "path": "", "kind": "add", "number": 0}]), "not a table"),
        (content(operations=None), "operations = None is not a list"),
        (content(weights=None), "weights = None is not a list"),
        (content(n=0), "n = 0 is not an integer of at least 1"),
        (content(CONV, CONV, loss=3), "loss = 3 is not a string"),
        (content((*CONV, -0.1)), "l2 norms of -0.8"),
        (content(input=dented("zeros", scatter=-1.0)), "scatter = -1.0 is not at least 0"),
        (content(input=dented("zeros", n=0)), "zeros.n = 0 is not an integer of at least 1"),
        (content(input=dented("l2", total=None)), "l2.total = None is not a finite number"),
        (content(input=SIDE | {"entries": 0}), "entries = 0"),
        (content(operations=[operation(*CONV) | {"other": tally(50)}]), "do not add up"),
        (content(operations=[operation(*CONV) | {"output": SIDE | {"zeros": tally(700)}}]), "zeros of 64 entries"),
        (content(weights=[weight("w", 0.5) | {"zeros": 3}]), r"weights\[0\].zeros is int"),
        (content(weights=[weight("w", 1.5)]), "w: 1200.0 zeros of 100 entries"),
        (content(weights=[weight("w", 0.5) | {"zeros": tally(0.5) | {"n": 0}}]), "n = 0"),
        (content(schema=1), "schema = 1 is not 2"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(runs: list[Path], value: Any, reason: str) -> None:
    path = save(runs[0], value)
    assert STUDY.read is not None
    with pytest.raises(UserError, match=reason) as caught:
        STUDY.read(path)
    assert str(path) in str(caught.value)
    assert "analyse the run again" in str(caught.value)


def test_weights_stand_side_by_side(runs: list[Path], out: Path) -> None:
    save(runs[0], content(CONV, weights=[weight("a.weight", 0.25, 300), weight("a.bias", 0.0)]))
    save(runs[1], content(CONV, weights=[weight("a.weight", 0.5), weight("b.weight", 0.0)]))
    found = section(runs)
    rows = {row.label: [cell.ours for cell in row.cells] for row in table(found, "Zeros at the weights").rows}
    assert rows == {"a.weight": [25.0, 50.0], "a.bias": [0.0, None], "b.weight": [None, 0.0]}
    said = "Of the gradient at the weights, taken image by image over the first 8, 18.8 % is exactly zero"
    assert f"{said}; the sparsest is a.weight with 25.0 %." in words(found)  # 75 of 400
    write_report(runs, out)
    assert "Zeros at the weights" in out.read_text()
    save(runs[0], content(CONV))
    save(runs[1], content(CONV))
    assert "at the weights" not in words(section(runs))
    write_report(runs, out)
    assert "Zeros at the weights" not in out.read_text()


def test_a_trail_of_other_weights_is_refused(tmp_path: Path) -> None:
    (run,) = write_runs(tmp_path, names=("vanilla",))
    (run / "weights.safetensors").write_bytes(b"weights")
    save(run, content(CONV, made_with=sha256(b"weights").hexdigest()))
    assert section([run])
    save(run, content(CONV, made_with="0" * 64))
    with pytest.raises(UserError, match=r"other weights.*analyse the run again"):
        read_runs([run])
