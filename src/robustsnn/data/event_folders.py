"""Recordings of an event camera, one to a file, in folders of classes: N-MNIST, and those of your own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.class_folders import ClassFiles, Progress, find
from robustsnn.data.event_files import columns
from robustsnn.data.events import Events, check_frames, in_order
from robustsnn.data.events import frames as integrate
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Count

N_MNIST: tuple[int, int] = (34, 34)
"""Height and width of the sensor of N-MNIST."""

_LARGEST = 4096  # pixels a side of a sensor that is not told


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
    found, classes = find(Path(root), (".npz", ".h5", ".hdf5"))
    extents = [_extent(path) for path in found["train"].files] if sensor is None else [(sensor, sensor)]
    height, width = (max(sides) for sides in zip(*extents, strict=True))
    cut = _FrameCut((height, width), frames, by, size, levels, "events")
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
    cut = _FrameCut(N_MNIST, frames, by, size, levels, "n_mnist")
    found, classes = find(Path(root), [".bin"])
    parts = cut.parts(found, progress)
    return arrange(parts, "n_mnist", classes=classes, levels=levels, validation=validation, seed=seed)


def _extent(path: Path) -> tuple[int, int]:
    """The height and width that the events of a file need."""
    _, x, y, _ = columns(path)
    height, width = int(y.max()) + 1, int(x.max()) + 1
    if max(height, width) > _LARGEST:
        raise UserError(
            f"{path}: x up to {width - 1} and y up to {height - 1} are beyond {_LARGEST} pixels; it is damaged"
        )
    return height, width


@dataclass(frozen=True)
class _FrameCut:
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

    def parts(self, found: dict[str, ClassFiles], progress: Progress | None) -> dict[str, ImagePart]:
        """The frames of all files."""
        shape = (self.steps, 2, *self.shape)
        return {key: samples.read(self._frames, shape, progress) for key, samples in found.items()}

    def _frames(self, path: Path) -> np.ndarray:
        t, x, y, p = columns(path)
        order = in_order(t, str(path))
        events = Events(t[order], x[order], y[order], p[order], self.sensor, str(path))
        return integrate(events, self.steps, by=self.by, size=self.shape, levels=self.levels)
