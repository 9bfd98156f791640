"""Data sets of other libraries wrapped, and images with a border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from written import drawn

from robustsnn.data.datasets import from_dataset
from robustsnn.data.digit_events import digit_events
from robustsnn.data.digits import digits
from robustsnn.data.pad import padded
from robustsnn.ground.errors import UserError
from robustsnn.models import vgg, wide_resnet16
from robustsnn.neurons import IF

X, Y = drawn(30, 3, 9, 0)


class Pairs:
    """As torchvision's are: (image, label) by index, and names of the classes."""

    classes = ("cat", "dog", "eel")

    def __init__(self, make: Any, x: np.ndarray = X, y: Any = Y, classes: Any = classes) -> None:
        self.make, self.x, self.y, self.classes = make, x, y, classes

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.make(self.x[index]), self.y[index]


class Rows(Pairs):
    """As Hugging Face's are: mappings, and names of the classes in `features`."""

    def __init__(self, make: Any, keys: tuple[str, str]) -> None:
        super().__init__(make, classes=None)
        self.keys = keys
        label = type("ClassLabel", (), {"names": ["cat", "dog", "eel"]})()
        self.features = {keys[0]: None, keys[1]: label}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(zip(self.keys, super().__getitem__(index), strict=True))


def pillow(x: np.ndarray) -> Image.Image:
    return Image.fromarray(x.transpose(1, 2, 0))


def last(x: np.ndarray) -> np.ndarray:
    return x.transpose(1, 2, 0)


def to_tensor(x: np.ndarray) -> torch.Tensor:
    """As torchvision's ToTensor."""
    return torch.from_numpy(x.copy()).float() / 255


@pytest.mark.parametrize(
    "data",
    [
        Pairs(pillow),
        Pairs(last),
        Pairs(lambda x: torch.from_numpy(x.copy())),
        Pairs(to_tensor),
        Pairs(lambda x: to_tensor(x).requires_grad_()),
        Pairs(pillow, y=torch.from_numpy(Y)),
        Rows(pillow, ("image", "label")),
        Rows(last, ("img", "fine_label")),
        Rows(to_tensor, ("pixel_values", "labels")),
    ],
    ids=lambda data: type(data).__name__,
)
def test_the_images_are_those_of_the_data_set(data: Any) -> None:
    splits = from_dataset(data, data, data, name="mine")
    for part in (splits.train, splits.validation, splits.test):
        assert np.array_equal(part.images.numpy(), X)
        assert np.array_equal(part.labels.numpy(), Y)
        assert (part.classes, part.name, part.levels) == (("cat", "dog", "eel"), "mine", 255)


def test_what_is_missing_is_drawn() -> None:
    splits = from_dataset(Pairs(last), validation=6, seed=1)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (18, 6, 6)
    again = from_dataset(Pairs(last), validation=6, seed=1)
    assert splits.train.fingerprint() == again.train.fingerprint()
    grey = from_dataset(Pairs(lambda x: x[0], classes=None), Pairs(lambda x: x[0]))
    assert (grey.train.shape, grey.train.classes) == ((1, 9, 9), ("0", "1", "2"))


def test_frames_of_events_are_clipped() -> None:
    """As tonic's ToFrame makes them."""
    counts = np.random.default_rng(0).integers(0, 9, (6, 4, 2, 8, 8))
    splits = from_dataset(*[Pairs(lambda x: x, counts, np.arange(6) % 2)] * 2, levels=5)
    assert (splits.test.shape, splits.test.levels) == ((4, 2, 8, 8), 5)
    assert np.array_equal(splits.test.images.numpy(), counts.clip(max=5))
    for values, levels, told in (
        (counts, None, "give levels"),
        (counts - 1, 5, "no counts"),
        (counts / 3, 5, "no counts"),
    ):
        with pytest.raises(UserError, match=told):
            from_dataset(Pairs(lambda x: x, values, np.arange(6) % 2), levels=levels)


class Mixed(Pairs):
    def __getitem__(self, index: int) -> Any:
        return np.zeros((9, 9 + (index == 4)), np.uint8), index % 2


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([], "of type list: give a data set with a length of 1 or more"),
        (None, "of type NoneType"),
        ([np.zeros((9, 9))], "needed are an image and a label"),
        ([(np.zeros((9, 9)), None)], "needed are an image and a label"),
        ([{"image": np.zeros((9, 9))}], "needed are an image and a label"),
        ([(np.zeros(9, np.uint8), 1)], r"the image is uint8 \[9\]"),
        (Pairs(lambda x: pillow(x).convert("P")), "the image is of mode P; convert it to L or RGB"),
        ([("cat.png", 1)], "the image is <U7"),
        ([(np.zeros((9, 9), np.uint8), "cat")], "the label is 'cat'"),
        ([(np.zeros((9, 9), np.uint8), 0.5)], "the label is 0.5"),
        (Mixed(last), r"dataset: train\[4\] is uint8 \[9, 10\], those before uint8 \[9, 9\]"),
        (Pairs(lambda x: (to_tensor(x) - 0.5) / 0.25), "are no grey levels; .* before they are normalised"),
        (Pairs(last, y=np.zeros(30, int)), "all 30 images are of one class"),
    ],
)
def test_what_is_no_data_set_of_images(data: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        from_dataset(data)


# Borders


@pytest.mark.parametrize("side", [8, 9, 12, 15])
def test_padding_keeps_every_pixel_in_the_middle(side: int) -> None:
    data = digits()
    made = padded(data, side)
    for before, after in ((data.train, made.train), (data.validation, made.validation), (data.test, made.test)):
        top = (side - 8) // 2
        assert after.shape == (1, side, side)
        assert torch.equal(after.images[:, :, top : top + 8, top : top + 8], before.images)
        assert int(after.images.sum()) == int(before.images.sum())
        assert torch.equal(after.labels, before.labels)
    with pytest.raises(UserError, match="pad=7 of images of 8x8 pixels; give at least 8"):
        padded(data, 7)


def test_frames_are_padded_too() -> None:
    data = digit_events(frames=2, size=8)
    made = padded(data, 10)
    assert (made.test.shape, made.test.levels) == ((2, 2, 10, 10), 1)
    assert torch.equal(made.test.images[..., 1:9, 1:9], data.test.images)


@pytest.mark.parametrize(
    ("build", "side", "advised"),
    [(lambda **o: vgg("vgg11", **o), 28, 32), (wide_resnet16, 30, 32), (wide_resnet16, 34, 36)],
)
def test_the_refusal_of_a_size_says_what_padding_would_do(build: Any, side: int, advised: int) -> None:
    given: dict[str, Any] = {"classes": 10, "neuron": IF(), "steps": 1}
    with pytest.raises(
        UserError, match=rf"image of {side}x{side} pixels.*; data\.pad={advised} gives it a black border"
    ):
        build(image=(1, side, side), **given)
    build(image=(1, advised, advised), **given)
