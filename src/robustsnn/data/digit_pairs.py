"""Two handwritten digits side by side: a hundred classes without a download."""

from __future__ import annotations

import torch

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.digits import digits

SIZES = (1600, 300, 300)
"""Pairs for training, validation and test: so many of each of the hundred classes, times a hundred."""


def digit_pairs(seed: int = 0) -> Splits:
    """Pairs of the scans of `digits`: images uint8 [N, 1, 8, 16], classes "00".."99", all equally frequent.

    Both scans of a pair are of the same part of `digits`, so none of a training pair is in a test pair; within a part
    a scan occurs in several pairs. `seed` draws the split (that of `digits`) and the pairs.
    """
    single = digits(seed)
    classes = tuple(f"{first}{second}" for first in single.train.classes for second in single.train.classes)
    parts = []
    for number, (part, size) in enumerate(zip((single.train, single.validation, single.test), SIZES, strict=True)):
        generator = torch.Generator().manual_seed(3 * seed + number)
        labels = torch.arange(100).repeat(size // 100)[torch.randperm(size, generator=generator)]
        halves = []
        for wanted in (labels // 10, labels % 10):
            chosen = torch.empty(size, dtype=torch.int64)
            for digit in range(10):
                scans = (part.labels == digit).nonzero()[:, 0]
                places = wanted == digit
                chosen[places] = scans[torch.randint(len(scans), (int(places.sum()),), generator=generator)]
            halves.append(part.images[chosen])
        parts.append(ImageSet(torch.cat(halves, dim=3), labels, classes, "digit_pairs"))
    train, validation, test = parts
    note = (
        f"{single.note} Pairs of scans of one part, side by side: {len(train)} for training, {len(validation)} for "
        f"validation, {len(test)} for test."
    )
    return Splits(train, validation, test, note)
