"""A text that holds half of a character, which JSON and numpy can say and no page can hold: every reader refuses it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustsnn.bench import compare
from robustsnn.ground.archives import read_arrays
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import from_json
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.records.metrics import read_metrics
from robustsnn.records.result import Results
from robustsnn.records.zoo import ZooEntry

HALF = "a\ud800b"


@pytest.mark.parametrize("value", [HALF, [HALF], {HALF: 1}, {"a": {"b": [HALF]}}])
def test_json_that_holds_half_a_character_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="half of a character"):
        from_json(json.dumps(value))


@pytest.mark.parametrize("value", ["\U0001f600", ["\\ud800"], {"\u00e9": None}, 1e308, [True]])
def test_whole_characters_are_read(value: Any) -> None:
    assert from_json(json.dumps(value)) == value


def test_every_reader_of_a_file_refuses_half_a_character(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": 2, "models": {HALF: {}}}))
    for read in (Results.load, ZooEntry.load, read_metrics, compare.read):
        with pytest.raises(UserError, match="half of a character"):
            read(path)
    write_tensors(tmp_path / "x.safetensors", {}, {"name": HALF})
    with pytest.raises(UserError, match="half of a character"):
        read_tensors(tmp_path / "x.safetensors", "make it anew")
    np.savez(tmp_path / "x.npz", classes=np.array(["a", HALF]))
    with pytest.raises(ValueError, match="surrogates not allowed"):
        read_arrays(tmp_path / "x.npz")
