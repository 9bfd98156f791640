from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier

from robustsnn.data.procedural import procedural
from robustsnn.ground.errors import UserError


def test_form_and_balance() -> None:
    splits = procedural(100, 20, 50)
    for part, count in ((splits.train, 100), (splits.validation, 20), (splits.test, 50)):
        assert part.images.shape == (count, 3, 32, 32)
        assert part.labels.bincount().tolist() == [count // 10] * 10
        assert len(set(part.classes)) == 10
    assert "seed 0" in splits.note


def test_seed_decides_every_image() -> None:
    first, again, other = (
        procedural(30, 10, 10, seed=1),
        procedural(30, 10, 10, seed=1),
        procedural(30, 10, 10, seed=2),
    )
    assert first.train.fingerprint() == again.train.fingerprint()
    assert first.test.fingerprint() == again.test.fingerprint()
    assert first.train.fingerprint() != other.train.fingerprint()


@pytest.mark.parametrize("seed", [-1, 0, 2**62])
def test_no_image_comes_twice(seed: int) -> None:
    splits = procedural(200, 200, 200, seed=seed)
    images = torch.cat([part.images for part in (splits.train, splits.validation, splits.test)])
    assert len(images.flatten(1).unique(dim=0)) == 600


def test_the_size_of_one_part_does_not_change_another() -> None:
    assert procedural(10, 10, 40).test.fingerprint() == procedural(90, 30, 40).test.fingerprint()


def test_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    procedural(10, 10, 10)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("classes", [2, 5])
def test_fewer_classes_are_the_first(classes: int) -> None:
    few, all_ten = procedural(20, 10, 10, classes), procedural(20, 10, 10)
    assert few.train.classes == all_ten.train.classes[:classes]
    assert few.train.labels.unique().tolist() == list(range(classes))


def test_fewer_images_than_classes() -> None:
    assert procedural(1, 1, 3).test.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"classes": 1}, "classes 1 "),
        ({"classes": 11}, "classes 11 "),
        ({"n_train": 0}, "0 images"),
        ({"n_test": -5}, "-5 images"),
    ],
)
def test_refuses(arguments, told: str) -> None:
    with pytest.raises(UserError, match=told):
        procedural(**{"n_train": 10, "n_validation": 10, "n_test": 10, **arguments})


def spectrum_direction(images: torch.Tensor) -> torch.Tensor:
    """Share of the variation that is along the rows' direction (1: changes only from top to bottom)."""
    power = torch.fft.fft2(images.double() - images.double().mean((2, 3), keepdim=True)).abs() ** 2
    frequency = torch.fft.fftfreq(32, dtype=torch.float64)
    vertical, horizontal = (power * frequency[:, None] ** 2), (power * frequency[None, :] ** 2)
    # Below a quarter of the sampling rate, where the patterns are and most of the noise is not.
    low = (frequency[:, None].abs() < 0.25) & (frequency[None, :].abs() < 0.25)
    vertical, horizontal = (vertical * low).sum((1, 2, 3)), (horizontal * low).sum((1, 2, 3))
    return vertical / (vertical + horizontal)


def test_stripes_run_the_way_they_are_named() -> None:
    data = procedural(300, 10, 10).train
    for name, low, high in (
        ("horizontal stripes", 0.65, 1.0),
        ("vertical stripes", 0.0, 0.35),
        ("diagonal stripes", 0.35, 0.65),
    ):
        share = spectrum_direction(data.images[data.labels == data.classes.index(name)])
        assert low < share.median() < high, name


def test_classes_cannot_be_told_from_the_pixels_linearly_nor_from_the_mean_colour() -> None:
    splits = procedural(2000, 10, 500)
    (x, y), (xt, yt) = splits.train.floats(), splits.test.floats()
    for features, most in ((lambda z: z.flatten(1).numpy(), 0.4), (lambda z: z.mean((2, 3)).numpy(), 0.2)):
        score = RidgeClassifier(alpha=100.0).fit(features(x), y.numpy()).score(features(xt), yt.numpy())
        assert score < most


def test_classes_can_be_told_from_invariant_features() -> None:
    """Power spectra, averaged over colours: linear on them is far above the chance of 0.1."""
    splits = procedural(2000, 10, 500)

    def features(images: torch.Tensor) -> np.ndarray:
        grey = images.double() - images.double().mean((2, 3), keepdim=True)
        return torch.fft.rfft2(grey).abs().mean(1).log1p().flatten(1).numpy()

    model = RidgeClassifier(alpha=100.0).fit(features(splits.train.images), splits.train.labels.numpy())
    assert model.score(features(splits.test.images), splits.test.labels.numpy()) > 0.6
