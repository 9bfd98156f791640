"""What a corruption is: a change of one image by one amount, and the amounts of its five strengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.float64]
"""One image `[C, H, W]`, or event frames `[T, 2, H, W]`, in [0, 1]."""
STRENGTHS = 5


@dataclass(frozen=True)
class Kind:
    """A kind of corruption.

    Args:
        change: image, amount, random numbers -> image. Amount 0 changes nothing (of jpeg: what quality 100 does).
        amounts: those of strength 1 to 5, rising.
        of: what the amount is. Lengths are in shorter sides of the image, so that all sizes are corrupted alike.
    """

    name: str
    family: str
    change: Callable[[Image, float, np.random.Generator], Image]
    amounts: tuple[float, float, float, float, float]
    of: str

    def __call__(self, image: Image, strength: int, seed: int) -> Image:
        """The image at strength 1 to 5, cut to [0, 1]; at 0 itself. Of one seed all strengths draw the same numbers."""
        if not strength:
            return image
        return np.clip(self.change(image, self.amounts[strength - 1], np.random.default_rng(seed)), 0, 1)
