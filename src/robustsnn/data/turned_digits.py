"""Handwritten digits, some of them turned by a quarter: twenty classes without a download."""

from __future__ import annotations

import torch

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.digits import digits


def turned_digits(seed: int = 0) -> Splits:
    """The scans of `digits`, half of each digit's turned counterclockwise: classes "0".."9", "0 turned".."9 turned".

    Images uint8 [N, 1, 8, 8] and split are those of `digits`; which scans are turned is drawn from `seed`. Every scan
    occurs once.
    """
    single = digits(seed)
    classes = (*single.train.classes, *(f"{name} turned" for name in single.train.classes))
    parts = []
    for number, part in enumerate((single.train, single.validation, single.test)):
        generator = torch.Generator().manual_seed(3 * seed + number)
        turned = torch.zeros(len(part), dtype=torch.bool)
        for digit in range(10):
            scans = (part.labels == digit).nonzero()[:, 0]
            turned[scans[torch.randperm(len(scans), generator=generator)[: len(scans) // 2]]] = True
        images = torch.where(turned[:, None, None, None], part.images.rot90(1, (2, 3)), part.images)
        parts.append(ImageSet(images, part.labels + 10 * turned, classes, "turned_digits"))
    note = f"{single.note} Half of the scans of each digit are turned by a quarter, which makes a class of their own."
    train, validation, test = parts
    return Splits(train, validation, test, note)
