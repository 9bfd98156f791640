"""Pairs of digits: which scans they are made of, and that the parts share none."""

from __future__ import annotations

import torch

from robustsnn.data.digit_pairs import SIZES, digit_pairs
from robustsnn.data.digits import digits


def scans(images: torch.Tensor) -> set[bytes]:
    """Every 8x8 half of the images."""
    halves = torch.cat([images[..., :8], images[..., 8:]])
    return {half.contiguous().numpy().tobytes() for half in halves}


def test_each_half_is_a_scan_of_its_digit():
    pairs, single = digit_pairs(), digits()
    for part, source in zip(
        (pairs.train, pairs.validation, pairs.test), (single.train, single.validation, single.test), strict=True
    ):
        label_of = {image.numpy().tobytes(): int(y) for image, y in zip(source.images, source.labels, strict=True)}
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            left, right = (half.contiguous().numpy().tobytes() for half in (image[..., :8], image[..., 8:]))
            assert 10 * label_of[left] + label_of[right] == label
            assert part.classes[label] == f"{label_of[left]}{label_of[right]}"


def test_no_scan_of_one_part_is_in_another():
    single = digits()
    # The data set itself has no image twice, so that this is a statement about the split.
    assert len(scans(torch.cat([single.train.images, single.test.images], 0).repeat(1, 1, 1, 2))) == 1197 + 360
    pairs = digit_pairs()
    parts = [scans(part.images) for part in (pairs.train, pairs.validation, pairs.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_the_hundred_classes_are_equally_frequent_and_a_seed_repeats():
    pairs = digit_pairs(3)
    for part, size in zip((pairs.train, pairs.validation, pairs.test), SIZES, strict=True):
        assert part.images.shape == (size, 1, 8, 16)
        assert torch.bincount(part.labels, minlength=100).eq(size // 100).all()
    assert digit_pairs(3).test.fingerprint() == pairs.test.fingerprint()
    assert digit_pairs(4).test.fingerprint() != pairs.test.fingerprint()
