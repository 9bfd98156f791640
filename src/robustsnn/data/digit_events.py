"""Handwritten digits moved before an event camera: event data without a download."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import Literal

import numpy as np
import torch

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.digits import digits
from robustsnn.data.event_camera import EventCamera
from robustsnn.data.events import Events, check_frames
from robustsnn.data.events import frames as integrate
from robustsnn.ground.errors import UserError
from robustsnn.ground.memory import check_fits

CAMERA = EventCamera(on=0.3, off=0.3, refractory=1_000, noise=0.5)
"""The camera of `digit_events`."""

SACCADES = 3  # straight moves, the sides of a triangle
DURATION = 300_000  # microseconds of a recording
_FRAMES = 30  # of the video, after the first
_DARK = 0.1  # brightness of the background; ink has 1


def digit_events(
    *, frames: int = 8, by: Literal["time", "count"] = "time", size: int = 16, levels: int = 1, seed: int = 0
) -> Splits:
    """The 1,797 digits of `digits` as event frames uint8 [N, frames, 2, size, size], clipped at `levels`.

    Each image is drawn at 3/4 of the height and width of a sensor of size x size pixels, bilinearly, and moved along
    the three sides of a triangle in 0.3 seconds, as the recordings of N-MNIST were made (Orchard et al., 2015); size
    and angle of the triangle differ a little from image to image. `CAMERA` watches; see `events.frames` for `frames`,
    `by` and `levels`. `seed` draws the split (that of `digits`), the movements and the noise.

    `UserError` if `size` is not in 8..128, or if there cannot be such frames.
    """
    if not 8 <= size <= 128:
        raise UserError(f"a sensor of size={size} pixels; allowed are 8..128")
    check_frames(frames, by, (size, size), (size, size), levels, "digit_events")
    check_fits(1797 * frames * 2 * size**2, f"frames of {frames} steps", "data.frames.steps or data.frames.size")
    still = digits(seed)
    parts: list[ImageSet] = []
    for number, part in enumerate((still.train, still.validation, still.test)):
        rng = np.random.default_rng([seed, number])
        recordings = record(part.images[:, 0].numpy() / 255, size, rng=rng)
        images = np.stack([integrate(events, frames, by=by, levels=levels) for events in recordings])
        parts.append(ImageSet(torch.from_numpy(images), part.labels, part.classes, "digit_events", levels))
    kind = "binary" if levels == 1 else f"counts clipped at {levels}"
    train, validation, test = parts
    note = f"{still.note} Moved before a simulated event camera; {frames} frames of {size}x{size} by {by}, {kind}."
    return Splits(train, validation, test, note)


def record(ink: np.ndarray, size: int, *, rng: np.random.Generator, camera: EventCamera = CAMERA) -> list[Events]:
    """The recordings of images ink [N, 8, 8] in [0, 1], each moved its own way; see `digit_events`."""
    times = np.linspace(0, DURATION, _FRAMES + 1).astype(np.int64)
    return camera.record(_video(ink, size, rng), times.tolist(), rng=rng, name="digit_events")


def _video(ink: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Brightness [N, size, size] of the moving images, from start to end."""
    count = len(ink)
    radius = size * rng.uniform(0.09, 0.14, count)
    first = rng.uniform(-0.2, 0.2, count)
    for along in np.linspace(0, SACCADES, _FRAMES + 1):
        side = min(int(along), SACCADES - 1)
        here, there = (first + 2 * pi / 3 * corner for corner in (side, side + 1))
        right, down = (radius * (f(here) + (along - side) * (f(there) - f(here))) for f in (np.cos, np.sin))
        yield _DARK + (1 - _DARK) * (_weights(size, down) @ ink @ _weights(size, right).transpose(0, 2, 1))


def _weights(size: int, offset: np.ndarray) -> np.ndarray:
    """Bilinear weights [N, size, 8] of the 8 pixels of a line drawn at 3/4 of `size`, `offset` [N] off the middle."""
    pixel = 0.75 * size / 8
    centres = size / 2 + offset[:, None] + (np.arange(8) - 3.5) * pixel
    distance = np.abs(np.arange(size)[:, None] + 0.5 - centres[:, None, :]) / pixel
    return np.maximum(1 - distance, 0)
