from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from robustsnn.data.batches import Augment, ImageSet, Splits, batches, split
from robustsnn.ground.errors import UserError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def seeded(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def image_set(n: int = 12, classes: int = 3, shape=(2, 4, 5)) -> ImageSet:
    images = torch.randint(256, (n, *shape), generator=seeded(n), dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % classes, tuple("abcdefghij"[:classes]), "tiny")


# ImageSet


def test_image_set_tells_its_size() -> None:
    data = image_set(12)
    assert len(data) == 12
    assert data.shape == (2, 4, 5)
    with pytest.raises(FrozenInstanceError):
        data.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"images": torch.zeros(12, 2, 4, 5, dtype=torch.float64)}, "float64"),
        ({"images": torch.full((12, 2, 4, 5), 1.5)}, r"span \[1\.5, 1\.5\]"),
        ({"images": torch.zeros(12, 4, 5, dtype=torch.uint8)}, r"\[12, 4, 5\]"),
        ({"labels": torch.zeros(12)}, "float32"),
        ({"labels": torch.zeros(12, 1, dtype=torch.int64)}, r"\[12, 1\]"),
        ({"labels": torch.zeros(11, dtype=torch.int64)}, "12 images but 11 labels"),
        ({"labels": torch.tensor([0] * 7 + [3, 9] + [0] * 3)}, r"label 3 of image 7 is outside 0\.\.2"),
        ({"labels": torch.tensor([0, -1] * 6)}, r"label -1 of image 1 is outside 0\.\.2"),
        (
            {"images": torch.zeros(0, 2, 4, 5, dtype=torch.uint8), "labels": torch.zeros(0).long()},
            "no images",
        ),
    ],
)
def test_image_set_refuses_what_does_not_fit(change, told: str) -> None:
    with pytest.raises(UserError, match=told):
        replace(image_set(12), **change)


def test_floats_are_exact_and_round_trip() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x, y = ImageSet(images, torch.zeros(1, dtype=torch.int64), ("a",), "all values").floats()
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert x.min() == 0
    assert x.max() == 1
    assert torch.equal(x.flatten(), (torch.arange(256, dtype=torch.float64) / 255).float())
    assert torch.equal((x * 255).round().to(torch.uint8), images)


@needs_gpu
def test_floats_have_the_same_bits_on_a_gpu() -> None:
    data = image_set(100)
    assert torch.equal(data.floats()[0], data.floats("cuda")[0].cpu())


def test_take_number_and_indices() -> None:
    data = image_set(12)
    assert torch.equal(data.take(5).images, data.images[:5])
    for which in ([7, 0, 7], torch.tensor([7, 0, 7]), torch.tensor([7, 0, 7], dtype=torch.int32)):
        taken = data.take(which)
        assert torch.equal(taken.images, data.images[[7, 0, 7]])
        assert torch.equal(taken.labels, data.labels[[7, 0, 7]])
        assert (taken.classes, taken.name) == (data.classes, data.name)


@pytest.mark.parametrize("which", [0, -1, 13, [], [12], [-1], [1.5], [True] * 12, [[1]]])
def test_take_refuses(which) -> None:
    with pytest.raises(UserError, match="tiny"):
        image_set(12).take(which)


def test_fingerprint_is_of_content_alone() -> None:
    data = image_set(12)
    first = data.fingerprint()
    assert len(first) == len(hashlib.sha256().hexdigest())
    assert replace(data, name="other", images=data.images.clone()).fingerprint() == first
    assert replace(data, images=data.images.flip(0).contiguous().flip(0)).fingerprint() == first
    other = data.images.clone()
    other[3, 1, 2, 2] ^= 1
    assert replace(data, images=other).fingerprint() != first
    assert replace(data, labels=data.labels.roll(1)).fingerprint() != first
    assert replace(data, images=data.images.transpose(2, 3)).fingerprint() != first
    assert replace(data, images=data.images.reshape(12, 4, 2, 5)).fingerprint() != first


def test_splits_must_agree() -> None:
    data = image_set(12)
    Splits(data, data, data, "note")
    with pytest.raises(UserError, match="every part"):
        Splits(data, image_set(12, shape=(1, 4, 5)), data, "note")
    with pytest.raises(UserError, match="every part"):
        Splits(data, data, image_set(12, classes=4), "note")


# split

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(SIZES, st.integers(0, 2**32), st.booleans())
def test_split_is_disjoint_covering_and_deterministic(sizes, seed: int, stratified: bool) -> None:
    n = sum(sizes)
    labels = torch.randint(5, (n,), generator=seeded(seed)) if stratified else None
    parts = split(n, sizes, seed, labels=labels)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(n))
    again = split(n, sizes, seed, labels=labels)
    assert all(torch.equal(part, other) for part, other in zip(parts, again, strict=True))


@settings(max_examples=50, deadline=None)
@given(SIZES, st.integers(0, 2**32), st.integers(1, 6))
def test_stratified_split_is_proportional(sizes, seed: int, classes: int) -> None:
    n = sum(sizes)
    labels = torch.randint(classes, (n,), generator=seeded(seed))
    counts = labels.bincount(minlength=classes).double()
    for part in split(n, sizes, seed, labels=labels):
        off = labels[part].bincount(minlength=classes) - counts * len(part) / n
        # A cut at k of n is off by at most 1/2 for rounding and share/2 for each class that shifts the cut;
        # a part lies between two cuts.
        assert (off.abs() <= 2 * (0.5 + counts / n * classes / 2) + 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 5), st.integers(0, 100))
def test_stratified_split_is_exact_where_it_can_be(classes: int, first: int, second: int, seed: int) -> None:
    labels = torch.arange(classes * (first + second)) % classes
    parts = split(len(labels), [classes * first, classes * second], seed, labels=labels)
    assert labels[parts[0]].bincount().tolist() == [first] * classes
    assert labels[parts[1]].bincount().tolist() == [second] * classes


def test_split_depends_on_the_seed() -> None:
    assert not torch.equal(split(100, [50, 50], 0)[0], split(100, [50, 50], 1)[0])


@pytest.mark.parametrize("sizes", [[], [10, 0], [5, 4], [5, 6], [11, -1]])
def test_split_refuses(sizes) -> None:
    with pytest.raises(UserError, match="cannot split 10"):
        split(10, sizes, 0)


# Augment


def reference(x: torch.Tensor, augment: Augment, generator: torch.Generator) -> torch.Tensor:
    """The definition, one image after another."""
    count, _, height, width = x.shape
    crop = augment.crop
    offsets = torch.zeros(2, count, dtype=torch.long)
    if crop:
        offsets = torch.randint(2 * crop + 1, (2, count), generator=generator)
    mirror = torch.randint(2, (count, 1), generator=generator)[:, 0] if augment.flip else torch.zeros(count)
    images = []
    for number, image in enumerate(x):
        down, right = offsets[:, number].tolist()
        image = pad(image, [crop] * 4)[:, down : down + height, right : right + width]
        images.append(image.flip(-1) if mirror[number] else image)
    return torch.stack(images)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 6), st.booleans(), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**32))
def test_augment_equals_a_loop_over_the_images(crop: int, flip: bool, count: int, channels: int, seed: int) -> None:
    x = torch.rand(count, channels, 5, 4, generator=seeded(seed))
    before = x.clone()
    augment = Augment(crop, flip)
    result = augment(x, generator=seeded(seed))
    assert torch.equal(result, reference(x, augment, seeded(seed)))
    assert torch.equal(x, before)
    assert result.is_contiguous()


def test_augment_without_anything_to_do_is_the_identity() -> None:
    x = torch.rand(3, 1, 4, 4)
    generator = seeded(0)
    state = generator.get_state()
    assert Augment()(x, generator=generator) is x
    assert torch.equal(generator.get_state(), state)


def test_augment_offsets_and_flips_are_uniform_and_independent() -> None:
    """Two marked pixels tell the offset and the flip of each image; chi-squared over all 50 outcomes."""
    crop, count = 2, 50_000
    x = torch.zeros(count, 1, 7, 7)
    x[:, 0, 3, 3] = 1.0
    x[:, 0, 3, 4] = 0.5
    result = Augment(crop, flip=True)(x, generator=seeded(0))[:, 0]
    one = (result == 1.0).flatten(1).int().argmax(1)
    half = (result == 0.5).flatten(1).int().argmax(1)
    flipped = (half < one).long()
    outcome = ((one // 7 - 1) * 5 + (one % 7 - 1)) * 2 + flipped
    observed = outcome.bincount(minlength=50)
    assert len(observed) == 50
    expected = count / 50
    assert ((observed - expected) ** 2 / expected).sum() < 94.6  # the 99.99 % quantile with 49 degrees of freedom


@pytest.mark.parametrize("crop", [-1, -4])
def test_augment_refuses_a_negative_crop(crop: int) -> None:
    with pytest.raises(UserError, match=str(crop)):
        Augment(crop)


@needs_gpu
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_augment_on_a_gpu_equals_the_cpu(device: str) -> None:
    """The same draws give the same images wherever they lie, with a generator on either device."""
    x = torch.rand(64, 3, 32, 32)
    on_gpu = Augment(4, True)(x.cuda(), generator=seeded(1, device))
    assert on_gpu.device.type == "cuda"
    assert torch.equal(on_gpu.cpu(), Augment(4, True)(x, generator=seeded(1, device)))


# batches


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.none() | st.integers(0, 2**32))
def test_batches_give_every_image_once_with_its_label(n: int, size: int, seed: int | None) -> None:
    # Each image holds its own index, so that a mix-up of images and labels shows.
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)
    data = ImageSet(images, torch.arange(n) * 7 % 10, tuple("abcdefghij"), "indexed")
    generator = None if seed is None else seeded(seed)
    seen = list(batches(data, size, generator=generator))
    assert [len(y) for _, y in seen[:-1]] == [size] * (len(seen) - 1)
    assert 1 <= len(seen[-1][1]) <= size
    index = (torch.cat([x for x, _ in seen]).flatten() * 255).round().long()
    labels = torch.cat([y for _, y in seen])
    assert torch.equal(index.sort().values, torch.arange(n))
    assert torch.equal(labels, index * 7 % 10)
    if seed is None:
        assert torch.equal(index, torch.arange(n))


def test_batches_repeat_with_the_generator_and_move_on_with_it() -> None:
    data = image_set(100)
    augment = Augment(1, True)

    def epoch(generator: torch.Generator) -> torch.Tensor:
        return torch.cat([x for x, _ in batches(data, 32, generator=generator, augment=augment)])

    generator = seeded(5)
    first, second = epoch(generator), epoch(generator)
    assert torch.equal(first, epoch(seeded(5)))
    assert not torch.equal(first, second)


def test_batches_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    list(batches(image_set(), 5, generator=seeded(0), augment=Augment(1, True)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [0, -3])
def test_batches_refuse_a_size_at_once(size: int) -> None:
    with pytest.raises(UserError, match=f"batch size {size}"):
        batches(image_set(), size)


def test_batches_need_a_generator_to_augment() -> None:
    with pytest.raises(UserError, match="generator"):
        batches(image_set(), 4, augment=Augment(1))


@needs_gpu
@pytest.mark.parametrize("home", ["cpu", "cuda"])
def test_batches_on_a_gpu_equal_those_on_the_cpu(home: str) -> None:
    data = image_set(50)
    there = replace(data, images=data.images.to(home), labels=data.labels.to(home))
    augment = Augment(1, True)
    on_cpu = batches(data, 8, generator=seeded(3), augment=augment)
    on_gpu = batches(there, 8, generator=seeded(3), augment=augment, device="cuda")
    for (x, y), (gx, gy) in zip(on_cpu, on_gpu, strict=True):
        assert gx.device.type == gy.device.type == "cuda"
        assert torch.equal(x, gx.cpu())
        assert torch.equal(y, gy.cpu())


def test_the_commonest_class_is_what_a_guess_gets() -> None:
    labels = torch.tensor([0, 2, 2, 1, 2])
    assert ImageSet(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels, ("a", "b", "c", "d"), "x").commonest == 0.6
