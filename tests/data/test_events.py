from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.data.events import MOST_DISORDER, Events, binned, counts, frames, in_order
from robustsnn.ground.errors import UserError

SENSOR = (6, 8)


def recording(t, seed: int = 0, size=SENSOR) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(np.asarray(t, np.int64))
    x, y, p = (rng.integers(0, high, len(t)) for high in (size[1], size[0], 2))
    return Events(t, x, y, p, size)


RECORDINGS = st.builds(recording, st.lists(st.integers(0, 10**6), max_size=60), st.integers(0, 2**32))
BY = st.sampled_from(["count", "time"])
SIZES = st.sampled_from([(6, 8), (3, 4), (6, 2), (1, 1), (2, 8)])


def reference(events: Events, steps: int, by: str, size: tuple[int, int], levels: int) -> np.ndarray:
    """The definition, one event after another."""
    result = np.zeros((steps, 2, *size), int)
    n = len(events)
    for i in range(n):
        if by == "count":
            frame = i // max(n // steps, 1)
        else:
            frame = int(events.t[i] - events.t[0]) // max(int(events.t[-1] - events.t[0]) // steps, 1)
        row, column = int(events.y[i]) * size[0] // 6, int(events.x[i]) * size[1] // 8
        result[min(frame, steps - 1), events.p[i], row, column] += 1
    return np.minimum(result, levels)


@settings(max_examples=150, deadline=None)
@given(RECORDINGS, st.integers(1, 12), BY, SIZES, st.sampled_from([1, 2, 255]))
def test_frames_equal_a_loop_over_the_events(events: Events, steps: int, by, size, levels: int) -> None:
    result = frames(events, steps, by=by, size=size, levels=levels)
    assert result.dtype == np.uint8
    assert np.array_equal(result, reference(events, steps, by, size, levels))


@settings(max_examples=50, deadline=None)
@given(RECORDINGS, st.integers(1, 12), BY, SIZES)
def test_no_event_is_lost_and_none_is_invented(events: Events, steps: int, by, size) -> None:
    result = binned(counts(events, steps, by), size, 255, "name")
    assert result.sum() == len(events)
    assert result[:, 1].sum() == events.p.sum()


@settings(max_examples=50, deadline=None)
@given(RECORDINGS, st.integers(1, 12))
def test_frames_by_count_hold_equal_numbers(events: Events, steps: int) -> None:
    n = len(events)
    share = counts(events, steps, "count").sum((1, 2, 3)).tolist()
    if n >= steps:
        assert share == [n // steps] * (steps - 1) + [n // steps + n % steps]
    else:
        assert share == [1] * n + [0] * (steps - n)


@settings(max_examples=50, deadline=None)
@given(RECORDINGS, st.integers(1, 12), st.integers(-(10**9), 10**9), st.integers(1, 1000))
def test_time_has_no_origin_and_counts_no_unit(events: Events, steps: int, shift: int, scale: int) -> None:
    moved = replace(events, t=events.t + shift)
    assert np.array_equal(counts(events, steps, "time"), counts(moved, steps, "time"))
    scaled = replace(events, t=events.t * scale)
    assert np.array_equal(counts(events, steps, "count"), counts(scaled, steps, "count"))


@settings(max_examples=50, deadline=None)
@given(RECORDINGS, st.integers(1, 5), st.integers(1, 5), BY)
def test_frames_of_more_steps_add_up_to_those_of_fewer(events: Events, steps: int, parts: int, by) -> None:
    """Where both divide what is cut without a rest."""
    many = steps * parts
    t = events.t[: len(events) // many * many]
    t = (t - t[:1]) * many  # the duration too is a multiple of `many` now
    events = recording(t)
    fine = counts(events, many, by).reshape(steps, parts, 2, *SENSOR)
    assert np.array_equal(fine.sum(1), counts(events, steps, by))


@settings(max_examples=30, deadline=None)
@given(RECORDINGS, st.integers(1, 254))
def test_clipping_is_at_levels_and_binary_is_one(events: Events, levels: int) -> None:
    whole = frames(events, 3, size=(1, 1))
    assert np.array_equal(frames(events, 3, size=(1, 1), levels=levels), np.minimum(whole, levels))
    assert np.array_equal(frames(events, 3, size=(1, 1), levels=1), (whole > 0).astype(np.uint8))


def test_binning_adds_before_it_clips() -> None:
    many = Events(np.zeros(400, int), np.repeat([0, 1], 200), np.zeros(400, int), np.ones(400, int), (2, 2))
    assert frames(many, 1)[0, 1].tolist() == [[200, 200], [0, 0]]
    assert frames(many, 1, size=(1, 1))[0, 1].tolist() == [[255]]
    assert frames(many, 1, size=(1, 1), levels=7)[0, 1].tolist() == [[7]]


def test_the_longest_recording_there_can_be() -> None:
    longest = replace(recording([0, 1, 2]), t=np.array([-(2**62), 0, 2**62 - 1]))
    assert counts(longest, 2, "time").sum((1, 2, 3)).tolist() == [1, 2]


@pytest.mark.parametrize("by", ["count", "time"])
def test_few_events(by) -> None:
    assert not frames(recording([]), 4, by=by).any()
    one = frames(recording([5]), 4, by=by)
    assert one.sum() == one[0].sum() == 1
    together = counts(recording([7] * 9), 4, by).sum((1, 2, 3)).tolist()
    assert together == ([2, 2, 2, 3] if by == "count" else [9, 0, 0, 0])


def test_events_are_kept_small_and_sorted() -> None:
    events = recording([1, 2, 2])
    assert [events.t.dtype, events.x.dtype, events.y.dtype, events.p.dtype] == [np.int64, np.int16, np.int16, np.uint8]
    assert len(events) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"t": np.array([3, 2, 5])}, "backwards"),
        ({"t": np.array([1.0, 2.0, 3.0])}, "float64"),
        ({"t": np.array([0, 1, 2**62])}, "times from 0 to 4611686018427387904"),
        ({"t": np.array([-(2**62) - 1, 0, 1])}, "times from -4611686018427387905 to 1"),
        ({"t": np.array([0, 1, 2**64 - 1], np.uint64)}, "to 18446744073709551615"),
        ({"x": np.array([0, 8, 0])}, r"x from 0 to 8 is outside 0\.\.7"),
        ({"y": np.array([0, -1, 0])}, r"y from -1 to 0 is outside 0\.\.5"),
        ({"p": np.array([0, 1, 2])}, r"p from 0 to 2 is outside 0\.\.1"),
        ({"p": np.array([0, 1])}, r"shape \[2\]"),
        ({"y": np.zeros((3, 1), int)}, r"shape \[3, 1\]"),
        ({"size": (0, 8)}, "0x8"),
    ],
)
def test_events_refuse_what_does_not_fit(change, told: str) -> None:
    with pytest.raises(UserError, match=rf"some\.file: .*{told}"):
        replace(recording([1, 2, 3]), name="some.file", **change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"steps": 0}, "0 frames"),
        ({"by": "number"}, "'number'"),
        ({"size": (4, 4)}, "4x4"),
        ({"size": (0, 8)}, "0x8"),
        ({"levels": 0}, "levels=0"),
        ({"levels": 256}, "levels=256"),
    ],
)
def test_frames_refuse_what_cannot_be(change, told: str) -> None:
    with pytest.raises(UserError, match=told):
        frames(recording([1, 2, 3]), **{"steps": 2, **change})


@pytest.mark.parametrize(
    "array",
    [np.full((1, 2, 4, 4), v) for v in (0.5, -1.0, np.nan, np.inf)]
    + [np.zeros((2, 4, 4)), np.zeros((1, 3, 4, 4)), np.zeros((0, 2, 4, 4)), np.zeros((1, 2, 4, 4), complex)],
)
def test_what_is_no_count_is_refused(array: np.ndarray) -> None:
    with pytest.raises(UserError, match="a file"):
        binned(array, (2, 2), 4, "a file")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * MOST_DISORDER), max_size=12))
def test_order_is_restored_if_little_is_out_of_it(t: list[int]) -> None:
    late = max((max(t[: i + 1]) - t[i] for i in range(len(t))), default=0)
    if late > MOST_DISORDER:
        with pytest.raises(UserError, match=f"backwards by {late} us"):
            in_order(np.array(t), "file")
    else:
        order = in_order(np.array(t, int), "file")
        assert order.tolist() == sorted(range(len(t)), key=t.__getitem__)
