"""DVS128 Gesture (Amir et al., 2017): eleven gestures of 29 people before an event camera."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from robustsnn.data.aedat import SENSOR
from robustsnn.data.aedat3 import read_aedat3
from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.class_folders import Progress
from robustsnn.data.events import Events, check_frames
from robustsnn.data.events import frames as integrate
from robustsnn.data.reading import content_of
from robustsnn.ground.errors import UserError, in_short

CLASSES = (
    *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
    *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
)
"""The gestures in the order of their labels, which the files count from 1."""


def dvs_gesture(
    root: Path | str,
    *,
    frames: int = 10,
    by: Literal["count", "time"] = "count",
    size: int = 64,
    levels: int = 8,
    validation: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Event frames uint8 [N, frames, 2, size, size] of the gestures in the files of `root`, see `events.frames`.

    `root` is the extracted folder of the official archive: `trials_to_train.txt` and `trials_to_test.txt` name
    recordings, one on a line, and NAME.aedat has its gestures in NAME_labels.csv: class, start and end in
    microseconds. `seed` draws `validation` of the training gestures (a tenth), stratified by class.

    `UserError`, in one line with the file's name: a file missing, truncated, malformed, or a gesture without events.
    """
    check_frames(frames, by, SENSOR, (size, size), levels, "DVS128 Gesture")
    root = Path(root)
    trials = {part: _lines(root / f"trials_to_{part}.txt") for part in ("train", "test")}
    total, done, parts = sum(map(len, trials.values())), 0, {}
    for part, names in trials.items():
        images, labels = [], []
        for name in names:
            path = root / name
            events = read_aedat3(content_of(path), str(path))
            for label, start, end in _gestures(root / f"{path.stem}_labels.csv"):
                piece = _between(events, start, end)
                if not len(piece):
                    raise UserError(
                        f"{path} has no events from {start} to {end}; it is truncated, or its labels are of another"
                    )
                images.append(integrate(piece, frames, by=by, size=(size, size), levels=levels))
                labels.append(label - 1)
            done += 1
            if progress is not None:
                progress(done, total, name)
        place = str(root / f"trials_to_{part}.txt")
        if not images:
            raise UserError(f"{place} names no recording; get it again")
        parts[part] = ImagePart(torch.from_numpy(np.stack(images)), torch.tensor(labels), place)
    return arrange(parts, "dvs_gesture", classes=CLASSES, levels=levels, validation=validation, seed=seed)


def _lines(path: Path) -> list[str]:
    text = content_of(path, 1 << 20).decode("utf-8", "replace")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    for name in names:
        if Path(name).name != name or not name.endswith(".aedat"):
            raise UserError(f"{path}: {in_short(name)} is not the name of an .aedat file beside it; get it again")
    return names


def _gestures(path: Path) -> list[tuple[int, int, int]]:
    """(class from 1, start, end in microseconds) of each line after the first."""
    lines = content_of(path, 1 << 20).decode("utf-8", "replace").splitlines()[1:]
    found = []
    for line in filter(str.strip, lines):
        parts = line.split(",")
        if len(parts) != 3 or not all(part.strip().isdecimal() and len(part) < 18 for part in parts):
            raise UserError(f"{path}: the line {line!r:.60} is not a class, a start and an end; get it again")
        label, start, end = map(int, parts)
        if not 1 <= label <= len(CLASSES) or end <= start:
            said = f"{path}: the line {line!r:.60} has a class outside 1..{len(CLASSES)}, or ends at its start"
            raise UserError(f"{said}; get it again")
        found.append((label, start, end))
    if not found:
        raise UserError(f"{path} has no gesture behind its first line; get it again")
    return found


def _between(events: Events, start: int, end: int) -> Events:
    first, last = np.searchsorted(events.t, [start, end])
    kept = slice(int(first), int(last))
    return Events(events.t[kept], events.x[kept], events.y[kept], events.p[kept], events.size, events.name)
