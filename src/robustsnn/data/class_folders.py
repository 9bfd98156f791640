"""Folders of one file per sample, a folder for each class: where they are, and what is read from each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from robustsnn.data.arrange import ImagePart
from robustsnn.data.pixels import tensor
from robustsnn.ground.errors import UserError, in_short
from robustsnn.ground.memory import check_fits

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with (files done, files in all, the name of the file)."""

_PARTS = {"train": ("train", "training"), "validation": ("validation", "valid", "val"), "test": ("test", "testing")}


@dataclass(frozen=True)
class ClassFiles:
    """The files of one part, class by class, and their labels."""

    files: list[Path]
    labels: list[int]
    place: str

    def read(self, read: Callable[[Path], np.ndarray], shape: tuple[int, ...], progress: Progress | None) -> ImagePart:
        """What `read` makes of each file, uint8 [N, *shape]."""
        check_fits(
            len(self.files) * float(np.prod(shape)), f"reading {len(self.files)} files", "the size of images or frames"
        )
        images = np.empty((len(self.files), *shape), np.uint8)
        for number, path in enumerate(self.files):
            images[number] = read(path)
            if progress is not None:
                progress(number + 1, len(self.files), path.name)
        return ImagePart(tensor(images), torch.tensor(self.labels), self.place)


def find(root: Path, suffixes: Collection[str]) -> tuple[dict[str, ClassFiles], tuple[str, ...]]:
    """The files with these suffixes, and the classes: the names of the folders, in order.

    Either `root/train/CLASS/*`, with `root/test/CLASS/*` and `root/val/CLASS/*` where they are (any of their usual
    names; without a test folder, `val` are test images); or `root/CLASS/*`, which is one part, "train". Hidden files
    and those of other kinds are passed over.

    `UserError`: no such files, a class without any, files of this kind beside the class folders (they have no label),
    or classes that training images do not have.
    """
    tops = {folder.name.lower(): folder for folder in _folders(root)}
    found = {part: tops[word] for part, words in _PARTS.items() for word in words if word in tops}
    if "train" not in found:
        found = {"train": root}
    elif "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    classes = tuple(folder.name for folder in _folders(found["train"]))
    kinds = ", ".join(suffixes)
    if not classes:
        raise UserError(f"{found['train']} has no folders of classes; put the files ({kinds}) of each class into one")
    for name in classes:
        if not name.isprintable():
            raise UserError(f"{found['train']}: the folder {in_short(name)} has no name that can be shown; rename it")
    return {part: _samples(folder, classes, suffixes) for part, folder in found.items()}, classes


def _samples(top: Path, classes: tuple[str, ...], suffixes: Collection[str]) -> ClassFiles:
    files: list[Path] = []
    labels: list[int] = []
    kinds = ", ".join(suffixes)
    if loose := _files(top, suffixes):
        raise UserError(f"{loose[0]} lies in no folder of a class, so that it has no label; move it into one")
    for folder in _folders(top):
        if folder.name not in classes:
            raise UserError(f"{folder} is a class that training has not; its classes are {in_short(classes)}")
        mine = _files(folder, suffixes)
        if not mine:
            raise UserError(f"{folder} holds no {kinds} files; fill it, or remove it")
        files += mine
        labels += [classes.index(folder.name)] * len(mine)
    if not files:
        raise UserError(f"{top} has no folders of classes; put the files ({kinds}) of each class into one")
    return ClassFiles(files, labels, str(top))


def _folders(top: Path) -> list[Path]:
    return [path for path in _inside(top) if path.is_dir()]


def _files(top: Path, suffixes: Collection[str]) -> list[Path]:
    return [path for path in _inside(top) if path.suffix.lower() in suffixes and path.is_file()]


def _inside(top: Path) -> list[Path]:
    """What is in a folder and not hidden, by name."""
    try:
        return sorted(path for path in top.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read {top}: {error.strerror or error}; give data.root, a folder") from error
