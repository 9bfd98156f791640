"""Arrays from npz files, checked for kind and shape; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustsnn.ground import archives
from robustsnn.ground.errors import UserError, in_words
from robustsnn.records.typed import remedy


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file. UserError, naming it, where it cannot be read."""
    try:
        return archives.read_arrays(path)
    except OSError as error:
        raise UserError(in_words(error)) from None
    except Exception as error:  # whatever zipfile, zlib and numpy raise for damaged bytes; no list of it exists
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise UserError(f"{path} cannot be read as arrays ({reason}); {remedy(str(path))}") from None


def beside(path: Path, wanted: Mapping[str, tuple[str, str]]) -> dict[str, np.ndarray]:
    """All arrays of the npz file beside a JSON file; none without one. UserError where they do not fit, see `misfit`.

    The dots of the first that is wanted are an image, [C, H, W] or [T, C, H, W].
    """
    path = path.with_suffix(".npz")
    if not path.is_file():
        return {}
    arrays, (name, (_, shape)) = read_arrays(path), next(iter(wanted.items()))
    lack = misfit(arrays, wanted) or ("" if arrays[name].ndim - len(shape.split()) in (2, 3) else "no images")
    if lack:
        raise UserError(f"{path}: its arrays do not fit ({lack}); {remedy(str(path))}")
    return arrays


def misfit(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[str, str]]) -> str:
    """Which array is missing or does not fit, and why; "" where all do.

    `wanted`: per name the letters of the kinds of dtype, and the shape, as "K 2 ...": numbers are sizes, equal letters
    are equal sizes of at least 1, and the dots are any sizes, the same in all.
    """
    sizes: dict[str, Any] = {}
    for name, (kinds, shape) in wanted.items():
        if name not in arrays:
            return f"it lacks {name}"
        found, sides = arrays[name], shape.split()
        if sides[-1:] == ["..."]:
            sides.pop()
            head = found.shape[: len(sides)]
            fits = sizes.setdefault("...", found.shape[len(sides) :]) == found.shape[len(sides) :]
        else:
            head, fits = found.shape, True
        fits = fits and len(head) == len(sides) and found.dtype.kind in kinds and min(found.shape, default=1) > 0
        for side, size in zip(sides, head, strict=False):
            fits = fits and size == (int(side) if side.isdigit() else sizes.setdefault(side, size))
        if not fits:
            known = {side: size for side, size in sizes.items() if side != "..."}
            return f"{name} does not fit, with {found.dtype} {list(found.shape)} for [{shape}], {known}"
    return ""
