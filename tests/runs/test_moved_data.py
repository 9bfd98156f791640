"""Data that were moved are the same data: a run knows them by what is in them, not by where they lie."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml

from robustsnn.ground.errors import UserError
from robustsnn.names.config import Config, DataConfig, ModelConfig, TrainConfig
from robustsnn.runs.folder import is_trained, load_run, train_run


def test_a_run_goes_on_where_its_data_were_moved_and_not_with_others(tmp_path):
    draws = np.random.default_rng(0)
    images, labels = draws.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    parts = {"train_images": images, "train_labels": labels}

    def write(place: str, at: slice) -> None:
        np.savez(tmp_path / place / "set.npz", **parts, test_images=images[at], test_labels=labels[at])

    (tmp_path / "here").mkdir()
    write("here", slice(8))

    def config(place: str) -> Config:
        data = DataConfig("npz", str(tmp_path / place), validation=8)
        return Config(None, data, ModelConfig(steps=2, options={"width": 0.25}), train=TrainConfig(1, crop=0))

    run = tmp_path / "run"
    train_run(config("here"), run)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert is_trained(config("there"), run)
    train_run(config("there"), run, resume=True)  # nothing is left to do, and nothing is refused
    saved = yaml.safe_load((run / "config.yaml").read_text())
    saved["data"]["root"] = str(tmp_path / "there")
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    assert len(load_run(run)[2].test) == 8
    write("there", slice(8, 16))
    with pytest.raises(UserError, match="another data"):
        load_run(run)
