"""Small data sets of every format that is read, and weights of others: files for `storm_inputs.py`.

They are written as the tests of loaders write them, by the same functions; so the extra `test` is needed.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "data"))
import test_cifar
import test_cifar10_dvs
import test_event_files
import written

import conftest

SMALL = [
    "--model.name",
    "vgg_small",
    "--model.options.width",
    "0.1",
    "--train.epochs",
    "1",
    "--train.crop",
    "0",
    "--out",
    "new",
]
STILL = ["--model.steps", "1"]
EVENTS = ["--data.frames.steps", "2", "--model.steps", "2", "--data.frames.size"]
ADOPTED = "from torch import nn\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
OWN = ["--data", "digits", "--suite", "paper-trail", "--eps", "8/255", "--limit", "2", "--out", "new"]


def sets(root: Path) -> dict[str, list[str]]:
    """{folder or file in `root` that is written: the command that reads it, with {} where the folder's name goes}."""
    made: dict[str, list[str]] = {}

    def add(name: str, data: str, place: str = "", *more: str) -> None:
        made[name] = ["train", "--data.name", data, "--data.root", f"{{}}/{name}{place}", *more, *SMALL]

    for form in written.IMAGES:
        name = form.id.replace(" ", "-")
        folder = root / name
        folder.mkdir(parents=True)
        train, test = (written.drawn(count, form.channels, form.side, count) for count in (12, 3))
        place, _ = form.write(folder, train, test)
        padded = ["--data.pad", "16"] if form.side == 12 else []
        add(name, form.name, str(place)[len(str(folder)) :], *padded, *STILL)
    for files in test_event_files.FILES:
        name = f"{files.name}{files.suffix}"
        files.put(root / name)
        add(name, files.name, "", *EVENTS, str(files.side))
    _gesture(root / "gesture")
    add("gesture", "dvs_gesture", "", *EVENTS, "16")
    for suffix, content in ((".aedat", test_cifar10_dvs.aedat), (".npz", test_cifar10_dvs.events_npz)):
        folder = root / f"dvs{suffix}"
        test_cifar10_dvs.fill(folder / "events_np" if suffix == ".npz" else folder, suffix, content)
        add(folder.name, "cifar10_dvs", "", *EVENTS, "16", "--data.validation", "10", "--data.options.test", "4")
    for classes in (10, 100):
        tiny = test_cifar.make(classes, _python2)
        for layout in tiny.folders:
            name = f"cifar{classes}-{layout}"
            tiny.extract(root / name / tiny.folders[layout], layout)
            add(name, f"cifar{classes}", "", "--data.validation", "10", *STILL)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    written.put(root / "cifar-archive" / "cifar-10-python.tar.gz", stream.getvalue())  # refused: not the official one
    add("cifar-archive", "cifar10", "", *STILL)
    return made


def _python2(value: object) -> bytes:
    return b"\x80\x02" + conftest._Python2Pickler().save(value) + b"."


def _gesture(root: Path) -> None:
    """Two recordings of eleven gestures each, and the lists of those that train and test."""
    for user in ("user01_led", "user02_led"):
        rows, parts = ["class,startTime_usec,endTime_usec"], []
        for label in range(11):
            t, *more = written.recording(label, label, 128)
            parts.append((t + 10_000 * label, *more))
            rows.append(f"{label + 1},{10_000 * label},{10_000 * label + 6000}")
        t, x, y, p = (np.concatenate(column) for column in zip(*parts, strict=True))
        written.put(root / f"{user}.aedat", written.aedat3_bytes(t, x, y, p))
        written.put(root / f"{user}_labels.csv", "\n".join(rows).encode())
    written.put(root / "trials_to_train.txt", b"user01_led.aedat\n")
    written.put(root / "trials_to_test.txt", b"user02_led.aedat\n")


def weights(root: Path) -> dict[str, list[str]]:
    """Weights of a network of the module `adopted` in both forms, likewise."""
    root.mkdir(parents=True)
    Path("adopted.py").write_text(ADOPTED)
    held = {"1.weight": torch.ones(10, 64), "1.bias": torch.zeros(10)}
    save_file(held, root / "own.safetensors")
    torch.save(held, root / "own.pt")
    return {
        f"own{suffix}": ["evaluate", "adopted:build", "--weights", f"{{}}/own{suffix}", *OWN]
        for suffix in (".safetensors", ".pt")
    }


WRITERS: dict[str, Callable[[Path], dict[str, list[str]]]] = {"sets": sets, "weights": weights}
