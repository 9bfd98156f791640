"""Corruptions: each does what its name says, more so with strength, for any size, and for each image alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import Linear, images, spiking
from robustsnn.encoders.rate import Poisson
from robustsnn.models import Plan, vgg
from robustsnn.neurons import IF
from robustsnn.studies.corruptions.events import EVENTS
from robustsnn.studies.corruptions.images import IMAGES
from robustsnn.studies.corruptions.kinds import Kind
from robustsnn.studies.corruptions.measure import corrupted, corruptions

BY_NAME = {kind.name: kind for kind in (*IMAGES, *EVENTS)}
SHAPES = [(1, 8, 8), (3, 32, 32), (4, 20, 13), (1, 1, 1)]


def example(kind: Kind, shape: tuple[int, ...] = (3, 24, 24), seed: int = 0) -> np.ndarray:
    """A smooth image with an edge, or event frames of a tenth of ones."""
    rng = np.random.default_rng(seed)
    if kind in EVENTS:
        return (rng.random((5, 2, 16, 16)) < 0.1).astype(float)
    rows, columns = np.indices(shape[1:]) / max(shape[1:])
    phases = rng.uniform(0, 6, (shape[0], 1, 1))
    return 0.5 + 0.2 * np.sin(9 * rows + 7 * columns + phases) + 0.2 * (columns > 0.5)


@pytest.mark.parametrize("kind", BY_NAME.values(), ids=BY_NAME)
def test_strength_0_is_the_image_and_each_further_strength_is_further_from_it(kind):
    x = [example(kind, seed=seed) for seed in range(8)]
    away = [np.mean([np.linalg.norm(kind(one, s, 7 + i) - one) for i, one in enumerate(x)]) for s in range(6)]
    assert away[0] == 0
    assert (np.diff(away) > 0).all()
    # And the change itself starts from nothing: the strengths are points of one scale.
    one = x[0][:1] if kind.name == "jpeg" else x[0]  # JPEG halves the resolution of colours at any quality
    nothing = kind.change(one, 0.0, np.random.default_rng(0))
    assert np.abs(nothing - one).max() <= (0.02 if kind.name == "jpeg" else 1e-12)


@pytest.mark.parametrize("kind", BY_NAME.values(), ids=BY_NAME)
def test_all_sizes_and_channels_stay_in_range_and_the_seed_decides(kind):
    for shape in SHAPES if kind in IMAGES else [(5, 2, 16, 16)]:
        x = example(kind, shape)
        for strength in (1, 5):
            found = kind(x, strength, 3)
            assert found.shape == x.shape
            assert np.isfinite(found).all()
            assert found.min() >= 0
            assert found.max() <= 1
            assert np.array_equal(found, kind(x, strength, 3))


def change(name: str, x: np.ndarray, a: float) -> np.ndarray:
    return BY_NAME[name].change(x, a, np.random.default_rng(5))


GREY = np.full((1, 60, 60), 0.5)
POINT = np.zeros((1, 21, 21))
POINT[0, 10, 10] = 1


def test_noise_has_the_deviation_that_it_says():
    assert change("gaussian noise", GREY, 0.1).std() == pytest.approx(0.1, rel=0.05)
    shot = change("shot noise", GREY, 0.1)
    assert shot.mean() == pytest.approx(0.5, abs=0.01)
    assert shot.std() == pytest.approx(0.1 * 0.5**0.5, rel=0.05)
    assert (change("shot noise", 0 * GREY, 0.1) == 0).all()  # no photons, no noise
    impulse = change("impulse noise", GREY, 0.2)
    assert set(np.unique(impulse)) == {0, 0.5, 1}
    assert (impulse == 0).mean() == pytest.approx(0.1, abs=0.02)
    assert (impulse == 1).mean() == pytest.approx(0.1, abs=0.02)


def test_a_blur_spreads_a_point_and_keeps_its_light():
    rows, columns = np.indices(POINT.shape[1:]) - 10
    disc = change("defocus blur", POINT, 4 / 21)[0]
    assert disc.sum() == pytest.approx(1)
    assert (disc[np.hypot(rows, columns) > 5.5] == 0).all()
    assert np.allclose(disc, disc.T)
    inside = disc[np.hypot(rows, columns) < 3]
    assert inside == pytest.approx(1 / (np.pi * 16), rel=0.1)  # the same everywhere in the disc
    line = change("motion blur", POINT, 8 / 21)[0]
    assert line.sum() == pytest.approx(1)
    spread = np.linalg.eigvalsh(np.cov(np.stack([rows.ravel(), columns.ravel()]), aweights=line.ravel(), ddof=0))
    assert spread[1] == pytest.approx(8**2 / 12, rel=0.3)  # along the line
    assert spread[0] < 0.5  # and nothing across
    zoomed = change("zoom blur", POINT, 0.5)[0]
    assert zoomed[10, 10] == zoomed.max() == 1  # the middle stays
    assert zoomed[0, 0] == 0
    glass = change("glass blur", np.indices((21, 21))[:1] / 21, 3 / 21)[0]  # shows rows up to 3 away
    assert 2 < np.abs(21 * glass - np.arange(21)[:, None]).max() <= 3 + 1e-9


def test_weather_lightens_and_what_is_white_stays_white():
    for name in ("snow", "fog", "brightness"):
        assert (change(name, GREY, 0.2) >= 0.5).all()
        assert (change(name, 0 * GREY + 1, 0.2) >= 1).all()
    assert (change("fog", 0 * GREY, 0.5) >= 0.25 - 1e-9).all()
    assert change("fog", 0 * GREY, 0.5).max() == pytest.approx(0.5)
    frost = change("frost", 0 * GREY, 1.0)
    assert frost.min() < 0.05
    assert frost.max() == pytest.approx(0.9, abs=0.02)
    dense = change("snow", 0 * GREY, 0.1) > 0.5
    assert 0.1 < dense.mean() < 0.6  # flakes with their fall, not a veil


def test_processing_keeps_what_it_should():
    x = example(BY_NAME["contrast"])
    flat = change("contrast", x, 0.75)
    assert flat.mean((1, 2)) == pytest.approx(x.mean((1, 2)))
    assert flat.std((1, 2)) == pytest.approx(0.25 * x.std((1, 2)))
    ramp = np.arange(64.0).reshape(1, 8, 8) / 64
    blocks = change("pixelate", ramp, 0.5)
    assert np.array_equal(blocks[0, ::2, ::2], blocks[0, 1::2, 1::2])
    assert blocks[0, 0, 0] == pytest.approx(ramp[0, :2, :2].mean())
    assert len(np.unique(change("pixelate", np.random.default_rng(0).random((1, 7, 7)), 0.5))) == 16  # 7 -> 4 blocks
    steep = np.indices((21, 21))[1:] / 21.0
    moved = np.abs(change("elastic", steep, 2 / 21) - steep)[0] * 21
    assert 0.5 < moved.max() <= 2 + 1e-9
    assert np.abs(np.diff(moved, axis=0)).max() < 1.5  # smooth, unlike glass
    assert np.unique(np.rint(255 * change("jpeg", GREY, 50))).tolist() == [128]


def test_event_faults():
    x = example(BY_NAME["hot pixels"])
    lost = change("missing events", x, 0.4)
    assert (lost <= x).all()
    assert lost.sum() == pytest.approx(0.6 * x.sum(), rel=0.2)
    more = change("background events", x / 4, 0.1)
    assert (more >= x / 4).all()
    assert set(np.unique(more)) == {0, 0.25}
    hot = change("hot pixels", x, 0.1)
    assert ((hot == 1).all((0, 1)).mean()) == pytest.approx(0.1, abs=0.05)
    dead = change("dead pixels", x + 1, 0.3)
    assert ((dead == 0).all((0, 1)) == (dead == 0).any((0, 1))).all()
    for name in ("time jitter", "flipped polarity"):  # move events, and lose none
        found = change(name, x, 0.5)
        assert found.sum() == x.sum()
        assert not np.array_equal(found, x)
    assert np.array_equal(change("flipped polarity", x, 1.0), x[:, ::-1])


class Bright(nn.Module):
    """Class 1 if the mean is above a half."""

    def forward(self, x: Tensor) -> Tensor:
        level = x.flatten(1).mean(1) - 0.5
        return torch.stack([-level, level], 1)


def test_what_is_measured_is_known_where_the_answer_is():
    """Dark images of class 0: brightness flips them from the strength on that lifts the mean above a half."""
    x = torch.stack([torch.full((1, 6, 6), level) for level in (0.15, 0.25, 0.38)])
    found = corruptions(Bright(), (x, torch.zeros(3, dtype=torch.int64)))
    kind = next(k for k, kind in enumerate(found.kinds) if kind.name == "brightness")
    assert found.clean.all()
    wanted = [[level + a < 0.5 for level in (0.15, 0.25, 0.38)] for a in found.kinds[kind].amounts]
    assert np.array_equal(found.right[kind], wanted)
    content = found.to_dict()
    json.dumps(content, allow_nan=False)
    assert content["kinds"][kind]["mean"]["mean"] == pytest.approx(np.mean(wanted))
    assert content["kinds"][kind]["strengths"][0]["interval"][0] < 1
    assert content["mean"]["mean"] + content["lost"]["mean"] == pytest.approx(content["clean"]["accuracy"])
    # The interval is over images, so three of them leave a wide one, however many kinds there are.
    assert content["mean"]["n"] == 3


@pytest.mark.parametrize("random", [False, True])
def test_neighbours_and_batches_change_nothing(random):
    model = spiking(image=(1, 8, 8))
    if random:
        torch.manual_seed(0)
        model = vgg(Plan(((4,),), ()), image=(1, 8, 8), classes=4, neuron=IF(), steps=2, encoder=Poisson(2)).eval()
    x, y = images(2, (1, 8, 8)), torch.arange(2)
    state = torch.get_rng_state()
    found = corruptions(model, (x, y))
    assert torch.equal(state, torch.get_rng_state())
    alone = corruptions(model, (x[:1], y[:1]))
    assert np.array_equal(found.right[..., :1], alone.right)
    assert np.array_equal(found.right, corruptions(model, (x, y), batch_size=1).right)
    assert np.array_equal(found.pictures[:, 3], [corrupted(kind, x, 0, 3) for kind in IMAGES])


def test_event_frames_have_kinds_of_their_own():
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Linear(2, (2, 4, 4))(x.sum(1))

    x = (torch.rand(4, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    found = corruptions(Sum(), (x, torch.zeros(4, dtype=torch.int64)))
    assert found.kinds == EVENTS
    assert found.right.shape == (6, 5, 4)
