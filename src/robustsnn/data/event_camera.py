"""An event camera: pixels that report changes of the logarithm of their brightness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import numpy as np

from robustsnn.data.events import Events
from robustsnn.ground.errors import UserError

_ROUNDING = 1e-9  # of a threshold; so a return to an old brightness is one whatever the machine's logarithm rounds to


@dataclass(frozen=True)
class EventCamera:
    """The ideal pixel of Lichtsteiner et al. (2008), with a refractory time and shot noise.

    A pixel keeps a reference r, at first its log brightness L(0). Whenever L(t) = r + on it emits an on event
    and r grows by `on`; whenever L(t) = r - off, an off event and r falls by `off`. While L only rises, there
    are floor((L(t) - L(0)) / on) events up to t, and as many with `off` while it only falls. Noise is a
    Poisson process of `noise` events per second at each pixel, on and off alike. Last, an event less than
    `refractory` microseconds after the one that its pixel emitted before is lost; the reference moves on
    nevertheless.
    """

    on: float = 0.3
    off: float = 0.3
    refractory: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.on < np.inf and 0 < self.off < np.inf):
            raise UserError(f"thresholds on={self.on}, off={self.off}; give positive steps of log brightness")
        if not (self.refractory >= 0 and 0 <= self.noise < np.inf):
            raise UserError(f"refractory={self.refractory}, noise={self.noise}; give microseconds and Hz of 0 or more")

    def record(
        self, video: Iterable[np.ndarray], times: Sequence[int], *, rng: np.random.Generator, name: str = "events"
    ) -> list[Events]:
        """The recordings [N] of N scenes.

        Args:
            video: brightness [N, H, W], positive, at each of `times`; its logarithm is linear in between.
            times: microseconds, rising; at least two, and as many as images.
            rng: draws the noise.

        `UserError` if they do not fit.
        """
        times = [int(t) for t in times]
        if len(times) < 2 or any(stop <= start for start, stop in pairwise(times)):
            raise UserError(f"{name}: times {times[:4]}... do not rise; give two or more in microseconds")
        pixel, t, p, shape = _crossings(video, times, self.on, self.off, name)
        count, height, width = shape
        drawn = rng.poisson(self.noise * 1e-6 * (times[-1] - times[0]) * count * height * width)
        pixel = np.concatenate([pixel, rng.integers(0, count * height * width, drawn)])
        t = np.concatenate([t, rng.integers(times[0], times[-1], drawn)])
        p = np.concatenate([p, rng.integers(0, 2, drawn)])
        if self.refractory:
            kept = _apart(pixel, t, self.refractory)
            pixel, t, p = pixel[kept], t[kept], p[kept]
        scene, place = np.divmod(pixel, height * width)
        order = np.lexsort((t, scene))
        scene, place, t, p = scene[order], place[order], t[order], p[order]
        ends = np.searchsorted(scene, np.arange(count + 1))
        return [
            Events(t[a:b], place[a:b] % width, place[a:b] // width, p[a:b], (height, width), name)
            for a, b in pairwise(ends)
        ]


def _crossings(
    video: Iterable[np.ndarray], times: list[int], on: float, off: float, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Every event without noise: index of its pixel among all N * H * W, time and polarity, and (N, H, W)."""
    shape: tuple[int, ...] = ()
    before = reference = np.zeros(0)
    pixels, moments, polarities = [], [], []
    for number, (stop, frame) in enumerate(zip_longest(times, video)):
        if stop is None or frame is None:
            longer = "longer" if stop is None else "shorter"
            raise UserError(f"{name}: the video is {longer} than its {len(times)} times; give one image for each")
        if frame.ndim != 3 or (number and frame.shape != shape) or not np.all((frame > 0) & (frame < np.inf)):
            raise UserError(f"{name}: frame {number} is no positive brightness [N, H, W]; add a background")
        after = np.log(frame.astype(np.float64)).ravel()
        if number == 0:
            shape, before, reference = frame.shape, after, after.copy()
            continue
        start = times[number - 1]
        # In a step the logarithm only rises or only falls, so that all events of a pixel are of one kind.
        for polarity, step in ((1, on), (0, -off)):
            change = np.floor((after - reference) / step + _ROUNDING)
            moved = np.flatnonzero(change >= 1)
            many = change[moved].astype(np.int64)
            pixel = np.repeat(moved, many)
            rank = np.arange(1, len(pixel) + 1) - np.repeat(np.cumsum(many) - many, many)
            level = reference[pixel] + rank * step
            rise = after[pixel] - before[pixel]
            # Rounding can leave a crossing to a step in which nothing moves, or put it just outside its step.
            share = np.clip((level - before[pixel]) / np.where(rise == 0, 1, rise), 0, 1)
            reference[moved] += many * step
            pixels.append(pixel)
            moments.append(start + np.rint(share * (stop - start)).astype(np.int64))
            polarities.append(np.full(len(pixel), polarity))
        before = after
    return np.concatenate(pixels), np.concatenate(moments), np.concatenate(polarities), shape


def _apart(pixel: np.ndarray, t: np.ndarray, least: int) -> np.ndarray:
    """Indices of the events at least `least` after the one kept before at their pixel; the first is kept."""
    order = np.lexsort((t, pixel))
    pixel, t = pixel[order], t[order]
    first = np.flatnonzero(np.diff(pixel, prepend=-1))
    many = np.diff(first, append=len(pixel))
    last = np.full(len(first), np.iinfo(np.int64).min // 2)
    kept = np.zeros(len(pixel), bool)
    # The k-th event of every pixel at once.
    for k in range(int(many.max(initial=0))):
        mine = np.flatnonzero(many > k)
        event = first[mine] + k
        free = t[event] - last[mine] >= least
        kept[event[free]] = True
        last[mine[free]] = t[event[free]]
    return order[kept]
