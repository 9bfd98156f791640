"""Drawn images: ten classes of texture and shape, as many as wanted, without a download."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Annotated

import torch
from torch import Tensor

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.ground.errors import UserError
from robustsnn.ground.memory import check_fits
from robustsnn.ground.ranges import Count, Seed, Within

SIDE = 32  # pixels
Many = Annotated[int, Within(least=1, most=1_000_000)]

# The image spans -1..1 in both directions; y points down.
_Y, _X = torch.meshgrid(*[(torch.arange(SIDE, dtype=torch.float64) + 0.5) * (2 / SIDE) - 1] * 2, indexing="ij")


class _Draw:
    """Uniform random numbers for `count` images, shaped to broadcast over their pixels."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count = count
        self.generator = generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float64 [count, *shape], [count, 1, 1] by default."""
        unit = torch.rand(self.count, *(shape or (1, 1)), generator=self.generator, dtype=torch.float64)
        return low + (high - low) * unit

    def sign(self) -> Tensor:
        return torch.where(self.uniform(-1, 1) < 0, -1.0, 1.0)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator, dtype=torch.float64)

    def centred(self, reach: float) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (x, y) about a random point at most `reach` off the middle."""
        return _X - self.uniform(-reach, reach), _Y - self.uniform(-reach, reach)


def _turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def _inside(distance: Tensor) -> Tensor:
    """1 where the distance to an outline is negative, 0 outside, with an edge of about a pixel."""
    return torch.sigmoid(-distance / 0.02)


def _wave(along: Tensor, draw: _Draw) -> Tensor:
    """Sine of random period (5 to 11 pixels) and phase."""
    period = draw.uniform(5, 11) * (2 / SIDE)
    return (2 * pi * (along / period + draw.uniform(0, 1))).sin()


def _stripes(draw: _Draw, angle: Tensor | float) -> Tensor:
    along, _ = _turned(_X, _Y, angle + draw.uniform(-pi / 15, pi / 15))
    return torch.sigmoid(_wave(along, draw) * draw.uniform(2, 12))


def _checkerboard(draw: _Draw) -> Tensor:
    x, y = _turned(_X, _Y, draw.uniform(-pi / 12, pi / 12))
    return torch.sigmoid(_wave(x, draw) * _wave(y, draw) * draw.uniform(4, 24))


def _disc(draw: _Draw) -> Tensor:
    x, y = draw.centred(0.4)
    return _inside(x.hypot(y) - draw.uniform(0.25, 0.6))


def _ring(draw: _Draw) -> Tensor:
    x, y = draw.centred(0.35)
    width = draw.uniform(0.06, 0.12)
    return _inside((x.hypot(y) - draw.uniform(0.35, 0.65)).abs() - width)


def _square(draw: _Draw) -> Tensor:
    x, y = _turned(*draw.centred(0.4), draw.uniform(-pi / 4, pi / 4))
    return _inside(torch.maximum(x.abs(), y.abs()) - draw.uniform(0.25, 0.5))


def _triangle(draw: _Draw) -> Tensor:
    x, y = draw.centred(0.35)
    first = draw.uniform(0, 2 * pi)
    sides = [_turned(x, y, first + third * 2 * pi / 3)[0] for third in range(3)]
    return _inside(torch.stack(sides).amax(0) - draw.uniform(0.2, 0.38))


def _gradient(draw: _Draw) -> Tensor:
    along, _ = _turned(_X, _Y, draw.uniform(0, 2 * pi))
    return torch.sigmoid((along - draw.uniform(-0.4, 0.4)) * draw.uniform(1.5, 4))


def _blobs(draw: _Draw) -> Tensor:
    """Three to seven small discs, which may touch."""
    count = draw.uniform(3, 8)
    distances = []
    for number in range(7):
        x, y = draw.centred(0.8)
        distance = x.hypot(y) - draw.uniform(0.1, 0.2)
        distances.append(torch.where(number < count.floor(), distance, torch.inf))
    return _inside(torch.stack(distances).amin(0))


_MASKS: dict[str, Callable[[_Draw], Tensor]] = {
    "horizontal stripes": lambda draw: _stripes(draw, pi / 2),
    "vertical stripes": lambda draw: _stripes(draw, 0.0),
    "diagonal stripes": lambda draw: _stripes(draw, draw.sign() * pi / 4),
    "checkerboard": _checkerboard,
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "gradient": _gradient,
    "blobs": _blobs,
}


def procedural(
    n_train: Many = 10_000, n_validation: Many = 1_000, n_test: Many = 2_000, classes: Count = 10, seed: Seed = 0
) -> Splits:
    """Drawn images uint8 [N, 3, 32, 32] of the first `classes` (2 to 10) of ten textures and shapes.

    Each has two random colours, a random place, size, phase and angle where its class has one, an
    uneven light and noise. Classes take turns, so that every part is balanced. The parts are drawn
    from separate seeds derived from `seed`: they share no image, and the size of one does not change
    another. `UserError` if a size is below 1 or `classes` is not in 2..10.
    """
    if not 2 <= classes <= len(_MASKS):
        raise UserError(f"classes {classes} is not allowed; give 2..{len(_MASKS)}")
    parts: list[ImageSet] = []
    # Drawn in float64, several such arrays at a time.
    check_fits(max(n_train, n_validation, n_test) * SIDE**2 * 8 * 8, "drawing images", "n_train, n_validation, n_test")
    for part, count in enumerate((n_train, n_validation, n_test)):
        if count < 1:
            raise UserError(f"{count} images are not allowed; give n_train, n_validation and n_test of 1 or more")
        parts.append(_set(count, classes, (4 * seed + part) % 2**63))
    note = (
        f"procedural images of {classes} classes drawn with seed {seed}: {n_train} for training, "
        f"{n_validation} for validation and {n_test} for testing, each from its own random stream."
    )
    train, validation, test = parts
    return Splits(train, validation, test, note)


def _set(count: int, classes: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8)
    for label, mask in enumerate(list(_MASKS.values())[:classes]):
        mine = labels == label
        images[mine] = _paint(mask, _Draw(int(mine.sum()), generator))
    return ImageSet(images, labels, tuple(_MASKS)[:classes], "procedural")


def _paint(mask: Callable[[_Draw], Tensor], draw: _Draw) -> Tensor:
    """Images uint8 [count, 3, 32, 32]: a mask's two sides in two colours, under uneven light and noise."""
    shape = mask(draw).unsqueeze(1)  # [count, 1, 32, 32]
    back = draw.uniform(0, 1, 3, 1, 1)
    # The least like the background of three random colours, then some of the way back to it.
    candidates = draw.uniform(0, 1, 3, 3, 1, 1)
    furthest = (candidates - back[:, None]).abs().sum((2, 3, 4)).argmax(1)
    front = candidates[torch.arange(draw.count), furthest]
    front = back + (front - back) * draw.uniform(0.4, 1, 1, 1, 1)
    along, _ = _turned(_X, _Y, draw.uniform(0, 2 * pi))
    light = (draw.uniform(0, 0.15) * along).unsqueeze(1)
    noise = draw.uniform(0.02, 0.12, 1, 1, 1) * draw.normal(3, SIDE, SIDE)
    image = back + (front - back) * shape + light + noise
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
