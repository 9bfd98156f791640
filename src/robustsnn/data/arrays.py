"""Arrays of images and labels: an npz file, a folder of npy files, a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.pixels import pixels, whole_labels
from robustsnn.ground.archives import read_arrays, what_numpy_says
from robustsnn.ground.errors import UserError, in_short
from robustsnn.ground.files import from_json
from robustsnn.ground.ranges import Count
from robustsnn.ground.tensors import map_arrays

_PARTS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
_NAMES = "train_images and train_labels (and validation_..., test_...), x_train and y_train, or images and labels"


def npz(root: Path | str, *, validation: int | None = None, test: Count | None = None, seed: int = 0) -> Splits:
    """Images of an npz file, or of a folder of npy files, which stay on disk; `root` is either, see `parts_of`.

    An array `classes` of texts names the classes. `UserError`, with the file's name, for what does not fit.
    """
    path = _only(Path(root), ".npz") if not list(Path(root).glob("*.npy")) else Path(root)
    return _arranged(_npy(path) if path.is_dir() else _npz(path), str(path), "npz", validation, test, seed)


def tensors(root: Path | str, *, validation: int | None = None, test: Count | None = None, seed: int = 0) -> Splits:
    """Images of a safetensors file, which stay on disk; `root` is the file or its folder, see `parts_of`.

    An entry `classes` of its metadata, a JSON list, names the classes. `UserError`, with the file's name, for what does
    not fit.
    """
    path = _only(Path(root), ".safetensors")
    arrays, metadata = map_arrays(path, "write it again")
    if "classes" in metadata:
        try:
            names = from_json(metadata["classes"])
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list):
            said = f"{path}: classes={in_short(metadata['classes'])}"
            raise UserError(f"{said}: allowed is a JSON list of names; write it again")
        arrays["classes"] = np.array([str(name) for name in names])
    return _arranged(arrays, str(path), "tensors", validation, test, seed)


def _only(root: Path, suffix: str) -> Path:
    """The file itself, or the one of that kind in a folder."""
    found = sorted(root.glob(f"*{suffix}")) if root.is_dir() else [root]
    if len(found) != 1 or not found[0].is_file():
        raise UserError(
            f"{root} holds {len(found) if root.is_dir() else 'no'} {suffix} files; give data.root, the file"
        )
    return found[0]


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is no readable npz file ({error}); write it again, a large one as .npy files"
        ) from None


def _npy(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder's npy files by name, mapped."""
    found = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            found[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # whatever a damaged header makes of the reader
            raise UserError(f"{path} is no readable npy file ({what_numpy_says(error)}); write it again") from None
    return found


def parts_of(arrays: Mapping[str, np.ndarray], place: str) -> dict[str, ImagePart]:
    """The parts that arrays are of by their names.

    `train_images` and `train_labels`, likewise `validation_...` (or `val_...`) and `test_...`; or `x_train` and
    `y_train`, likewise; or `images` and `labels` alone, or `x` and `y`, of which parts are drawn. Images are as
    `pixels` takes them, labels whole numbers [N] or [N, 1].
    """
    pairs = {"train": pair for pair in (("images", "labels"), ("x", "y")) if pair[0] in arrays}  # noqa: B035
    for part, words in _PARTS.items():
        for word in words:
            for pair in ((f"{word}_images", f"{word}_labels"), (f"x_{word}", f"y_{word}")):
                if pair[0] in arrays:
                    pairs[part] = pair
    if "train" not in pairs:
        raise UserError(f"{place} holds {in_short(sorted(arrays), 120)}; needed are {_NAMES}")
    for images, labels in pairs.values():
        if labels not in arrays:
            raise UserError(f"{place}: {images} have no labels; add {labels}")
        # Before labels of a byte become ones of eight.
        if arrays[images].ndim and arrays[labels].ndim and len(arrays[images]) != len(arrays[labels]):
            counts = f"{len(arrays[images])} images and {len(arrays[labels])} labels"
            raise UserError(f"{place}: {images}: {counts}; give one to each")
    return {
        part: ImagePart(pixels(arrays[x], f"{place}: {x}"), whole_labels(arrays[y], f"{place}: {y}"), f"{place}: {x}")
        for part, (x, y) in pairs.items()
    }


def _arranged(
    arrays: Mapping[str, np.ndarray], place: str, name: str, validation: int | None, test: int | None, seed: int
) -> Splits:
    names = arrays.get("classes")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U" or not all(map(str.isprintable, names))):
        raise UserError(f"{place}: classes are {names.dtype} {list(names.shape)}; give an array of texts [K]")
    classes = None if names is None else [str(text) for text in names]
    parts = parts_of(arrays, place)
    return arrange(parts, name, classes=classes, validation=validation, test=test, seed=seed)
