from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
import torch

from robustsnn.data.batches import Splits
from robustsnn.data.digit_events import CAMERA, DURATION, digit_events, record
from robustsnn.data.digits import digits
from robustsnn.data.event_camera import EventCamera
from robustsnn.ground.errors import UserError

cached = cache(partial(digit_events, size=8, frames=2))  # a fraction of the usual size, and of the seconds


def ink(count: int = 40) -> np.ndarray:
    return digits().train.images[:count, 0].numpy() / 255


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def parts(splits: Splits) -> list[str]:
    return [part.fingerprint() for part in (splits.train, splits.validation, splits.test)]


def test_parts_are_those_of_the_digits() -> None:
    splits, still = digit_events(), digits()
    for part in ("train", "validation", "test"):
        events, images = getattr(splits, part), getattr(still, part)
        assert torch.equal(events.labels, images.labels)
        assert (events.shape, events.levels, events.classes) == ((8, 2, 16, 16), 1, images.classes)
        assert events.images.unique().tolist() == [0, 1]
    for stated in ("split by seed 0", "8 frames of 16x16 by time", "binary"):
        assert stated in splits.note


def test_seed_fixes_everything() -> None:
    assert parts(cached()) == parts(digit_events(size=8, frames=2))
    assert not set(parts(cached())) & set(parts(cached(seed=1)))


def test_binary_frames_are_counts_seen_or_not() -> None:
    binary, few = cached(), cached(levels=4)
    assert "clipped at 4" in few.note
    assert few.train.images.max() == 4
    assert torch.equal(few.train.images.clamp(max=1), binary.train.images)


def test_every_recording_and_every_frame_has_events() -> None:
    images = cached().train.images
    assert images.flatten(2).any(2).all()
    assert images.sum((0, 1, 3, 4)).min() > 0.3 * images.sum() / 2  # both polarities


def test_recordings_are_of_the_duration_and_size() -> None:
    for events in record(ink(), 16, rng=rng()):
        assert events.size == (16, 16)
        assert 0 <= events.t[0] < 0.1 * DURATION
        assert 0.9 * DURATION < events.t[-1] <= DURATION


def test_a_blank_image_gives_noise_alone() -> None:
    blank = np.zeros((40, 8, 8))
    silent = EventCamera(CAMERA.on, CAMERA.off, CAMERA.refractory)
    assert not any(len(events) for events in record(blank, 16, rng=rng(), camera=silent))
    expected = 40 * 16 * 16 * CAMERA.noise * DURATION * 1e-6
    assert abs(sum(map(len, record(blank, 16, rng=rng()))) - expected) < 5 * np.sqrt(expected)


def test_the_path_is_closed() -> None:
    """Back where it began, every pixel has had as many on as off events."""
    camera = EventCamera(0.3, 0.3)
    for events in record(ink(), 16, rng=rng(), camera=camera):
        total = np.bincount(events.y.astype(int) * 16 + events.x, weights=2.0 * events.p - 1, minlength=256)
        assert not total.any()


def test_movement_is_of_the_image_as_a_whole() -> None:
    """Along a horizontal line, away from its ends, all columns see the same."""
    camera = EventCamera(0.3, 0.3)
    lines = np.zeros((1, 8, 8))
    lines[0, 3] = 1
    (events,) = record(lines, 16, rng=rng(), camera=camera)
    column = [np.sort(events.y[events.x == x].astype(int) * 10**6 + events.t[events.x == x]) for x in range(6, 10)]
    assert len(column[0])
    assert all(np.array_equal(column[0], other) for other in column[1:])


@pytest.mark.parametrize(
    ("change", "told"),
    [({"size": 7}, r"8\.\.128"), ({"size": 129}, r"8\.\.128"), ({"frames": 0}, "0 frames"), ({"levels": 256}, "256")],
)
def test_refuses(change, told: str) -> None:
    with pytest.raises(UserError, match=told):
        digit_events(**change)
