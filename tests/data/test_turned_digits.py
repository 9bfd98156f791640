"""Turned digits: which scans they are, and that they are split as the digits are."""

from __future__ import annotations

import torch

from robustsnn.data.digits import digits
from robustsnn.data.turned_digits import turned_digits


def test_each_image_is_its_scan_and_turned_where_its_class_says_so():
    turned, single = turned_digits(), digits()
    for part, source in zip(
        (turned.train, turned.validation, turned.test), (single.train, single.validation, single.test), strict=True
    ):
        back = torch.where((part.labels >= 10)[:, None, None, None], part.images.rot90(-1, (2, 3)), part.images)
        assert torch.equal(back, source.images)
        assert torch.equal(part.labels % 10, source.labels)
        for digit in range(10):
            mine = part.labels[source.labels == digit]
            assert int((mine >= 10).sum()) == len(mine) // 2
    assert turned.train.classes[3] == "3"
    assert turned.train.classes[13] == "3 turned"


def test_a_quarter_is_counterclockwise():
    part = turned_digits().train
    at = int((part.labels >= 10).nonzero()[0, 0])
    scan = digits().train.images[at, 0]
    assert torch.equal(part.images[at, 0, -1], scan[:, 0])  # the left column, from the top, becomes the last row


def test_the_seed_decides_which_are_turned():
    assert turned_digits(3).test.fingerprint() == turned_digits(3).test.fingerprint()
    assert turned_digits(4).test.fingerprint() != turned_digits(3).test.fingerprint()
