from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from robustsnn.data.digits import digits


@pytest.mark.parametrize("seed", [0, 7])
def test_parts_hold_every_scan_once_and_unchanged(seed: int) -> None:
    splits = digits(seed)
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [1197, 240, 360]
    assert all(part.shape == (1, 8, 8) for part in parts)
    images = torch.cat([part.images for part in parts]).flatten(1).numpy()
    labels = torch.cat([part.labels for part in parts]).numpy()
    grey, target = load_digits(return_X_y=True)
    # The 17 grey levels are 15.9 apart, so that rounding back is exact.
    ours = np.column_stack([np.rint(images / 255 * 16), labels])
    theirs = np.column_stack([grey, target])
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    assert (images.min(), images.max()) == (0, 255)


def test_every_part_has_the_classes_in_proportion() -> None:
    splits = digits()
    _, target = load_digits(return_X_y=True)
    for part in (splits.train, splits.validation, splits.test):
        share = np.bincount(target) * len(part) / len(target)
        assert np.abs(np.bincount(part.labels.numpy()) - share).max() <= 1


def test_seed_fixes_the_split_and_the_note_states_it() -> None:
    assert digits(3).train.fingerprint() == digits(3).train.fingerprint()
    assert digits(3).train.fingerprint() != digits(4).train.fingerprint()
    note = digits(3).note
    for stated in ("seed 3", "1197", "240", "360", "stratified"):
        assert stated in note
