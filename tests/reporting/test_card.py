"""Model cards: every figure of the files, no figure without one, nothing a file holds becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from fake_runs import write_runs, write_varied
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn import names
from robustsnn.ground.errors import UserError
from robustsnn.reporting.card import code, escaped, write_cards
from robustsnn.reporting.citations import papers_of
from robustsnn.studies.energy.record import Energy
from robustsnn.studies.shared.tally import Tally


def plain(text: str) -> str:
    """Markdown as it is read: without the backslashes of its escapes."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)


def test_a_card_says_every_rate_with_interval_and_n_and_every_flag(runs: list[Path]) -> None:
    paths = write_cards(runs)
    assert paths == [run / "card.md" for run in runs]
    for run, path in zip(runs, paths, strict=True):
        text = plain(path.read_text())
        ((name, result),) = json.loads((run / "results.json").read_text())["models"].items()
        assert text.startswith(f"# Model card: {name}\n")
        for row, rate in [("clean", result["clean"]), *result["columns"].items(), ("worst case", result["worst_case"])]:
            low, high = (100 * end for end in rate["interval"])
            assert f"| {row} | {100 * rate['accuracy']:.1f} % | [{low:.1f}, {high:.1f}] | {rate['n']} |" in text
        assert "Linf 32/255 in pixel space" in text
        assert "paper-sr-10" in text
        for flag in result["flags"]:
            assert all(flag[part] in text for part in ("name", "message", "why", "todo"))
        assert ("may be overstated" in text) == bool(result["flags"])
        assert ("None of the" in text) != bool(result["flags"])
        assert "123 456" in text
        assert "1,197 train, 240 validation, 360 test" in text
        assert "not stated" in text[text.index("## Licence") :]


def test_without_results_nothing_is_claimed(runs: list[Path]) -> None:
    for name in ("results.json", "samples.npz"):
        (runs[0] / name).unlink()
    (path,) = write_cards(runs[:1])
    text = path.read_text()
    assert "Robustness was not evaluated" in text
    assert "upper bound" not in text
    before, after = text.split("## Robustness")
    assert "%" not in after  # the validation accuracy of training is all there is
    assert re.findall(r"\d+\.\d %", before) == re.findall(r"\d+\.\d %", before.split("## Training")[1])
    assert "evaluate" not in after.split("## How it was made")[1]
    assert "suite" not in after


def test_cards_are_equal_for_equal_files_and_of_several_suites(tmp_path: Path) -> None:
    folders = write_varied(tmp_path)
    first = [path.read_bytes() for path in write_cards(folders)]
    assert [path.read_bytes() for path in write_cards(folders)] == first  # card.md is not read
    text = plain(first[0].decode())
    assert "### vanilla (paper-sr, pixel)" in text
    assert "### vanilla (paper-trail, encoded)" in text
    assert "no image need show it" in text
    assert "answers at random" in plain(first[3].decode())


@pytest.mark.parametrize(("select", "epoch"), [("last", 30), ("validation", 7)])
def test_the_epoch_is_the_one_training_kept(runs: list[Path], select: str, epoch: int) -> None:
    config = yaml.safe_load((runs[0] / "config.yaml").read_text())
    config["train"]["select"] = select
    (runs[0] / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["validation"] = {"accuracy": 0.75 if line["epoch"] in (7, 9) else 0.5, "n": 240}
    (runs[0] / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path,) = write_cards(runs[:1])
    shown = "75.0" if epoch == 7 else "50.0"
    said = rf"weights are of epoch {epoch}, .*: accuracy on validation images {shown} % \(n = 240"
    assert re.search(said, path.read_text())


def test_an_interrupted_training_is_said_to_be_incomplete(runs: list[Path]) -> None:
    lines = (runs[0] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (runs[0] / "metrics.jsonl").write_text("".join(lines[:12]))
    (path,) = write_cards(runs[:1])
    assert "12 epochs of 30 were run." in path.read_text()
    assert "Training is not complete." in path.read_text()
    assert "weights are of epoch" not in path.read_text()


def test_nothing_in_a_file_becomes_markup(runs: list[Path]) -> None:
    evil = "# [x](https://evil.example) <script>alert(1)</script> | `a` **b** www.evil.example\n# two\n\n- three"
    config = yaml.safe_load((runs[0] / "config.yaml").read_text())
    config["name"] = config["provenance"]["data_note"] = config["provenance"]["command"] = evil
    (runs[0] / "config.yaml").write_text(yaml.safe_dump(config))
    (path,) = write_cards(runs[:1])
    text = path.read_text()
    assert sum(line.startswith("# ") for line in text.splitlines()) == 1
    outside = re.sub(r"(`+) .*? \1|`[^`]*`", "", text.replace("\\`", ""))
    assert not re.search(r"(?<!\\)<|(?<!\\)\[|https://|www\.(?!\\)", outside)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=50)
def test_escaped_text_is_one_line_of_itself(text: str) -> None:
    line = escaped(text)
    assert "\n" not in line
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]<>|~&$#@{}]", line)
    visible = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert plain(line) == visible
    assert not re.match(r"[-+=#>]|\d+[.)](\s|$)", line)


@given(st.text(alphabet="`a \n", max_size=12))
@settings(deadline=None, max_examples=50)
def test_a_code_span_ends_where_it_should(text: str) -> None:
    span = str(code(text))
    fence = span[: len(span) - len(span.lstrip("`"))] or "`"
    assert span.endswith(fence)
    assert fence not in re.split("[^`]+", span[len(fence) : -len(fence)])


def test_a_card_says_of_the_analyses_what_the_page_says(runs: list[Path]) -> None:
    folder = runs[0] / "analysis"
    folder.mkdir()
    # Half the interval is t (scatter / (n - 1))^(1/2) / n, with t = 2.0096 of 49 degrees of freedom.
    tally = Tally(50, 50 * 2.5e-9, 49 * (50 * 0.5e-9 / 2.0096) ** 2)
    content = Energy(50, 4, 4.6e-12, 0.9e-12, (), (), tally, tally, tally, 1e-8).to_dict()
    (folder / "energy.json").write_text(json.dumps(content))
    (path,) = write_cards(runs[:1])
    text = plain(path.read_text()).split("## What the analyses say")[1].split("## Limits")[0]
    assert text.split("\n\n")[1] == "### Activity and energy"
    assert "one inference costs 2.5 [2, 3] nJ; a dense network of the same layers costs 4 times as much." in text
    for name in ("mac", "joule_once", "schema"):
        assert name not in text
    (runs[0] / "weights.safetensors").write_bytes(b"weights")
    (folder / "energy.json").write_text(json.dumps(content | {"made_with": "0" * 64}))
    with pytest.raises(UserError, match="other weights"):
        write_cards(runs[:1])


def test_the_commands_of_a_card_attack_as_many_images(runs: list[Path]) -> None:
    (path,) = write_cards(runs[:1])
    n = next(iter(json.loads((runs[0] / "results.json").read_text())["models"].values()))["clean"]["n"]
    assert f" --limit {n}`" in path.read_text().split("## How it was made")[1]


def test_exactly_what_was_used_is_cited(tmp_path: Path) -> None:
    vanilla, _, adversarial, _ = write_runs(tmp_path)
    first, second = (path.read_text() for path in write_cards([vanilla, adversarial]))
    assert "(suite paper-sr-10)" in first  # and not its objective, which was not used
    assert "training on attacked images" in second
    assert "training on attacked images" not in first
    assert "TRADES" not in first + second
    assert "CIFAR" not in first.split("## To cite")[1]


@pytest.mark.parametrize(
    ("attack", "papers"),
    [
        ("Attack(threat=Linf(eps=8/255), step=GradientStep(alpha=8/255), steps=1)", ["fgsm"]),
        ("Attack(threat=Linf(eps=8/255), step=GradientStep(alpha=1/255), start=Uniform())", ["madry"]),
        ("Attack(step=GradientStep(alpha=4/255), start=SignNoise(size=4/255), steps=1)", ["rfgsm"]),
        ("Attack(step=APGD(alpha=16/255), rule=RGA(gamma=0.2), steps=100)", ["autoattack", "rga"]),
        ("Attack(step=SAPGD(alpha=8/255), rule=ASSG(surrogate=Arctan(sharpness=2.0)))", ["assg"]),
        ("Square(threat=Linf(eps=8/255))", ["square"]),
        ("RayS(threat=Linf(eps=8/255), queries=5000)", ["rays"]),
    ],
)
def test_an_attack_is_known_by_its_parts(attack: str, papers: list[str]) -> None:
    assert papers_of(attack) == [names._file("names/papers.yaml")["paper"][paper] for paper in papers]
