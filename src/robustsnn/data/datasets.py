"""Data sets of other libraries: objects with a length that give (image, label) for an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.pixels import pixels, tensor, whole_labels
from robustsnn.ground.errors import UserError, in_short
from robustsnn.ground.memory import check_fits


class MapStyle(Protocol):
    """What torchvision, tonic and Hugging Face's datasets give."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


_IMAGES, _LABELS = ("image", "img", "pixel_values"), ("label", "labels", "fine_label")


def from_dataset(
    train: MapStyle,
    test: MapStyle | None = None,
    validation: MapStyle | int | None = None,
    *,
    name: str = "dataset",
    classes: list[str] | tuple[str, ...] | None = None,
    levels: int | None = None,
    seed: int = 0,
) -> Splits:
    """The images of map-style data sets, read once into memory; what is missing is drawn from `train` by `seed`.

    An item is (image, label), or a mapping with `image` (or img, pixel_values) and `label` (labels, fine_label). An
    image is one of Pillow, an array [H, W] or [H, W, C], or a tensor [C, H, W], of bytes or of floats k / 255: before
    `Normalize` and without random transforms, which would be drawn once. Of events it is frames [T, 2, H, W], whole
    numbers, as tonic's `ToFrame` makes them, and `levels` says where counts are clipped.

    Args:
        validation: a data set, or how many images of `train`; a tenth if None.
        classes: names of labels 0, 1, ...; usually the data set's own (`classes`, `features["label"].names`), else the
            labels that are there.

    `UserError`, with the part and the item: no image or label, images of several sizes, values that are no bytes.
    """
    drawn = validation if isinstance(validation, int) else None
    others = {"validation": None if drawn is not None else validation, "test": test}
    sets = {"train": train, **{key: value for key, value in others.items() if value is not None}}
    parts = {key: _part(value, f"{name}: {key}", levels) for key, value in sets.items()}  # type: ignore[arg-type]
    known = _classes(train) if classes is None else classes
    return arrange(parts, name, classes=known, levels=255 if levels is None else levels, validation=drawn, seed=seed)


def _part(data: MapStyle, place: str, levels: int | None) -> ImagePart:
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__") or not len(data):
        raise UserError(f"{place} of type {type(data).__name__}: give a data set with a length of 1 or more and items")
    images: np.ndarray | None = None
    labels = []
    for index in range(len(data)):
        image, label = _item(data[index], f"{place}[{index}]")
        if images is None:
            check_fits(len(data) * float(image.size) * image.itemsize, f"{len(data)} images of {place}", "their number")
            images = np.empty((len(data), *image.shape), image.dtype)
        if image.shape != images.shape[1:] or image.dtype != images.dtype:
            said = f"{place}[{index}] is {image.dtype} {list(image.shape)}, those before {images.dtype}"
            raise UserError(f"{said} {list(images.shape[1:])}; give all one size and kind (Resize, convert)")
        images[index] = image
        labels.append(label)
    assert images is not None  # it has a length
    made = pixels(images, place) if images.ndim < 5 else _frames(images, place, levels)
    return ImagePart(made, whole_labels(np.array(labels), place), place)


def _item(item: Any, place: str) -> tuple[np.ndarray, int]:
    """Image and label; the image as an array [H, W], [H, W, C], [C, H, W] or [T, 2, H, W]."""
    if isinstance(item, Mapping):
        found = [next((item[key] for key in keys if key in item), None) for keys in (_IMAGES, _LABELS)]
    else:
        found = list(item) if isinstance(item, tuple | list) and len(item) == 2 else [None, None]
    image, label = found
    if image is None or label is None:
        raise UserError(f"{place} is {in_short(item)}; needed are an image and a label")
    mode = getattr(image, "mode", None)
    if isinstance(mode, str) and mode not in ("L", "RGB"):  # of Pillow: a palette's numbers are no colours
        raise UserError(f"{place}: the image is of mode {mode}; convert it to L or RGB")
    array = np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image)
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3, 4) or not array.size:
        raise UserError(f"{place}: the image is {array.dtype} {list(array.shape)}; give [H, W], [H, W, C] or [C, H, W]")
    try:
        number = int(label)
    except (TypeError, ValueError):
        raise UserError(f"{place}: the label is {in_short(label)}; give a whole number") from None
    if number != label:
        raise UserError(f"{place}: the label is {in_short(label)}; give a whole number")
    return array, number


def _frames(counts: np.ndarray, place: str, levels: int | None) -> Tensor:
    """Event frames uint8 [N, T, 2, H, W], clipped at `levels`."""
    if levels is None:
        raise UserError(f"{place}: items are frames {list(counts.shape[1:])}; give levels, where counts are clipped")
    if not ((counts >= 0) & (counts == np.rint(counts))).all():
        raise UserError(f"{place}: frames hold what are no counts; give whole numbers of 0 or more")
    return tensor(np.minimum(counts, levels).astype(np.uint8))


def _classes(data: Any) -> list[str] | None:
    """The names that a data set has for its labels."""
    named = getattr(data, "classes", None)
    if named is None and isinstance(features := getattr(data, "features", None), Mapping):
        named = next((getattr(features[key], "names", None) for key in _LABELS if key in features), None)
    return [str(name) for name in named] if isinstance(named, list | tuple) and named else None
