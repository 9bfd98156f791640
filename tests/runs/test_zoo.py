"""Entries of a zoo: made of judged runs, fetched and checked, judged again; and the board that is made of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from robustsnn.cli import main
from robustsnn.ground.claim import claimed_files
from robustsnn.ground.errors import UserError
from robustsnn.names.shipped import shipped
from robustsnn.records.result import Right
from robustsnn.records.zoo import ZooEntry, key_of, read_zoo
from robustsnn.reporting.board import write_board
from robustsnn.runs.zoo import add, judge, pull

TINY = ("--train.epochs", "1", "--train.batch_size", "64", "--model.steps", "2", "--model.options.width", "0.2")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that was judged by one step at 16/255."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", *TINY, "--train.precision", "float32", "--out", str(folder)]) == 0
    assert main(["evaluate", str(folder), "--attack", "fgsm", "--eps", "16/255", "--limit", "40"]) == 0
    return folder


@pytest.fixture
def entry(run, tmp_path) -> Path:
    return add([run], tmp_path / "zoo", licence="MIT")


def changed(path: Path, change: Any) -> Path:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_an_entry_that_says_what_is_so_holds_image_by_image(entry):
    found = list(judge(entry, 30))
    assert [again.what for again in found] == ["clean", "worst case"]
    for again in found:
        assert again.paired == (0, 0)
        assert again.said == again.ours
        assert again.ours.n == 30
        assert again.holds


def test_robustness_that_is_not_there_is_found(entry):
    def claim(document: dict[str, Any]) -> None:
        rate = document["results"][0]["worst_case"]
        rate |= {"accuracy": 1.0, "interval": [0.91, 1.0]}
        rate["right"]["bits"] = "f" * 10

    clean, worst = judge(changed(entry, claim), 30)
    assert clean.holds
    assert not worst.holds
    assert worst.paired == (30 - round(30 * worst.ours.accuracy), 0)
    assert main(["zoo", "judge", str(entry), "--limit", "30"]) == 2


def test_figures_of_other_images_are_compared_by_their_intervals(entry):
    changed(entry, lambda document: document["results"][0]["worst_case"]["right"].update(images="0" * 16))
    _, worst = judge(entry, 30)
    assert worst.paired is None
    assert worst.holds
    changed(entry, lambda document: document["results"][0]["worst_case"].update(accuracy=1.0, interval=[0.99, 1.0]))
    _, worst = judge(entry, 30)
    assert not worst.holds


def test_results_of_an_entry_are_joined_and_replaced_by_suite_and_threat(entry, run, tmp_path):
    before = ZooEntry.load(entry)
    assert add([run], entry.parent) == entry
    assert ZooEntry.load(entry) == before
    other = tmp_path / "small"
    pull(entry, other)
    assert main(["evaluate", str(other), "--attack", "fgsm", "--eps", "8/255", "--limit", "10"]) == 0
    add([other], entry.parent)
    after = ZooEntry.load(entry)
    assert (after.key, after.licence) == (before.key, "MIT")
    assert [result.eps for result in after.results] == [8 / 255, 16 / 255]
    assert after.results[1] == before.results[0]


def test_what_determines_a_network_determines_its_key(entry):
    known = ZooEntry.load(entry)
    moved = {**known.config, "data": {**known.config["data"], "root": "elsewhere"}, "name": "other", "train": {}}
    assert key_of(moved, known.weights) == known.key
    deeper = {**known.config, "model": {**known.config["model"], "steps": 3}}
    assert key_of(deeper, known.weights) != known.key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["config"]["model"].update(steps=3), "key = "),
        (lambda d: d["weights"].update(sha256="0" * 64), "key = "),
        (lambda d: d["weights"].update(place="../small/weights.safetensors"), "neither an address nor a path below"),
        (lambda d: d["weights"].update(place="/etc/passwd"), "neither an address nor a path below"),
        (lambda d: d["weights"].update(place="nowhere.safetensors"), "is not there"),
    ],
)
def test_an_entry_that_was_changed_is_refused(entry, tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        pull(changed(entry, change), tmp_path / "out")


def test_weights_that_were_changed_are_refused(entry, tmp_path):
    weights = entry.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match="not the file that"):
        pull(entry, tmp_path / "out")


def test_nothing_that_an_entry_names_is_imported(entry):
    def name(document: dict[str, Any]) -> None:
        document["config"]["model"]["name"] = "somebody:network"
        config, weights = document["config"], ZooEntry.load(entry).weights
        document["key"] = key_of(config, weights)

    with pytest.raises(UserError, match=f"{entry.name}: .*would import and run somebody"):
        list(judge(changed(entry, name), 5))


@pytest.mark.parametrize("suite", ["canary:Suite", "canary:Suite-encoded"])
def test_no_suite_that_an_entry_names_is_imported(entry, suite, tmp_path, monkeypatch):
    (tmp_path / "canary.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(tmp_path)
    changed(entry, lambda document: document["results"][0].update(suite=suite))
    with pytest.raises(UserError, match="is code outside this package"):
        list(judge(entry, 5))
    with pytest.raises(RuntimeError, match="imported"):  # a person has typed it
        list(judge(entry, 5, suites=[suite]))


def test_a_run_that_is_there_is_not_pulled_over(entry, run, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(run, mine)
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    for overwrite in (False, True):
        with pytest.raises(UserError, match="is another run already"):
            pull(entry, mine, overwrite=overwrite)
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before
    pull(entry, tmp_path / "new")
    pull(entry, tmp_path / "new")  # the same one again


def test_what_cannot_be_built_is_not_pulled(entry, tmp_path):
    def deep(document: dict[str, Any]) -> None:
        document["config"]["train"]["epochs"] = None

    with pytest.raises(UserError, match=f"{entry.name}: train.epochs=null"):
        pull(changed(entry, deep), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [3, "x", ["a"], float("nan")])
def test_an_entry_whose_data_are_no_options_is_refused_by_name(entry, data):
    changed(entry, lambda document: document["config"].update(data=data))
    with pytest.raises(UserError, match=r"config\.data = "):
        ZooEntry.load(entry)


@pytest.mark.parametrize(
    "place", ["", "ftp://there/x", "C:x", "a\x00b", "a\nb", "https://", "http:///x", "a\\b", "../x"]
)
def test_weights_are_at_an_address_or_below_the_entry(entry, place, run, tmp_path):
    with pytest.raises(UserError, match="neither an address nor a path"):
        ZooEntry.load(changed(entry, lambda document: document["weights"].update(place=place)))
    with pytest.raises(UserError, match=r"url=.*give an address"):
        add([run], tmp_path / "other", url=place)
    assert not (tmp_path / "other").exists()


def test_a_zoo_that_is_none_is_said_to_be_none(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for name, said in (("nowhere", "no such file"), ("file", "is a file where"), (".", "holds no entry")):
        for command in (["zoo", "list"], ["leaderboard", "--out", str(tmp_path / "board")]):
            assert main([*command, str(tmp_path / name)]) == 2
            assert said in capsys.readouterr().err


def test_options_of_another_action_are_refused(capsys):
    for line in ("list --out x", "pull digits-vgg-at --limit 3", "add runs/mine --suite quick", "judge x --zoo y"):
        assert main(["zoo", *line.split()]) == 2
        assert "leave it out" in capsys.readouterr().err


def test_a_link_in_the_place_of_an_entry_or_its_weights_stays(run, tmp_path):
    for name in ("small.json", "small.safetensors"):
        zoo = tmp_path / name[6:]
        zoo.mkdir()
        (zoo / name).symlink_to(tmp_path / "nowhere")
        with pytest.raises(UserError):
            add([run], zoo)
        assert [path.name for path in zoo.iterdir() if path.suffix != ".lock"] == [name]
        assert (zoo / name).is_symlink()


def test_of_two_that_add_to_one_entry_none_is_lost(entry, run):
    with claimed_files([entry]):
        process = subprocess.run(
            [sys.executable, "-m", "robustsnn", "zoo", "add", str(run), "--zoo", str(entry.parent)],
            capture_output=True,
            text=True,
        )
    assert process.returncode == 2
    assert "is being written by process" in process.stderr


def test_words_of_an_entry_give_no_orders_to_a_terminal(entry, capsys):
    changed(entry, lambda document: document["results"][0].update(suite="\x1b]0;mine\x07"))
    assert main(["zoo", "list", str(entry.parent)]) == 0
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_weights_are_fetched_and_checked(run, tmp_path):
    pytest.importorskip("pooch")
    handler = partial(SimpleHTTPRequestHandler, directory=str(run))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/weights.safetensors"
        entry = add([run], tmp_path / "zoo", url=url)
        assert sorted(path.name for path in entry.parent.iterdir()) == ["small.json"]
        pull(entry, tmp_path / "out")
        assert (tmp_path / "out/weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()

        def other(document: dict[str, Any]) -> None:
            document["weights"]["place"] = url.replace("weights.safetensors", "config.yaml")

        with pytest.raises(UserError, match="was not fetched"):
            pull(changed(entry, other), tmp_path / "other")
        server.shutdown()


def test_figures_of_other_weights_make_no_entry(run, tmp_path):
    other = tmp_path / "other"
    assert main(["train", *TINY, "--train.seed", "1", "--out", str(other)]) == 0
    with pytest.raises(UserError, match="was not judged"):
        add([other], tmp_path / "zoo")
    with pytest.raises(UserError, match="of other weights"):
        add([other, run], tmp_path / "zoo")


def test_the_board_puts_reported_beside_reliable_and_is_equal_on_repetition(entry, tmp_path):
    def judged(document: dict[str, Any]) -> None:
        (fgsm,) = document["results"]
        document["results"].append({**fgsm, "suite": "reliable", "worst_case": {"accuracy": 0.125, "n": 40}})
        document["reported"] = [{**fgsm, "suite": "PGD7 of a paper", "worst_case": {"accuracy": 0.0625}}]

    changed(entry, judged)
    page = write_board(entry.parent, tmp_path / "site").read_text()
    cells = page[page.index("<tbody>") :].split("<td")
    assert 'data-value="0.0625"' in cells[2]
    assert "PGD7 of a paper" in cells[2]
    assert 'data-value="0.125"' in cells[3]
    assert write_board(entry.parent, tmp_path / "again").read_text() == page
    assert not re.search(r"(src|href)=\"(?!#)", page)


def test_a_suite_in_encoded_space_has_the_column_of_its_suite(entry, tmp_path):
    def encoded(document: dict[str, Any]) -> None:
        (fgsm,) = document["results"]
        fgsm |= {"suite": "quick-encoded", "space": "encoded"}

    page = write_board(changed(entry, encoded).parent, tmp_path / "site").read_text()
    assert ">quick</button>" in page
    assert ", Linf, encoded space<" in page


def test_weights_of_others_are_not_written_over(run, tmp_path):
    other = tmp_path / "zoo" / "small.safetensors"
    other.parent.mkdir()
    other.write_bytes(b"mine")
    with pytest.raises(UserError, match="holds other weights"):
        add([run], other.parent)
    assert other.read_bytes() == b"mine"


def test_a_folder_without_entries_makes_no_board(tmp_path):
    with pytest.raises(UserError, match="holds no entry"):
        write_board(tmp_path, tmp_path / "site")


def test_the_first_bits_are_those_of_the_first_images():
    right = Right.of("a" * 16, [True, False, True, True, False, True])
    assert right.first(3, "b") == Right.of("b", [True, False, True])
    assert right.first(6, right.images) == right


def test_the_entries_of_the_package_are_small_and_say_what_was_measured():
    for path in shipped("zoo").values():
        entry = read_zoo(path.parent)[path.stem]
        assert (path.parent / entry.weights.place).stat().st_size < 100_000
        suites = {result.suite: result.worst_case for result in entry.results}
        shares = [rate.accuracy for suite in ("reliable", "quick", "pgd-50") if (rate := suites.get(suite))]
        assert len(shares) >= 2
        assert shares == sorted(shares)
    assert shipped("zoo")


def test_a_network_that_is_built_by_code_outside_makes_no_entry(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    (other / "config.yaml").write_text((run / "config.yaml").read_text().replace("name: vgg_small", "name: mine:Net"))
    with pytest.raises(UserError, match="would import and run mine"):
        add([other], tmp_path / "zoo")
