"""Random crops and flips of a batch, without a loop over its images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustsnn.errors import UserError


@dataclass(frozen=True)
class Augment:
    """Shift each image by up to `crop` pixels and mirror it left-right with probability 0.5 if `flip`.

    A shift is a zero-padding of `crop` pixels on every side and a crop of the old size at an offset
    that is uniform on 0..2*crop in each direction, drawn for each image.
    """

    crop: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise UserError(f"crop {self.crop} is not allowed; give the padding in pixels, 0 for none")

    def __call__(self, x: Tensor, *, generator: torch.Generator) -> Tensor:
        """Augmented copy of x [B, C, H, W], same shape and device; `x` itself if nothing is asked for.

        The draws are made on the generator's device, whichever it is, first crops [2, B] (down,
        right), then flips [B].
        """
        if self.crop == 0 and not self.flip:
            return x
        count, _, height, width = x.shape
        rows = torch.arange(height, device=x.device).expand(count, height)
        columns = torch.arange(width, device=x.device).expand(count, width)
        down = right = torch.zeros(count, 1, dtype=torch.long, device=x.device)
        if self.crop:
            drawn = _randint(2 * self.crop + 1, (2, count), generator).to(x.device)
            down, right = drawn[0, :, None], drawn[1, :, None]
        if self.flip:
            mirrored = _randint(2, (count, 1), generator).to(x.device).bool()
            columns = torch.where(mirrored, width - 1 - columns, columns)
        padded = pad(x, [self.crop] * 4)
        image = torch.arange(count, device=x.device)[:, None, None]
        # Indexing around the channel slice puts the channels last.
        picked = padded[image, :, (rows + down)[:, :, None], (columns + right)[:, None, :]]
        return picked.permute(0, 3, 1, 2).contiguous()


def _randint(high: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(high, shape, generator=generator, device=generator.device)
