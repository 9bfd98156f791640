"""Images with a black border, for networks that halve them more often than their size allows."""

from __future__ import annotations

from dataclasses import replace

from torch.nn.functional import pad

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.ground.errors import UserError
from robustsnn.ground.memory import check_fits


def padded(data: Splits, side: int) -> Splits:
    """The same images in the middle of `side` x `side` pixels, zero around; an odd pixel is below and on the right.

    The border is part of the image: an attack may change it. `UserError` if an image is larger.
    """
    height, width = data.train.shape[-2:]
    if max(height, width) > side:
        raise UserError(f"pad={side} of images of {height}x{width} pixels; give at least {max(height, width)}")
    top, left = (side - height) // 2, (side - width) // 2
    border = (left, side - width - left, top, side - height - top)
    parts = (data.train, data.validation, data.test)
    total = sum(part.images.numel() for part in parts)
    check_fits(total / (height * width) * side**2, f"padding images to {side}x{side} pixels", "data.pad")

    def around(part: ImageSet) -> ImageSet:
        return replace(part, images=pad(part.images, border))

    train, validation, test = map(around, parts)
    return Splits(train, validation, test, f"{data.note} Padded from {height}x{width} to {side}x{side} pixels.")
