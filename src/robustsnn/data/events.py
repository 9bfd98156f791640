"""Recordings of an event camera, and the frames they are integrated into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robustsnn.ground.errors import UserError

MOST_DISORDER = 10_000
"""Microseconds by which `in_order` lets an event come late: recorders deliver in packets, not strictly in order."""

_MOST_TIME = 1 << 62  # so that differences of two times fit into int64


@dataclass(frozen=True, eq=False)
class Events:
    """One recording: event i is a change of brightness of pixel (x[i], y[i]) at time t[i].

    `t` is in microseconds, in -2^62 .. 2^62 - 1, and never falls; `x` counts columns from the left, `y` rows from
    the top, `p` is 1 for brighter (on) and 0 for darker (off); `size` is (H, W) of the sensor. Arrays of integers
    of one length, kept as int64, int16, int16 and uint8; none at all is a recording without events. `UserError`,
    with `name`, if they do not fit.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    size: tuple[int, int]
    name: str = "events"

    def __post_init__(self) -> None:
        height, width = self.size
        if not (1 <= height <= 32767 and 1 <= width <= 32767):
            raise UserError(f"{self.name}: a sensor of {height}x{width} pixels; give 1..32767 in each direction")
        arrays = {key: np.asarray(getattr(self, key)) for key in ("t", "x", "y", "p")}
        for key, array in arrays.items():
            if array.ndim != 1 or array.dtype.kind not in "iub" or len(array) != len(arrays["t"]):
                raise UserError(
                    f"{self.name}: {key} is {array.dtype} of shape {list(array.shape)}; "
                    f"give t, x, y and p as integers, each of shape [{arrays['t'].size}]"
                )
        for key, most in (("x", width - 1), ("y", height - 1), ("p", 1)):
            array = arrays[key]
            if array.size and (array.min() < 0 or array.max() > most):
                raise UserError(
                    f"{self.name}: {key} from {array.min()} to {array.max()} is outside 0..{most}; "
                    f"give events of a sensor of {height}x{width} pixels and polarities 0 and 1"
                )
        arrays["t"] = _times(arrays["t"], self.name)
        if np.any(arrays["t"][1:] < arrays["t"][:-1]):
            raise UserError(f"{self.name}: time runs backwards; sort the events by their time")
        for key, kind in (("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.uint8)):
            object.__setattr__(self, key, arrays[key].astype(kind))

    def __len__(self) -> int:
        return len(self.t)


def _times(t: np.ndarray, name: str) -> np.ndarray:
    """Integers `t` [n] as int64; UserError if their differences might overflow."""
    if t.size and not -_MOST_TIME <= int(t.min()) <= int(t.max()) < _MOST_TIME:
        raise UserError(
            f"{name}: times from {t.min()} to {t.max()} are no microseconds of a recording, allowed are -2^62 .. "
            "2^62 - 1; the file is damaged, get it again"
        )
    return t.astype(np.int64)


def in_order(t: np.ndarray, name: str) -> np.ndarray:
    """Indices that sort times `t` [n]; events of one time keep their order.

    `UserError` if an event is more than `MOST_DISORDER` behind one that came before it, or outside the range of
    `Events`.
    """
    t = _times(t, name)
    late = int((np.maximum.accumulate(t) - t).max()) if len(t) else 0
    if late > MOST_DISORDER:
        raise UserError(
            f"{name}: time runs backwards by {late} us, allowed are {MOST_DISORDER}; the file is damaged, get it again"
        )
    return np.argsort(t, kind="stable")


def frames(
    events: Events,
    steps: int,
    *,
    by: Literal["count", "time"] = "count",
    size: tuple[int, int] | None = None,
    levels: int = 255,
) -> np.ndarray:
    """Event frames uint8 `[steps, 2, H, W]`: `counts`, summed over bins of pixels and clipped; see `binned`.

    `size` is the (H, W) of the frames, that of the sensor by default. A pixel's value is count / levels, in
    [0, 1], see `ImageSet`; levels=1 makes frames binary.
    """
    return binned(counts(events, steps, by), size or events.size, levels, events.name)


def counts(events: Events, steps: int, by: Literal["count", "time"]) -> np.ndarray:
    """Numbers of events int64 `[steps, 2, H, W]` in each frame and pixel; channel 0 counts off events, 1 on events.

        N[k, c, v, u] = number of events i with k(i) = k, p[i] = c, y[i] = v, x[i] = u
        k(i) = min(steps - 1, a(i) // max(1, A // steps))

    with a(i) = i and A = n for by="count" (n // steps events per frame), and a(i) = t[i] - t[0] and
    A = t[n - 1] - t[0] for by="time" (A // steps microseconds per frame); the last frame also gets the rest.
    These are the rules of the common loaders of event data. Without events all frames are zero; with n < steps
    each event has a frame of its own, and events of one time are all in the first frame if split by time.
    """
    check_frames(steps, by, events.size, events.size, 1, events.name)
    height, width = events.size
    position = np.arange(len(events)) if by == "count" else events.t - events.t[:1]
    extent = len(events) if by == "count" else int(position[-1:].sum())
    frame = np.minimum(position // max(extent // steps, 1), steps - 1)
    pixel = ((frame * 2 + events.p) * height + events.y) * width + events.x
    return np.bincount(pixel, minlength=steps * 2 * height * width).reshape(steps, 2, height, width)


def binned(counts: np.ndarray, size: tuple[int, int], levels: int, name: str) -> np.ndarray:
    """Counts `[T, 2, H, W]` summed over bins of pixels to `[T, 2, *size]`, clipped at `levels` (1..255); uint8.

        M[k, c, v, u] = min(levels, sum of N[k, c, v', u'] over v' // (H / size[0]) = v and u' // (W / size[1]) = u)

    `UserError` if `size` does not divide (H, W), or if they are no counts: finite whole numbers from 0.
    """
    if counts.ndim != 4 or counts.shape[1] != 2 or counts.dtype.kind not in "iubf" or not counts.size:
        raise UserError(f"{name}: frames are {counts.dtype} of shape {list(counts.shape)}; give counts [T, 2, H, W]")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.floor(counts)).all()):
        raise UserError(f"{name}: frames hold what are no counts; give whole numbers of 0 or more, not scaled ones")
    steps, _, height, width = counts.shape
    check_frames(steps, "count", (height, width), size, levels, name)
    bins = counts.reshape(steps, 2, size[0], height // size[0], size[1], width // size[1])
    return np.minimum(bins.sum((3, 5), dtype=np.float64), levels).astype(np.uint8)


def check_frames(
    steps: int, by: str, sensor: tuple[int, int], size: tuple[int, int], levels: int, name: str = "frames"
) -> None:
    """`UserError` if events of a `sensor` (H, W) cannot be integrated into such frames."""
    if steps < 1:
        raise UserError(f"{name}: {steps} frames are not allowed; give 1 or more")
    if by not in ("count", "time"):
        raise UserError(f"{name}: frames by {by!r}; allowed are 'count' (equal numbers of events) and 'time'")
    if min(size) < 1 or sensor[0] % size[0] or sensor[1] % size[1]:
        raise UserError(
            f"{name}: frames of {size[0]}x{size[1]} pixels from a sensor of {sensor[0]}x{sensor[1]}; "
            "give a height and a width that divide the sensor's"
        )
    if not 1 <= levels <= 255:
        raise UserError(f"{name}: levels={levels}; give 1 (binary frames) to 255")
