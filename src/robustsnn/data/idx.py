"""MNIST and its kin (Fashion-MNIST, KMNIST, EMNIST) from their official IDX files, gzipped or not."""

from __future__ import annotations

import gzip
import re
import zlib
from math import prod
from pathlib import Path

import numpy as np

from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.pixels import pixels, whole_labels
from robustsnn.ground.errors import UserError
from robustsnn.ground.memory import available

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist has its files."""

GARMENTS = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
"""The classes of Fashion-MNIST in the order of their labels."""

_NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[.-]idx([13])-ubyte(?:\.gz)?")
_PARTS = {"train": "train", "t10k": "test", "test": "test"}


def idx(root: Path | str, *, part: str | None = None, validation: int | None = None, seed: int = 0) -> Splits:
    """Images uint8 [N, 1, H, W] of the IDX files in `root`: `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz` ...

    EMNIST has six data sets in one folder, `emnist-letters-train-images-idx3-ubyte.gz` ...: `part` is the beginning of
    their names, "emnist-letters". Its images lie on their side, and are turned upright. The classes are the labels that
    are there. `seed` draws `validation` of the training images (a tenth), stratified by class.

    `UserError`, in one line with the file's name: a file missing, of another format, truncated, longer than it says, or
    without labels.
    """
    return _load(Path(root), part, validation, seed, "idx", None)


def fashion_mnist(root: Path | str | None = None, *, validation: int | None = None, seed: int = 0) -> Splits:
    """Fashion-MNIST (Xiao et al., 2017), from Debian's package if no `root` is given; see `idx`."""
    folder = DEBIAN if root is None else Path(root)
    if root is None and not folder.is_dir():
        how = "apt-get install dataset-fashion-mnist, or give data.root, the folder of its four files"
        raise UserError(f"no Fashion-MNIST in {folder}: {how}")
    return _load(folder, None, validation, seed, "fashion_mnist", GARMENTS)


def _load(
    root: Path, prefix: str | None, validation: int | None, seed: int, name: str, classes: tuple[str, ...] | None
) -> Splits:
    files = _find(root, prefix)
    parts = {}
    for key in ("train", "test"):
        images, labels = (read_idx(files[key, kind], dims) for kind, dims in (("images", 3), ("labels", 1)))
        if files[key, "images"].name.startswith("emnist-"):
            images = images.transpose(0, 2, 1)
        place = str(files[key, "images"])
        if len(images) != len(labels):
            raise UserError(f"{place} has {len(images)} images, {files[key, 'labels']} has {len(labels)} labels")
        parts[key] = ImagePart(pixels(images, place), whole_labels(labels, str(files[key, "labels"])), place)
    return arrange(parts, name, classes=classes, validation=validation, seed=seed)


def _find(root: Path, prefix: str | None) -> dict[tuple[str, str], Path]:
    """The files of training and test images and labels, by (part, kind)."""
    found: dict[str, dict[tuple[str, str], Path]] = {}
    try:
        names = sorted(path.name for path in root.iterdir())  # so that NAME goes before NAME.gz
    except OSError as error:
        raise UserError(f"cannot read {root}: {error.strerror or error}; give the folder of the IDX files") from error
    for match in filter(None, map(_NAME.fullmatch, names)):
        found.setdefault(match[1] or "", {}).setdefault((_PARTS[match[2]], match[3]), root / match[0])
    if prefix is None and len(found) == 1:
        prefix = next(iter(found))
    if prefix is None and len(found) > 1:
        which = ", ".join(key or "none" for key in found)
        raise UserError(f"{root} holds several data sets; give data.options.part, one of {which}")
    files = found.get(prefix or "", {})
    begin = f"{prefix}-" if prefix else ""
    missing = [
        f"{part}-{kind}" for part in ("train", "test") for kind in ("images", "labels") if (part, kind) not in files
    ]
    if missing:
        usual = f"{begin}train-images-idx3-ubyte, {begin}train-labels-idx1-ubyte and the two of t10k, or with .gz"
        raise UserError(f"{root} lacks {', '.join(missing)}; put there {usual}")
    return files


def read_idx(path: Path, dims: int) -> np.ndarray:
    """The array of bytes in an IDX file: 0, 0, 8, the number of sizes, each size in 4 bytes (big-endian), the bytes.

    No more is read, or unpacked, than the sizes say. `UserError`, with the file's name, for anything else.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            head = stream.read(4 + 4 * dims)
            if head[:4] != bytes([0, 0, 8, dims]) or len(head) < 4 + 4 * dims:
                what = "bytes" if dims == 1 else "images of bytes"
                raise UserError(f"{path} does not begin as an IDX file of {what}; get it again")
            shape = tuple(int(size) for size in np.frombuffer(head, ">u4", offset=4))
            count = prod(shape)
            if count > available():
                raise UserError(
                    f"{path} says that it is {list(shape)}, which is more than fits in memory; get it again"
                )
            content = stream.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; get it again") from error
    if not count:
        raise UserError(f"{path} says that it is {list(shape)}, which is nothing; get it again")
    if len(content) != count:
        more = "more" if len(content) > count else len(content)
        raise UserError(f"{path} says that it is {list(shape)}, {count} bytes, and holds {more}; get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
