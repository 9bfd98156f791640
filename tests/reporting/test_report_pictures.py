from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest

from robustsnn.draw.png import png_address
from robustsnn.draw.scales import nice_ticks
from robustsnn.reporting.panels import change, diverging, shown


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels(channels: int) -> None:
    picture = np.random.default_rng(0).uniform(-0.2, 1.2, (channels, 5, 7))
    data = base64.b64decode(png_address(picture).removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, position = {}, 8
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        body = data[position + 4 : position + 8 + length]
        assert struct.unpack(">I", data[position + 8 + length : position + 12 + length]) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        position += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (7, 5, 8, 2 if channels == 3 else 0, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 1 + 7 * channels)
    assert not lines[:, 0].any()
    levels = lines[:, 1:].reshape(5, 7, channels).transpose(2, 0, 1)
    np.testing.assert_array_equal(levels, np.round(np.clip(picture, 0, 1) * 255))


def test_gradient_colours_are_symmetric_about_white() -> None:
    colours = diverging(np.array([[[-2.0, 0.0, 1.0]], [[0.0, 0.0, 1.0]]]))
    np.testing.assert_allclose(colours[:, 0, 0], (0.0, 0.447, 0.698))
    np.testing.assert_allclose(colours[:, 0, 1], 1.0)
    np.testing.assert_allclose(colours[:, 0, 2], (0.835, 0.369, 0.0))
    assert (diverging(np.zeros((1, 2, 2))) == 1).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 0.037), (1, 30), (2.0, 2.0), (-3.0, 1e6)])
def test_ticks_span_the_range_in_round_steps(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 7
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0])


def test_event_frames_lie_side_by_side_in_the_colours_of_their_polarity() -> None:
    frames = np.zeros((5, 2, 3, 4))
    frames[0, 1, 0, 0] = frames[3, 0, 2, 3] = 1  # on in the first frame, off in the fourth
    sheet = shown(frames)
    assert sheet.shape == (3, 2 * 3 + 1, 3 * 4 + 2)  # two rows of three places
    np.testing.assert_allclose(sheet[:, 0, 0], (0.835, 0.369, 0.0))
    np.testing.assert_allclose(sheet[:, 4 + 2, 3], (0.0, 0.447, 0.698))
    white = sheet[:, :3, :4].copy()
    white[:, 0, 0] = 1
    assert (white == 1).all()
    taken = change(frames * 0, frames)
    np.testing.assert_allclose(taken[:, 0, 0], (0.0, 0.447, 0.698))  # blue: an event was taken away
    np.testing.assert_allclose(taken[:, 0, 1], 1.0)
    np.testing.assert_allclose(change(frames, frames * 0)[:, 0, 0], (0.835, 0.369, 0.0))


def test_the_gradient_of_event_frames_has_one_scale_for_all_frames() -> None:
    gradient = np.zeros((2, 2, 2, 2))
    gradient[0, 0, 0, 0], gradient[1, 1, 0, 0] = 2.0, -1.0
    sheet = diverging(gradient)
    np.testing.assert_allclose(sheet[:, 0, 0], (0.835, 0.369, 0.0))
    np.testing.assert_allclose(sheet[:, 0, 3], (np.array((0.0, 0.447, 0.698)) + 1) / 2)
