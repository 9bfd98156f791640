"""Handwritten digits that come with the package: real data without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.split import split
from robustsnn.ground.archives import read_arrays

SIZES = (1197, 240, 360)
"""Images for training, validation and test; together the 1,797 of the data set."""


def digits(seed: int = 0) -> Splits:
    """The 1,797 handwritten digits of 8x8 pixels: images uint8 [N, 1, 8, 8], classes "0".."9".

    Source: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, UCI, doi 10.24432/C50P49,
    CC BY 4.0), in the order of scikit-learn's `load_digits`. Its grey values 0..16 become 0..255. There is no official
    split of them; `seed` draws this one, stratified by class.
    """
    file = read_arrays(Path(__file__).with_suffix(".npz"))
    images = torch.from_numpy(np.rint(file["grey"] * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(file["digit"].astype(np.int64))
    everything = ImageSet(images, labels, tuple(str(digit) for digit in range(10)), "digits")
    train, validation, test = (everything.take(index) for index in split(len(everything), SIZES, seed, labels=labels))
    note = (
        f"scikit-learn's {len(everything)} digits, split by seed {seed} into {len(train)} training, "
        f"{len(validation)} validation and {len(test)} test images, stratified by class."
    )
    return Splits(train, validation, test, note)
