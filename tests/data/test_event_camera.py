"""The camera as physics: what it must do whatever it looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.data.event_camera import EventCamera
from robustsnn.data.events import Events
from robustsnn.ground.errors import UserError

SEED = st.integers(0, 2**32)
STEP = 10_000  # microseconds between two images


def film(camera: EventCamera, video: np.ndarray, seed: int = 0) -> list[Events]:
    """Recordings of video [K, N, H, W]."""
    return camera.record(iter(video), [STEP * k for k in range(len(video))], rng=np.random.default_rng(seed))


def brightness(seed: int) -> np.ndarray:
    """Random log brightness [K, N, H, W], no two values a whole number of thresholds apart (rounding would decide)."""
    return np.random.default_rng(seed).uniform(-2, 2, (6, 2, 3, 4))


def per_pixel(events: Events) -> list[tuple[list[int], list[int]]]:
    """(times, polarities) of each pixel."""
    height, width = events.size
    place = events.y.astype(int) * width + events.x
    return [(events.t[place == i].tolist(), events.p[place == i].tolist()) for i in range(height * width)]


def reference(log: np.ndarray, on: float, off: float) -> tuple[list[float], list[int]]:
    """Events of one pixel, found one after another; log [K] at multiples of STEP."""
    level, times, polarities = log[0], [], []
    for k in range(len(log) - 1):
        while log[k + 1] >= level + on or log[k + 1] <= level - off:
            up = log[k + 1] >= level + on
            level += on if up else -off
            times.append(STEP * (k + (level - log[k]) / (log[k + 1] - log[k])))
            polarities.append(int(up))
    return times, polarities


THRESHOLD = st.floats(0.1, 1.5)


@settings(max_examples=60, deadline=None)
@given(SEED, THRESHOLD, THRESHOLD)
def test_equals_a_loop_over_pixels_and_events(seed: int, on: float, off: float) -> None:
    log = brightness(seed)
    recordings = film(EventCamera(on, off), np.exp(log))
    assert len(recordings) == 2
    for n, events in enumerate(recordings):
        assert events.size == (3, 4)
        for i, (times, polarities) in enumerate(per_pixel(events)):
            expected, kinds = reference(log[:, n].reshape(len(log), -1)[:, i], on, off)
            assert polarities == kinds
            assert np.all(np.abs(np.array(times) - np.array(expected)) <= 1)


@settings(max_examples=30, deadline=None)
@given(SEED, st.floats(0.01, 1), st.floats(0.01, 1))
def test_what_does_not_change_is_not_seen(seed: int, on: float, off: float) -> None:
    still = np.broadcast_to(np.exp(brightness(seed)[:1]), (5, 2, 3, 4))
    assert [len(events) for events in film(EventCamera(on, off), still)] == [0, 0]


@settings(max_examples=60, deadline=None)
@given(SEED, THRESHOLD, st.sampled_from([0, 1]))
def test_number_of_events_of_a_change_is_its_size_over_the_threshold(seed: int, step: float, kind: int) -> None:
    """Brighter gives on events alone, darker off events alone; the other threshold plays no part."""
    log = np.sort(brightness(seed), axis=0)[:: 1 if kind else -1]
    camera = EventCamera(on=step, off=9) if kind else EventCamera(on=9, off=step)
    for n, events in enumerate(film(camera, np.exp(log))):
        assert (events.p == kind).all()
        change = np.abs(log[-1, n] - log[0, n]).ravel()
        assert [len(times) for times, _ in per_pixel(events)] == np.floor(change / step).astype(int).tolist()


@settings(max_examples=30, deadline=None)
@given(SEED, THRESHOLD)
def test_events_keep_track_of_brightness(seed: int, step: float) -> None:
    """Summed up with their signs they tell the change to within one threshold."""
    log = brightness(seed)
    for n, events in enumerate(film(EventCamera(step, step), np.exp(log))):
        told = np.array([sum(2 * kind - 1 for kind in kinds) * step for _, kinds in per_pixel(events)])
        assert np.abs(told - (log[-1, n] - log[0, n]).ravel()).max() < step


@settings(max_examples=30, deadline=None)
@given(SEED, THRESHOLD, st.floats(0.01, 100))
def test_a_return_to_the_first_brightness_is_one_despite_rounding(seed: int, step: float, scale: float) -> None:
    """As many on as off events after any closed path, although sums of thresholds round."""
    video = scale * np.exp(brightness(seed))
    for events in film(EventCamera(step, step), np.concatenate([video, video[:1]])):
        assert all(2 * sum(kinds) == len(kinds) for _, kinds in per_pixel(events))


@settings(max_examples=60, deadline=None)
@given(SEED, THRESHOLD)
def test_twice_the_threshold_gives_at_most_half_the_events(seed: int, step: float) -> None:
    video = np.exp(brightness(seed))
    for fine, coarse in zip(
        film(EventCamera(step, step), video), film(EventCamera(2 * step, 2 * step), video), strict=True
    ):
        for (many, _), (few, _) in zip(per_pixel(fine), per_pixel(coarse), strict=True):
            assert 2 * len(few) <= len(many)


@settings(max_examples=30, deadline=None)
@given(SEED, st.floats(0.01, 100))
def test_the_scale_of_brightness_does_not_matter(seed: int, scale: float) -> None:
    video = np.exp(brightness(seed))
    for one, other in zip(*(film(EventCamera(0.37, 0.2501), factor * video) for factor in (1, scale)), strict=True):
        assert [kinds for _, kinds in per_pixel(one)] == [kinds for _, kinds in per_pixel(other)]


@settings(max_examples=60, deadline=None)
@given(SEED, st.integers(1, 3 * STEP), st.floats(0, 200))
def test_refractory_time_bounds_the_rate(seed: int, refractory: int, noise: float) -> None:
    """Each pixel keeps its first event, and then the first that is late enough, noise included."""
    video = np.exp(brightness(seed))
    free = EventCamera(0.2, 0.2, noise=noise)
    for every, kept in zip(
        film(free, video, seed), film(replace(free, refractory=refractory), video, seed), strict=True
    ):
        for (before, _), (after, _) in zip(per_pixel(every), per_pixel(kept), strict=True):
            expected: list[int] = []
            for t in before:
                if not expected or t - expected[-1] >= refractory:
                    expected.append(t)
            assert after == expected


def test_noise_is_a_poisson_process() -> None:
    """400 pixels for 10 s at 5 Hz: mean and variance of the counts, both polarities, uniform in time."""
    still = np.ones((2, 4, 10, 10))
    recordings = EventCamera(noise=5.0).record(iter(still), [0, 10**7], rng=np.random.default_rng(0))
    numbers = np.array([len(times) for events in recordings for times, _ in per_pixel(events)])
    # Five standard errors: sqrt(50 / 400), and about 50 sqrt(2 / 400) of the variance.
    assert abs(numbers.mean() - 50) < 5 * np.sqrt(50 / 400)
    assert abs(numbers.var() - 50) < 5 * 50 * np.sqrt(2 / 400)
    t, p = (np.concatenate([getattr(events, key) for events in recordings]) for key in "tp")
    assert abs(p.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(p))
    spread = np.bincount(t // 10**6, minlength=10)
    assert ((spread - len(t) / 10) ** 2 / (len(t) / 10)).sum() < 33.7  # the 99.99 % quantile, 9 degrees of freedom


def test_seed_fixes_the_noise() -> None:
    video = np.exp(brightness(0))
    camera = EventCamera(noise=100.0)
    first, again, other = (film(camera, video, seed)[0] for seed in (1, 1, 2))
    assert all(np.array_equal(getattr(first, key), getattr(again, key)) for key in "txyp")
    assert len(first) != len(other) or not np.array_equal(first.t, other.t)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"on": 0.0}, "on=0"),
        ({"off": -1.0}, "off=-1"),
        ({"on": np.nan}, "nan"),
        ({"refractory": -1}, "=-1"),
        ({"noise": -1.0}, "noise=-1"),
        ({"noise": np.inf}, "inf"),
    ],
)
def test_cameras_that_cannot_be(change, told: str) -> None:
    with pytest.raises(UserError, match=told):
        EventCamera(**change)


@pytest.mark.parametrize("times", [[], [0], [0, 0], [0, 5, 4]])
def test_times_must_rise(times: list[int]) -> None:
    with pytest.raises(UserError, match="do not rise"):
        EventCamera().record(iter(np.ones((len(times), 1, 2, 2))), times, rng=np.random.default_rng(0))


@pytest.mark.parametrize("wrong", [np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan), np.ones(4), np.ones((1, 2, 3))])
def test_brightness_must_be_positive_and_of_one_shape(wrong: np.ndarray) -> None:
    with pytest.raises(UserError, match="frame 1"):
        EventCamera().record([np.ones((1, 2, 2)), wrong], [0, 1], rng=np.random.default_rng(0))


@pytest.mark.parametrize(("images", "told"), [(0, "shorter"), (1, "shorter"), (2, "shorter"), (4, "longer")])
def test_a_video_has_one_image_for_each_time(images: int, told: str) -> None:
    with pytest.raises(UserError, match=f"my film: the video is {told} than its 3 times"):
        EventCamera().record([np.ones((1, 2, 2))] * images, [0, 1, 2], rng=np.random.default_rng(0), name="my film")
