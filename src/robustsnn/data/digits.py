"""Handwritten digits that come with scikit-learn: real data without a download."""

from __future__ import annotations

import numpy as np
import torch

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.split import split

SIZES = (1197, 240, 360)
"""Images for training, validation and test; together the 1,797 of the data set."""


def digits(seed: int = 0) -> Splits:
    """The 1,797 handwritten digits of 8x8 pixels: images uint8 [N, 1, 8, 8], classes "0".."9".

    Source: scikit-learn's `load_digits`, the test part of "Optical Recognition of Handwritten Digits"
    (Alpaydin & Kaynak, UCI). Its grey values 0..16 become 0..255. There is no official split of them;
    `seed` draws this one, stratified by class.
    """
    from sklearn.datasets import load_digits  # here: importing it takes about a second

    grey, target = load_digits(return_X_y=True)
    images = torch.from_numpy(np.rint(grey * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(target.astype(np.int64))
    everything = ImageSet(images, labels, tuple(str(digit) for digit in range(10)), "digits")
    train, validation, test = (everything.take(index) for index in split(len(everything), SIZES, seed, labels=labels))
    note = (
        f"scikit-learn's {len(everything)} digits, split by seed {seed} into {len(train)} training, "
        f"{len(validation)} validation and {len(test)} test images, stratified by class."
    )
    return Splits(train, validation, test, note)
