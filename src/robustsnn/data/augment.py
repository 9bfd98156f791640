"""Random crops, flips, circular shifts and holes of a batch, without a loop over its images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustsnn.ground.errors import UserError


@dataclass(frozen=True)
class Augment:
    """What is done to each image, in this order; all channels and time steps of an image move together.

    1. A shift by up to `crop` pixels: zero-padding of `crop` pixels on every side, then a crop of the old
       size at an offset that is uniform on 0..2*crop in each direction.
    2. With `flip`, a left-right mirroring with probability 0.5.
    3. A circular shift that is uniform on -roll..roll in each direction.
    4. A square of `cutout` pixels a side is set to zero, at a place uniform among those inside the image
       (DeVries and Taylor 2017 let it hang over the edge). For event frames: a region without events.
    """

    crop: int = 0
    flip: bool = False
    roll: int = 0
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise UserError(f"crop {self.crop} is not allowed; give the padding in pixels, 0 for none")
        if self.roll < 0 or self.cutout < 0:
            raise UserError(f"roll {self.roll}, cutout {self.cutout}; give pixels of 0 or more, 0 for none")

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Augmented copy of x [B, ..., H, W], same shape and device; `x` itself if nothing is asked for.

        The draws are made on the generator's device, whichever it is: crops [2, B] (down, right), flips
        [B], shifts [2, B], places of the squares [B] down, then [B] right; none of what is not asked for.
        `UserError` if the square is larger than the image.
        """
        if self == Augment():
            return x
        count, height, width = len(x), *x.shape[-2:]
        if self.cutout > min(height, width):
            raise UserError(f"cutout {self.cutout} of images of {height}x{width} pixels; give at most the smaller side")
        rows = torch.arange(height, device=x.device).expand(count, height)
        columns = torch.arange(width, device=x.device).expand(count, width)
        down = right = torch.zeros(count, 1, dtype=torch.long, device=x.device)
        mirrored = torch.zeros(count, 1, dtype=torch.bool, device=x.device)
        if self.crop:
            drawn = _randint(2 * self.crop + 1, (2, count), generator).to(x.device)
            down, right = drawn[0, :, None], drawn[1, :, None]
        if self.flip:
            mirrored = _randint(2, (count, 1), generator).to(x.device).bool()
        # Where each pixel comes from: backwards from the last step.
        if self.roll:
            drawn = _randint(2 * self.roll + 1, (2, count), generator).to(x.device) - self.roll
            rows, columns = (rows - drawn[0, :, None]) % height, (columns - drawn[1, :, None]) % width
        columns = torch.where(mirrored, width - 1 - columns, columns)
        padded = pad(x.reshape(count, -1, height, width), [self.crop] * 4)
        image = torch.arange(count, device=x.device)[:, None, None]
        # Indexing around the channel slice puts the channels last.
        picked = padded[image, :, (rows + down)[:, :, None], (columns + right)[:, None, :]].movedim(-1, 1)
        if self.cutout:
            tall, wide = (
                _hole(side, self.cutout, _randint(side - self.cutout + 1, (count, 1), generator).to(x.device))
                for side in (height, width)
            )
            picked = picked.masked_fill((tall[:, :, None] & wide[:, None, :])[:, None], 0)
        return picked.contiguous().reshape(x.shape)


def _hole(side: int, length: int, start: Tensor) -> Tensor:
    """bool [B, side]: the `length` pixels from `start` [B, 1]."""
    place = torch.arange(side, device=start.device)
    return (place >= start) & (place < start + length)


def _randint(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(high, shape, generator=generator, device=generator.device)
