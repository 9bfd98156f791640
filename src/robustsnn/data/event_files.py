"""Recordings of an event camera in a file each: N-MNIST's .bin, npz and HDF5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from robustsnn.data.aedat import no_columns, read_npz
from robustsnn.data.reading import content_of
from robustsnn.ground.errors import UserError

_KEYS = ("t", "x", "y", "p")
_MOST_BYTES = 1 << 28  # of one array; 33 million events


def columns(path: Path) -> tuple[np.ndarray, ...]:
    """t, x, y and p of a file, of one length and not empty, with polarities 0 and 1."""
    t, x, y, p = _READERS[path.suffix.lower()](path)
    if (
        t.ndim != 1
        or not t.shape == x.shape == y.shape == p.shape
        or any(a.dtype.kind not in "iub" for a in (t, x, y, p))
    ):
        raise no_columns(str(path), t, x, y, p)
    if not len(t):
        raise UserError(f"{path} holds no events; it is truncated or damaged, get it again")
    return t, x, y, (p > 0 if p.dtype.kind == "i" and p.min() == -1 else p)


def _read_npz(path: Path) -> tuple[np.ndarray, ...]:
    return tuple(read_npz(content_of(path), _KEYS, str(path)))


def _read_bin(path: Path) -> tuple[np.ndarray, ...]:
    """Events of 5 bytes: x, y, then big-endian a bit for the polarity (1 = on) and 23 bits for microseconds.

    An event with y = 240 is none: the clock has overflowed, and what follows is 2^13 microseconds later.
    """
    content = content_of(path)
    if len(content) % 5:
        raise UserError(f"{path} ends within an event (5 bytes each); it is truncated, get it again")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, 5).T.astype(np.int64)
    overflow = y == 240
    t = ((high & 127) << 16 | middle << 8 | low) + (np.cumsum(overflow) << 13)
    kept = ~overflow
    return t[kept], x[kept], y[kept], high[kept] >> 7


def _read_hdf5(path: Path) -> tuple[np.ndarray, ...]:
    try:
        import h5py
    except ImportError:
        raise UserError(f"reading {path} needs h5py: pip install robustsnn[hdf5]") from None
    try:
        with h5py.File(path, "r") as file:
            group: Any = file.get("events", file)
            arrays = [group[key] for key in _KEYS]
            if any(not isinstance(a, h5py.Dataset) or a.dtype.kind not in "iub" or a.ndim != 1 for a in arrays):
                raise UserError(f"{path}: t, x, y and p are not integers of one shape [n]; write it again")
            if any(a.nbytes > _MOST_BYTES or a.is_virtual or a.external for a in arrays):
                raise UserError(f"{path}: its arrays have more than {_MOST_BYTES} bytes, or lie in other files")
            return tuple(a[()] for a in arrays)
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        said = " ".join(str(error).split())[:120]
        raise UserError(f"{path} has no readable arrays t, x, y and p ({said}); write it again") from None


# t, x, y and p of a file, as it has them.
_READERS: dict[str, Callable[[Path], tuple[np.ndarray, ...]]] = {
    ".bin": _read_bin,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
}
