"""A damaged file: what is said to help is what makes that file."""

import pytest

from robustsnn.ground.errors import UserError
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
