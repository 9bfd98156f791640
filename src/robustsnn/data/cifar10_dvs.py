"""CIFAR10-DVS (Li et al., 2017): CIFAR-10 images moved before an event camera, 1,000 recordings of each class."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Literal, TypeAlias

import numpy as np
import torch

from robustsnn.data.aedat import SENSOR, read_aedat, read_npz, read_npz_events
from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.class_folders import Progress
from robustsnn.data.events import binned, check_frames, counts
from robustsnn.ground.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The ten classes in the order of their labels, which is that of CIFAR-10."""

_Decode: TypeAlias = Callable[[bytes, str], np.ndarray]  # a file's content and name -> counts [T, 2, 128, 128]

_MOST_BYTES = 1 << 28  # of one file; the recordings have some megabytes
# What reading a damaged file or archive raises; zipfile has RuntimeError for encryption and unknown compression.
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def cifar10_dvs(
    root: Path | str,
    *,
    frames: int = 10,
    by: Literal["count", "time"] = "count",
    size: int = 64,
    levels: int = 8,
    validation: int = 900,
    test: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """CIFAR10-DVS as event frames uint8 [N, frames, 2, size, size], counts clipped at `levels`; see `events.frames`.

    `root` holds one of these, and the first that is there is read:

    - `frames_number_{frames}_split_by_{number or time}/CLASS/*.npz`: frames that a common loader made;
    - `events_np/CLASS/*.npz`: arrays t, x, y and p;
    - `CLASS/*.aedat`, or `CLASS.zip` where there is no such folder: the official form, read without unpacking it,
      also in the folders `extract` and `download` of `root`.

    All give the same result. The recordings of a class are ordered by the number in their file's name
    (`cifar10_CLASS_NUMBER`); the last `test` are test images and the others for training, less `validation`
    of them (in all), drawn by `seed` and stratified by class. There is no official split; with all the
    recordings this makes 9,000 - `validation` for training and 1,000 for testing.

    Frames are made anew at each call, and `progress` is told about every file.

    `UserError`, in one line with the file's name: no data found, a class missing, too few recordings, a
    truncated, malformed or hostile file, one without events, or frames that cannot be made.
    """
    check_frames(frames, by, SENSOR, (size, size), levels, "CIFAR10-DVS")
    if test < 1:
        raise UserError(f"{test} test recordings of each class are not allowed; give 1 or more, 100 is usual")
    with ExitStack() as archives:
        found, decode = _find(Path(root), frames, by, archives)
        classes = [sorted(files, key=lambda file: file.number) for files in found]
        for name, files in zip(CLASSES, classes, strict=True):
            if len(files) <= test:
                raise UserError(
                    f"{root} holds {len(files)} recordings of the class {name}, of which {test} are for testing; "
                    "add recordings, or ask for fewer test recordings"
                )
        total = sum(map(len, classes))
        if not 1 <= validation < total - test * len(CLASSES):
            most = total - test * len(CLASSES) - 1
            raise UserError(f"validation {validation} is not allowed; give 1..{most} of the training recordings")
        images = np.empty((total, frames, 2, size, size), np.uint8)
        for i, file in enumerate(file for files in classes for file in files):
            images[i] = binned(decode(file.read(), file.name), (size, size), levels, file.name)
            if not images[i].any():
                raise UserError(f"{file.name} holds no events; it is truncated or damaged, get it again")
            if progress is not None:
                progress(i + 1, total, PurePath(file.name).name)

    labels = torch.tensor([label for label, files in enumerate(classes) for _ in files])
    held_out = np.concatenate([np.arange(len(files)) >= len(files) - test for files in classes])
    parts = {
        part: ImagePart(torch.from_numpy(images[which]), labels[torch.from_numpy(which)], str(root))
        for part, which in (("train", ~held_out), ("test", held_out))
    }
    del images  # which are in the parts now: half of the memory
    splits = arrange(parts, "cifar10_dvs", classes=CLASSES, levels=levels, validation=validation, seed=seed)
    kind = f"frames of {size}x{size} by {by}, counts clipped at {levels}; the last {test} of each class are for testing"
    return replace(splits, note=f"{splits.note} {frames} {kind}.")


@dataclass(frozen=True)
class _File:
    """One recording: its name, and how to open it when it is its turn."""

    name: str
    open: Callable[[], IO[bytes]]

    @property
    def number(self) -> tuple[int, str]:
        """The last number in the file's name, by which recordings are ordered."""
        found = re.findall(r"\d+", PurePath(self.name).stem)
        return int(found[-1]) if found else -1, self.name

    def read(self) -> bytes:
        try:
            with self.open() as stream:
                content = stream.read(_MOST_BYTES + 1)
        except _UNREADABLE as error:
            raise UserError(f"cannot read {self.name}: {error}; check the file, or get it again") from error
        if len(content) > _MOST_BYTES:
            raise UserError(f"{self.name} has more than {_MOST_BYTES} bytes, no recording does; get it again")
        return content


def _find(
    root: Path, steps: int, by: Literal["count", "time"], archives: ExitStack
) -> tuple[list[list[_File]], _Decode]:
    """The files of each class, and what makes counts of a file's content. Archives stay open in `archives`."""

    def made(content: bytes, name: str) -> np.ndarray:
        (array,) = read_npz(content, ("frames",), name)
        if array.shape != (steps, 2, *SENSOR):
            raise UserError(f"{name}: frames of shape {list(array.shape)}; needed are {[steps, 2, *SENSOR]}")
        return array

    def of_npz(content: bytes, name: str) -> np.ndarray:
        return counts(read_npz_events(content, name), steps, by)

    def of_aedat(content: bytes, name: str) -> np.ndarray:
        return counts(read_aedat(content, name), steps, by)

    made_name = f"frames_number_{steps}_split_by_{'number' if by == 'count' else 'time'}"
    for folder, suffix, decode in (
        (root / made_name, ".npz", made),
        (root / "events_np", ".npz", of_npz),
        (root, ".aedat", of_aedat),
        (root / "extract", ".aedat", of_aedat),
        (root / "download", ".aedat", of_aedat),
    ):
        classes = [_files(folder, name, suffix, archives) for name in CLASSES]
        missing = [name for name, files in zip(CLASSES, classes, strict=True) if not files]
        if not missing:
            return classes, decode
        if len(missing) < len(CLASSES):
            raise UserError(f"{folder} has no {suffix} files of {', '.join(missing)}; complete it, or remove it")
    raise UserError(
        f"no CIFAR10-DVS in {root}: neither {CLASSES[0]}.zip, {CLASSES[0]}/*.aedat (AEDAT 2.0, not .aedat4), "
        f"events_np/ nor {made_name}/; get the ten archives of https://doi.org/10.6084/m9.figshare.4724671.v2 "
        "and place them there"
    )


def _files(folder: Path, name: str, suffix: str, archives: ExitStack) -> list[_File]:
    """The recordings of one class, from its folder or else its archive; none if there is neither."""
    inside, archive = folder / name, folder / f"{name}.zip"
    try:
        if inside.is_dir():
            return [_File(str(path), partial(open, path, "rb")) for path in inside.iterdir() if path.suffix == suffix]
        if suffix != ".aedat" or not archive.is_file():
            return []
        content = archives.enter_context(zipfile.ZipFile(archive))
    except _UNREADABLE as error:
        raise UserError(f"cannot read {folder / name}, or its .zip: {error}; check it, or get it again") from error
    # Archives made on some systems also hold "__MACOSX/CLASS/._NAME.aedat", which are no recordings.
    return [
        _File(f"{archive}/{member}", partial(content.open, member))
        for member in content.namelist()
        if member.endswith(suffix) and not PurePath(member).name.startswith(".")
    ]
