"""Small data sets, written as their makers write them: what the tests of loaders read."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.io import savemat

Labelled = tuple[np.ndarray, np.ndarray]
"""Images uint8 [N, C, H, W], or event frames [N, T, 2, H, W], and labels [N]."""


@dataclass(frozen=True)
class Format:
    """One form of data.

    Args:
        name: of the data set, `data.name`.
        write: writes training and test data to a folder; returns `data.root` and the file that tests damage.
        channels, side: of the images.
        options: `data.options`.
        lossy: pixels come back changed.
    """

    id: str
    name: str
    write: Callable[[Path, Labelled, Labelled], tuple[Path, Path]]
    channels: int = 1
    side: int = 12
    options: dict[str, Any] = field(default_factory=dict)
    lossy: bool = False


def drawn(count: int, channels: int, side: int, seed: int, classes: int = 3) -> Labelled:
    """Random images whose classes take turns."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, channels, side, side), dtype=np.uint8), np.arange(count) % classes


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def idx_bytes(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    )


def idx(prefix: str = "", test: str = "t10k", packed: bool = True) -> Callable[..., tuple[Path, Path]]:
    def write(folder: Path, train: Labelled, test_set: Labelled) -> tuple[Path, Path]:
        for part, (x, y) in (("train", train), (test, test_set)):
            x = x[:, 0].transpose(0, 2, 1) if prefix.startswith("emnist") else x[:, 0]
            for kind, array in (("images-idx3", x), ("labels-idx1", y)):
                content = idx_bytes(array)
                path = folder / f"{prefix}{part}-{kind}-ubyte{'.gz' if packed else ''}"
                put(path, gzip.compress(content) if packed else content)
        return folder, folder / f"{prefix}train-images-idx3-ubyte{'.gz' if packed else ''}"

    return write


def picture(x: np.ndarray, kind: str) -> bytes:
    """An image [C, H, W] as a file."""
    stream = io.BytesIO()
    image = Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0))
    image.save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return stream.getvalue()


def image_folders(kind: str, suffix: str) -> Callable[..., tuple[Path, Path]]:
    def write(folder: Path, train: Labelled, test: Labelled) -> tuple[Path, Path]:
        for part, (x, y) in (("train", train), ("test", test)):
            for number, (image, label) in enumerate(zip(x, y, strict=True)):
                put(folder / part / str(label) / f"{number:03}{suffix}", picture(image, kind))
        return folder, folder / "train" / "1" / f"001{suffix}"

    return write


def named(train: Labelled, test: Labelled) -> dict[str, np.ndarray]:
    return {"train_images": train[0], "train_labels": train[1], "test_images": test[0], "test_labels": test[1]}


def npz(folder: Path, train: Labelled, test: Labelled) -> tuple[Path, Path]:
    np.savez_compressed(folder / "set.npz", **named(train, test))
    return folder / "set.npz", folder / "set.npz"


def npz_keras(folder: Path, train: Labelled, test: Labelled) -> tuple[Path, Path]:
    """Channels last, labels [N, 1]."""
    arrays = {
        f"{kind}_{part}": value
        for part, (x, y) in (("train", train), ("test", test))
        for kind, value in (("x", x.transpose(0, 2, 3, 1)), ("y", y[:, None]))
    }
    np.savez(folder / "set.npz", **arrays)
    return folder, folder / "set.npz"


def npy(folder: Path, train: Labelled, test: Labelled) -> tuple[Path, Path]:
    for name, array in named(train, test).items():
        np.save(folder / f"{name}.npy", array)
    return folder, folder / "train_images.npy"


def tensors(folder: Path, train: Labelled, test: Labelled) -> tuple[Path, Path]:
    held = {name: torch.from_numpy(array.copy()) for name, array in named(train, test).items()}
    save_file(held, folder / "set.safetensors", {"classes": json.dumps(["0", "1", "2"])})
    return folder, folder / "set.safetensors"


def svhn(packed: bool) -> Callable[..., tuple[Path, Path]]:
    def write(folder: Path, train: Labelled, test: Labelled) -> tuple[Path, Path]:
        for part, (x, y) in (("train", train), ("test", test)):
            held = {"X": x.transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y)[:, None].astype(np.uint8)}
            savemat(folder / f"{part}_32x32.mat", held, do_compression=packed)
        return folder, folder / "train_32x32.mat"

    return write


IMAGES = [
    Format("idx", "idx", idx(packed=False)),
    Format("idx gz", "idx", idx()),
    Format("emnist", "idx", idx("emnist-letters-", "test")),
    Format("png grey", "images", image_folders("PNG", ".png")),
    Format("png", "images", image_folders("PNG", ".PNG"), 3),
    Format("jpeg", "images", image_folders("JPEG", ".jpg"), 3, lossy=True),
    Format("npz", "npz", npz, 3),
    Format("npz keras", "npz", npz_keras, 3),
    Format("npy", "npz", npy, 3),
    Format("tensors", "tensors", tensors, 3),
    Format("svhn", "svhn", svhn(packed=False), 3, 32),
    Format("svhn packed", "svhn", svhn(packed=True), 3, 32),
]

# Events. A recording is (t, x, y, p) of a square sensor.


def recording(seed: int, label: int, side: int, count: int = 60) -> tuple[np.ndarray, ...]:
    """Random events; those of a class are in a column of their own too, and the last corner has one."""
    rng = np.random.default_rng([seed, label])
    t = np.sort(rng.integers(0, 5000, count))
    x, y = rng.integers(0, side, (2, count))
    x[::2] = label
    x[0] = y[0] = side - 1
    return t, x, y, rng.integers(0, 2, count)


def counted(events: tuple[np.ndarray, ...], steps: int, side: int, levels: int) -> np.ndarray:
    """Frames [T, 2, side, side] with equally many events in each, one event at a time."""
    frames = np.zeros((steps, 2, side, side), int)
    for number, (_, x, y, p) in enumerate(zip(*events, strict=True)):
        frames[min(number // (len(events[0]) // steps), steps - 1), p, y, x] += 1
    return frames.clip(max=levels).astype(np.uint8)


def bin_bytes(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    """N-MNIST: five bytes of an event, and one at y = 240 whenever the clock has gone on by 2^13."""
    out, rounds = [], 0
    for moment, column, row, polarity in zip(t, x, y, p, strict=True):
        while moment - (rounds << 13) >= 1 << 13:
            out.append(bytes([0, 240, 0, 0, 0]))
            rounds += 1
        rest = int(moment) - (rounds << 13)
        out.append(bytes([column, row, int(polarity) << 7 | rest >> 16, rest >> 8 & 255, rest & 255]))
    return b"".join(out)


def npz_bytes(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def hdf5_bytes(group: str = "", **arrays: np.ndarray) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"{group}{name}", data=array, compression="gzip")
    return stream.getvalue()


def aedat3_packet(kind: int, payload: bytes, size: int, overflows: int = 0) -> bytes:
    number = len(payload) // size
    return struct.pack("<HHIIIIII", kind, 0, size, 4, overflows, number, number, number) + payload


def aedat3_bytes(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray, valid: int = 1) -> bytes:
    """Header, a packet of another kind, and the events in packets of at most 50 of one round of the clock each."""
    out = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n", aedat3_packet(0, bytes(16), 8)]
    data = x << 17 | y << 2 | p << 1 | valid
    for overflow in np.unique(t >> 31):
        mine = np.flatnonzero(t >> 31 == overflow)
        for start in range(0, len(mine), 50):
            some = mine[start : start + 50]
            records = np.column_stack([data[some], t[some] & 0x7FFFFFFF]).astype("<u4")
            out.append(aedat3_packet(1, records.tobytes(), 8, int(overflow)))
    return b"".join(out)
