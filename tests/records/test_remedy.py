"""A damaged file: what is said to help is what makes that file."""

from pathlib import Path

import pytest

from robustsnn.bench import compare
from robustsnn.ground.errors import UserError
from robustsnn.ground.ours import check_files
from robustsnn.ground.tensors import read_tensors
from robustsnn.records.arrays import read_arrays
from robustsnn.records.metrics import read_metrics
from robustsnn.records.result import Results
from robustsnn.records.typed import remedy
from robustsnn.records.zoo import ZooEntry


@pytest.mark.parametrize(
    ("where", "helps"),
    [
        ("runs/a/results.json: models.a.clean", "evaluate the run again"),
        ("runs/a/samples.npz", "evaluate the run again"),
        ("runs/a/analysis/trail.json: layers", "analyse the run again"),
        (r"runs\a\analysis\trail.json", "analyse the run again"),
        ("runs/a/metrics.jsonl", "train the run again"),
        ("zoo/mine.json: key", "get the file again, or make it anew"),
        ("digits/p1-table1.json", "get the file again, or make it anew"),
    ],
)
def test_what_helps_is_what_makes_the_file(where, helps):
    assert remedy(where) == helps


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1, "key": 3, "models": 3}'])
def test_nobody_is_told_to_evaluate_an_entry_of_a_zoo(tmp_path, text):
    for kind, name, helps in ((ZooEntry, "mine.json", "get the file"), (Results, "results.json", "evaluate the run")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=helps):
            kind.load(tmp_path / name)


@pytest.mark.parametrize(
    "read",
    [Results.load, ZooEntry.load, read_metrics, read_arrays, compare.read, lambda path: read_tensors(path, "train it")],
)
@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl", "samples.npz"])
def test_what_the_system_does_not_open_is_no_damaged_file(tmp_path, read, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="it is a folder where a file is needed") as error:
        read(tmp_path / name)
    assert "again" not in str(error.value)


def test_a_file_that_may_not_be_read_is_not_said_to_be_somebody_elses(tmp_path, monkeypatch):
    def closed(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    path = Path(tmp_path / "results.json")
    path.write_text("{}")
    monkeypatch.setattr("builtins.open", closed)
    with pytest.raises(PermissionError):
        check_files([path])
