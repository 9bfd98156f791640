"""The door for labelled images: what people have, as the tensors and sets that this library works on."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustsnn.data.batches import ImageSet
from robustsnn.ground.door import check_images_of, check_labels, plain
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import seeded

Data: TypeAlias = ImageSet | tuple[Any, Any] | Dataset[Any] | DataLoader[Any]
"""Labelled images: a set, a pair (x, y) of tensors or numpy arrays, a torch Dataset of such pairs, or a DataLoader."""

_HOW = "give an ImageSet, a pair (x, y) of tensors or arrays, a Dataset or a DataLoader of such pairs"


def labelled(data: Any, what: str = "data") -> tuple[Tensor, Tensor]:
    """Images (float, as they are given) and labels (int64 `[N]`), of no graph; UserError for what is none.

    Of a data set and a loader all that they hold, once, in the order in which they give it: the shuffling of a loader
    and what its transforms draw from torch's global generator follow one seed, so they are the same at each call.
    """
    if isinstance(data, ImageSet):
        return data.floats()
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=256)
    if isinstance(data, DataLoader):
        with seeded(0, "data"):
            pairs = [_pair(batch, f"a batch of {what}") for batch in data]
        if not pairs:
            raise UserError(f"{what}: the loader is empty; give at least one image")
        if len({x.shape[1:] for x, _ in pairs}) > 1:
            raise UserError(f"{what}: its images are of several shapes; give all one")
        x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    else:
        x, y = _pair(data, what)
    check_images_of(x)
    if x.ndim > 3 and y.shape == x.shape[1:2] != x.shape[:1]:
        raise UserError(
            f"images of shape {list(x.shape)} with {len(y)} labels: their first axis seems to be time; give the batch "
            f"first, x.transpose(0, 1)"
        )
    check_labels(y, len(x))
    if not len(x):
        raise UserError("there are no images; give at least one")
    return plain(x), plain(y)


def image_set(data: Any, what: str = "data") -> ImageSet:
    """The same as a set, whose images stay floats; its classes are 0 to the largest label, named by their numbers."""
    if isinstance(data, ImageSet):
        return data
    x, y = labelled(data, what)
    return ImageSet(x, y, tuple(map(str, range(int(y.max()) + 1))), what)


def _pair(data: Any, what: str) -> tuple[Tensor, Tensor]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UserError(f"{what} of type {type(data).__name__}: {_HOW}")
    x, y = (_tensor(part) for part in data)
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise UserError(f"{what} is a pair of {' and '.join(type(part).__name__ for part in data)}: {_HOW}")
    return x, y


def _tensor(part: Any) -> Any:
    """An array of floats, or of whole numbers in 64 bits, as a tensor of its own; anything else as it is."""
    if not isinstance(part, np.ndarray) or part.dtype.kind not in "fiu":
        return part
    kind = part.dtype.newbyteorder("=") if part.dtype.kind == "f" or part.dtype == np.uint8 else np.int64
    return torch.from_numpy(part.astype(kind))
