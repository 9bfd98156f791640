"""Arrays of images in the forms that are usual, as the bytes that everything else works on."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from robustsnn.ground.errors import UserError

_EXACT = 0.1  # of a grey level; float16 is off by up to 0.06


def pixels(array: np.ndarray, place: str) -> Tensor:
    """Images uint8 [N, C, H, W] of an array [N, H, W], [N, H, W, C] or [N, C, H, W].

    The last axis is the channels if it has at most 4 entries and the second one more. Numbers are bytes, whole numbers
    in 0..255, or floats k / 255; others (normalised ones) are refused, since nothing tells their scale.
    A mapped array of bytes stays on disk.
    """
    if array.ndim not in (3, 4) or not array.size:
        raise UserError(f"{place}: images of shape {list(array.shape)}; give [N, H, W], [N, H, W, C] or [N, C, H, W]")
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[3] <= 4 < array.shape[1]:
        array = array.transpose(0, 3, 1, 2)
    return tensor(levels_of(array, place))


def levels_of(array: np.ndarray, place: str) -> np.ndarray:
    """The grey levels 0..255 of an array of numbers, see `pixels`."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind in "iuf":
        levels = array * 255.0 if array.dtype.kind == "f" else array
        rounded = np.rint(levels)
        # NaN fails too.
        if (np.abs(levels - rounded) <= _EXACT).all() and rounded.min() >= 0 and rounded.max() <= 255:
            return rounded.astype(np.uint8)
        raise UserError(
            f"{place}: values from {array.min():.4g} to {array.max():.4g} are no grey levels; "
            "give bytes 0 to 255, or floats k / 255 in [0, 1], before they are normalised"
        )
    raise UserError(f"{place}: images of {array.dtype}; give bytes (uint8)")


def whole_labels(array: np.ndarray, place: str) -> Tensor:
    """Labels int64 [N] of an array of whole numbers [N] or [N, 1]."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.dtype == np.uint64 and (array >> 63).any()):
        raise UserError(f"{place}: labels are {array.dtype} of shape {list(array.shape)}; give whole numbers [N]")
    return torch.from_numpy(array.astype(np.int64))


def tensor(array: np.ndarray) -> Tensor:
    """A tensor of the same memory, which may be a file that is mapped for reading alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of arrays that cannot be written; no image ever is
        return torch.from_numpy(array)
