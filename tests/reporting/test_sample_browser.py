"""What the page shows of the samples: spikes and probabilities, of new files and of old ones."""

from __future__ import annotations

import base64
import html
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import write_runs
from fake_spikes import add_spikes, spikes

from robustsnn.draw.png import indexed_address
from robustsnn.ground.errors import UserError
from robustsnn.records.samples import Samples, read_layers
from robustsnn.reporting.page import write_report
from robustsnn.reporting.spikes import layer


def decoded(address: str) -> np.ndarray:
    """The colours `[h, w, 3]` of an indexed PNG."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    chunks, position = {}, 8
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        chunks[data[position + 4 : position + 8]] = data[position + 8 : position + 8 + length]
        position += 12 + length
    width, height, depth, colour_type = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour_type) == (8, 3)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    return np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[lines[:, 1:]]


def test_an_indexed_png_holds_the_colours() -> None:
    palette = np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])
    index = np.array([[0, 1, 2], [2, 2, 0]])
    np.testing.assert_array_equal(decoded(indexed_address(index, palette)), np.round(255 * palette[index]))


def one_layer(clean: Any, attacked: Any) -> Any:
    clean, attacked = (np.array(part, np.uint8)[None] for part in (clean, attacked))
    rate = np.array([[clean.mean() / 255, attacked.mean() / 255]], np.float32)
    parts = {
        "clean": clean,
        "attacked": attacked,
        "steps": np.arange(clean.shape[1]) + 1,
        "shape": np.array((3, *clean.shape[2:])),
        "rate": rate,
        "changed": np.array([0.25], np.float32),
    }
    (found,) = read_layers(
        {"label": np.zeros(1, int), "spike_layers": np.array(["a"])} | {f"spikes0_{k}": v for k, v in parts.items()}
    )
    return layer(found, 0)


def test_the_steps_of_a_map_share_one_scale_and_the_difference_has_its_own() -> None:
    drawn = one_layer([[[0, 102]], [[51, 0]]], [[[0, 51]], [[102, 0]]])  # two steps of one line of two pixels
    size, line = 12, 1  # each pixel is magnified 12 times
    before, after, moved = (decoded(part) for part in (drawn.clean, drawn.attacked, drawn.difference))
    assert before.shape == after.shape == moved.shape == (size, 4 * size + line, 3)
    places = [0, size, 2 * size + line, 3 * size + line]
    white, dark, half = (255, 255, 255), (20, 20, 20), (138, 138, 138)
    assert [tuple(before[0, x]) for x in places] == [white, dark, half, white]
    assert [tuple(after[0, x]) for x in places] == [white, half, dark, white]
    blue, orange = (0, 114, 178), (213, 94, 0)
    assert [tuple(moved[0, x]) for x in places] == [white, blue, orange, white]
    assert tuple(before[0, 2 * size]) == tuple(moved[0, 2 * size]) == (153, 153, 153)  # between the steps
    assert "15.0 %, attacked 15.0 %; 25.0 % of spikes change. Darkest 40.0 %; strongest colour 20.0 %" in drawn.said
    assert (drawn.shape, drawn.steps) == ("3 × 1 × 2", "1 to 2")  # noqa: RUF001


def test_a_raster_has_a_line_per_step() -> None:
    drawn = one_layer([[255, 0, 0], [255, 255, 0]], [[255, 0, 0], [0, 255, 255]])
    before, moved = decoded(drawn.clean), decoded(drawn.difference)
    assert before.shape == (5 + 1 + 5, 3, 3)
    assert (before[0, :, 0] < 100).tolist() == [True, False, False]
    assert (before[10, :, 0] < 100).tolist() == [True, True, False]
    assert (moved[0] == 255).all()
    assert [tuple(colour) for colour in moved[10]] == [(0, 114, 178), (255, 255, 255), (213, 94, 0)]


def test_a_silent_layer_is_drawn_and_said_to_be_silent() -> None:
    drawn = one_layer(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))
    assert (decoded(drawn.difference)[0, 0] == 255).all()
    assert drawn.said.endswith("Silent")


def page_of(runs: list[Path], out: Path) -> str:
    write_report(runs, out)
    return out.read_text()


def test_the_page_shows_probabilities_and_spikes_of_all_models(runs: list[Path], out: Path) -> None:
    before = page_of(runs, out).count("data:image/png")
    for k, run in enumerate(runs):
        add_spikes(run, seed=k)
    page = page_of(runs, out)
    assert page.count("data:image/png") == before + 5 * 4 * 3 * 3  # images, models, layers, strips
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert text.count("12.5 % of spikes change") == 5 * 4 * 3
    saved = Samples.load(runs[0] / "samples.npz").probability
    assert saved is not None
    for shares in saved:
        assert all(f"{100 * share:.1f} %" in text for share in np.sort(shares)[-3:])
    assert len(re.findall(r"[0-4] of 4 models stand", text)) == 5
    assert "this page does not choose by outcome" in text


def test_files_from_before_show_what_they_hold(runs: list[Path], out: Path) -> None:
    add_spikes(runs[0])
    page = page_of(runs, out)
    assert page.count('class="layers"') == page.count('class="odds"') == 5  # one of the four models has them
    assert page.count('class="look"') == 20


@pytest.mark.parametrize("steps", [4, 12])
def test_a_page_of_four_models_on_larger_pictures_stays_small(tmp_path: Path, steps: int) -> None:
    folders = write_runs(tmp_path / "runs", colour=True)
    for k, run in enumerate(folders):
        add_spikes(run, steps=steps, side=32, neurons=96, seed=k)  # noise: pictures of it are the largest there are
    write_report(folders, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spikes0_clean", np.zeros((5, 4, 8, 8))),
        ("spikes1_attacked", np.zeros((5, 4, 8, 8), np.uint8)),
        ("spikes0_steps", np.arange(3)),
        ("spikes2_rate", np.zeros((5, 3), np.float32)),
        ("spikes2_changed", None),
        ("probability", np.zeros(5, np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(runs: list[Path], name: str, value: Any) -> None:
    path = runs[0] / "samples.npz"
    add_spikes(runs[0])
    with np.load(path) as saved:
        arrays: dict[str, Any] = dict(saved)
    del arrays[name]
    np.savez(path, **arrays, **({} if value is None else {name: value}))
    with pytest.raises(UserError, match=name):
        Samples.load(path)


def test_fake_spikes_are_as_read() -> None:
    assert [found.name for found in read_layers({"label": np.zeros(3, int), **spikes(3)})] == [
        "body.1",
        "body.6",
        "body.9",
    ]
