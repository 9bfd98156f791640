"""Folders of PNG and JPEG files, one folder for each class, through Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robustsnn.data.arrange import arrange
from robustsnn.data.batches import Splits
from robustsnn.data.class_folders import Progress, find
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Count

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY, _COLOUR = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_MOST_PIXELS = 1 << 26  # of a file; a larger one is refused before it is unpacked


def images(
    root: Path | str,
    *,
    resize: Count | None = None,
    validation: int | None = None,
    test: Count | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Images uint8 [N, C, H, W] of `root/train/CLASS/*.png` and `root/test/CLASS/*.png`, or of `root/CLASS/*.png`.

    C is 1 if all training images are grey, else 3 (transparency is dropped). All have one height and width; with
    `resize` each is scaled until it covers so many pixels a side, and the middle is kept. `seed` draws what has no
    folder: `validation` (a tenth) and `test` (a fifth) of the training images, stratified by class.

    `UserError`, in one line with the file's name: see `class_folders.find`; sizes that differ, a file that is damaged,
    larger than 2^26 pixels, or of more than 8 bits.
    """
    found, classes = find(Path(root), SUFFIXES)
    train, heads = found["train"].files, []
    for path in train:
        with _opened(path) as image:  # of which no pixel is unpacked
            heads.append((image.mode in _GREY, image.size))
    grey = all(is_grey for is_grey, _ in heads)
    width, height = heads[0][1] if resize is None else (resize, resize)
    read = partial(_read, mode="L" if grey else "RGB", size=(width, height), first=None if resize else train[0])
    shape = (1 if grey else 3, height, width)
    parts = {key: samples.read(read, shape, progress) for key, samples in found.items()}
    return arrange(parts, "images", classes=classes, validation=validation, test=test, seed=seed)


def _read(path: Path, mode: str, size: tuple[int, int], first: Path | None) -> np.ndarray:
    """Pixels [C, H, W] of `size` (width, height); those of a file of another size if there is no `first` to be like."""
    from PIL import ImageOps

    with _opened(path) as image:
        if first is not None and image.size != size:
            raise UserError(
                f"{path} has {image.width}x{image.height} pixels, {first} {size[0]}x{size[1]}; "
                f"scale all to one size with data.options.resize={min(size)}"
            )
        if mode == "L" and image.mode not in _GREY:
            raise UserError(f"{path} is in colour, and all training images are grey; save it in grey")
        pixels = image.convert(mode)
    pixels = pixels if pixels.size == size else ImageOps.fit(pixels, size)
    return np.asarray(pixels).reshape(size[1], size[0], -1).transpose(2, 0, 1)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """The image, checked by what its head says; `UserError`, with its name, for what goes wrong with it inside."""
    try:
        from PIL import Image
    except ImportError:
        raise UserError(f"reading {path} needs Pillow: pip install robustsnn[images]") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own limit on pixels, of odd metadata, of transparency
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise UserError(
                        f"{path} says that it has {image.width}x{image.height} pixels; at most 2^26 are read"
                    )
                if image.mode not in _GREY | _COLOUR:
                    raise UserError(f"{path} has pixels of the kind {image.mode}; save it with 8 bits, grey or RGB")
                yield image
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} is no readable PNG or JPEG file: {said}; save it again, or remove it") from error
