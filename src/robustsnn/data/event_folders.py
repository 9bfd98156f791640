"""Recordings of an event camera, one to a file, in folders of classes: N-MNIST, and those of your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robustsnn.data.aedat import read_npz
from robustsnn.data.arrange import Part, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.class_folders import Progress, Samples, find
from robustsnn.data.events import Events, check_frames, in_order
from robustsnn.data.events import frames as integrate
from robustsnn.data.reading import content_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Count

N_MNIST: tuple[int, int] = (34, 34)
"""Height and width of the sensor of N-MNIST."""

_KEYS = ("t", "x", "y", "p")
_MOST_BYTES = 1 << 28  # of one array; 33 million events


def events(
    root: Path | str,
    *,
    frames: int = 10,
    by: Literal["count", "time"] = "count",
    size: int | None = None,
    levels: int = 8,
    sensor: Count | None = None,
    validation: int | None = None,
    test: Count | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Event frames uint8 [N, frames, 2, H, W] of npz and HDF5 files in folders of classes, see `class_folders.find`.

    A file has integer arrays t (microseconds), x, y and p (0 off, 1 on; -1 is off too) [n]; in HDF5 at the top or in a
    group `events`. The sensor is square with `sensor` pixels a side; without it all files are read once before, and
    its height and width are what the training events need. `size` is that of the frames, the sensor's if None.

    `UserError`, in one line with the file's name: another content, damage, no events, or an event outside the sensor.
    """
    found, classes = find(Path(root), _FILES)
    if sensor is None:
        extents = [_extent(path) for path in found["train"].files]
        height, width = max(y for y, _ in extents), max(x for _, x in extents)
    else:
        height = width = sensor
    cut = _Cut((height, width), frames, by, size, levels, "events")
    return arrange(
        cut.parts(found, progress),
        "events",
        classes=classes,
        levels=levels,
        validation=validation,
        test=test,
        seed=seed,
    )


def n_mnist(
    root: Path | str,
    *,
    frames: int = 10,
    by: Literal["count", "time"] = "count",
    size: int | None = None,
    levels: int = 8,
    validation: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """N-MNIST (Orchard et al., 2015) as event frames uint8 [N, frames, 2, 34, 34], or of `size`.

    `root` holds the extracted folders `Train` and `Test` with `0/00002.bin` ...; `seed` draws `validation` of the
    training recordings (a tenth), stratified by class. `UserError`, with the file's name, for what is damaged.
    """
    cut = _Cut(N_MNIST, frames, by, size, levels, "n_mnist")
    found, classes = find(Path(root), [".bin"])
    parts = cut.parts(found, progress)
    return arrange(parts, "n_mnist", classes=classes, levels=levels, validation=validation, seed=seed)


@dataclass(frozen=True)
class _Cut:
    """How the recordings of a sensor (height, width) become frames, see `events.frames`."""

    sensor: tuple[int, int]
    steps: int
    by: Literal["count", "time"]
    size: int | None
    levels: int
    name: str

    def __post_init__(self) -> None:
        check_frames(self.steps, self.by, self.sensor, self.shape, self.levels, self.name)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a frame."""
        return self.sensor if self.size is None else (self.size, self.size)

    def parts(self, found: dict[str, Samples], progress: Progress | None) -> dict[str, Part]:
        """The frames of all files."""
        shape = (self.steps, 2, *self.shape)
        return {key: samples.read(self._frames, shape, self.name, progress) for key, samples in found.items()}

    def _frames(self, path: Path) -> np.ndarray:
        t, x, y, p = _columns(path)
        order = in_order(t, str(path))
        events = Events(t[order], x[order], y[order], p[order], self.sensor, str(path))
        return integrate(events, self.steps, by=self.by, size=self.shape, levels=self.levels)


def _columns(path: Path) -> tuple[np.ndarray, ...]:
    """t, x, y and p of a file, of one length and not empty, with polarities 0 and 1."""
    t, x, y, p = {**_FILES, ".bin": _read_bin}[path.suffix.lower()](path)
    if (
        t.ndim != 1
        or not t.shape == x.shape == y.shape == p.shape
        or any(a.dtype.kind not in "iub" for a in (t, x, y, p))
    ):
        raise UserError(f"{path}: t, x, y and p are not integers of one shape [n]; write it again")
    if not len(t):
        raise UserError(f"{path} holds no events; it is truncated or damaged, get it again")
    return t, x, y, (p > 0 if p.dtype.kind == "i" and p.min() == -1 else p)


def _extent(path: Path) -> tuple[int, int]:
    """The height and width that the events of a file need."""
    _, x, y, _ = _columns(path)
    return int(y.max()) + 1, int(x.max()) + 1


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
_FILES: dict[str, Callable[[Path], tuple[np.ndarray, ...]]] = {
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
}
