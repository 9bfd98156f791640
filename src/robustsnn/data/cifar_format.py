"""The two formats of CIFAR files. In both an image is 3072 bytes: 32x32 red, then green, then blue."""

from __future__ import annotations

import numpy as np

from robustsnn.data.unpickle import unpickle
from robustsnn.ground.errors import UserError

PIXELS = 3 * 32 * 32
_AGAIN = "get the official file again"


def python_records(content: bytes, file: str, *, key: bytes, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, 3072], labels int64 [n]) of a pickled dictionary with b"data" and labels at `key`."""
    batch = unpickle(content, file)
    images, labels = batch.get(b"data"), batch.get(key)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (PIXELS,):
        raise UserError(f"{file}: data is not a uint8 array of shape [n, {PIXELS}]; {_AGAIN}")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise UserError(f"{file}: {key.decode()} is not a list of {len(images)} numbers, one per image; {_AGAIN}")
    for position, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < classes:
            shown = label if type(label) is int else f"a {type(label).__name__}"
            raise _label_error(file, shown, position, classes)
    return images, np.array(labels, dtype=np.int64)


def binary_records(content: bytes, file: str, *, label_bytes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of records of `label_bytes` label bytes, the last of which counts, and 3072 image bytes."""
    size = label_bytes + PIXELS
    if len(content) % size or not content:
        raise UserError(f"{file} has {len(content)} bytes, not a positive multiple of {size} (one record); {_AGAIN}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, label_bytes - 1].astype(np.int64)
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        raise _label_error(file, int(labels[wrong[0]]), int(wrong[0]), classes)
    return records[:, label_bytes:], labels


def python_names(content: bytes, file: str, *, key: bytes, classes: int) -> tuple[str, ...]:
    """The `classes` class names of a pickled dictionary with a list of them at `key`."""
    names = unpickle(content, file).get(key)
    if not isinstance(names, list) or not all(isinstance(name, (bytes, str)) for name in names):
        raise UserError(f"{file}: {key.decode()} is not a list of names; {_AGAIN}")
    return _names([name if isinstance(name, str) else name.decode("latin-1") for name in names], file, classes)


def binary_names(content: bytes, file: str, *, classes: int) -> tuple[str, ...]:
    """The `classes` class names of a text file with one on each line."""
    return _names([line for line in content.decode("latin-1").split("\n") if line.strip()], file, classes)


def _names(names: list[str], file: str, classes: int) -> tuple[str, ...]:
    names = [name.strip() for name in names]
    if len(names) != classes:
        raise UserError(f"{file} has {len(names)} class names, expected {classes}; {_AGAIN}")
    if not all(name.isascii() and name.isprintable() for name in names):
        raise UserError(f"{file} has a class name that is not printable ASCII; {_AGAIN}")
    return tuple(names)


def _label_error(file: str, label: int | str, position: int, classes: int) -> UserError:
    return UserError(f"{file}: label {label} of image {position} is not one of 0..{classes - 1}; {_AGAIN}")
