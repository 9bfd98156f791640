"""A user's own images at the command line: trained and evaluated with no further line, or refused in one."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from robustsnn.cli import main
from robustsnn.data.batches import ImageSet
from robustsnn.runs.build import _statistics

TINY = ["--train.epochs", "1", "--train.batch_size", "16", "--model.steps", "2", "--model.options.width", "0.25"]


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images [N, 28, 28] of three classes, each with a bright band of its own."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(seed).integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[8 * label : 8 * label + 8] += 190
    return images, labels


@pytest.fixture
def idx(tmp_path: Path) -> list[str]:
    for part, (images, labels) in (("train", pictures(60, 0)), ("t10k", pictures(12, 1))):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return ["--data.name", "idx", "--data.root", str(tmp_path)]


@pytest.fixture
def png(tmp_path: Path) -> list[str]:
    for number, (image, label) in enumerate(zip(*pictures(75, 2), strict=True)):
        folder = tmp_path / "pictures" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return ["--data.name", "images", "--data.root", str(tmp_path / "pictures")]


@pytest.mark.parametrize(("form", "chance"), [("idx", 1 / 3), ("png", 18 / 53)])
def test_own_images_are_trained_on_and_attacked(
    form: str, chance: float, request, tmp_path: Path, capsys, unchecked
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", *request.getfixturevalue(form), *TINY, "--out", run]) == 0
    assert main(["evaluate", run, "--suite", "paper-trail", "--eps", "8/255", "--limit", "6"]) == 0
    assert "clean " in capsys.readouterr().out
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["provenance"]["commonest"] == pytest.approx(chance)
    assert "drawn by seed 0" in saved["provenance"]["data_note"]


def test_a_size_that_does_not_fit_is_padded_on_request(idx: list[str], tmp_path: Path, capsys) -> None:
    arguments = [
        "train",
        *idx,
        *TINY,
        "--model.name",
        "vgg11",
        "--model.options.width",
        "0.02",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "image of 28x28 pixels" in error
    assert "data.pad=32 gives it a black border" in error
    assert main([*arguments, "--data.pad", "32"]) == 0
    assert "Padded from 28x28 to 32x32" in (tmp_path / "run" / "config.yaml").read_text().replace("\n", " ")


def test_a_damaged_file_is_one_line_and_2(idx: list[str], png: list[str], tmp_path: Path, capsys) -> None:
    for arguments, victim in (
        (idx, tmp_path / "train-images-idx3-ubyte"),
        (png, tmp_path / "pictures" / "class 1" / "1.png"),
    ):
        victim.write_bytes(victim.read_bytes()[:99])
        assert main(["train", *arguments, *TINY, "--out", str(tmp_path / "run")]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert str(victim) in line
        assert not (tmp_path / "run" / "config.yaml").exists()


def test_mean_and_deviation_are_those_of_the_training_images() -> None:
    """Of more images than one piece of them, and of two channels."""
    images = torch.randint(0, 9, (4500, 2, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 1] += 100
    mean, std = _statistics(ImageSet(images, torch.zeros(4500, dtype=torch.int64), ("a", "b"), "x", levels=200))
    exact = images.double().transpose(0, 1).flatten(1) / 200
    assert mean == pytest.approx(exact.mean(1).tolist(), rel=1e-12)
    assert std == pytest.approx(exact.std(1, correction=0).tolist(), rel=1e-12)
