"""A picture as a panel of pixels: an image as it is, event frames beside each other in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

LARGEST_SIDE = 64
MAGNIFY = 10
_BLUE, _WHITE, _ORANGE = (0.0, 0.447, 0.698), (1.0, 1.0, 1.0), (0.835, 0.369, 0.0)
_GUTTER = 0.75  # grey of the lines between frames


def has_frames(picture: np.ndarray) -> bool:
    """Whether a picture is event frames `[T, 2, H, W]` and no image `[C, H, W]`."""
    return picture.ndim == 4


def shown(picture: np.ndarray) -> np.ndarray:
    """The picture itself, `[1 or 3, h, w]`: of event frames on is orange, off blue, nothing white."""
    return _frames(_small(picture), _polarity) if has_frames(picture) else _small(picture)


def change(adversarial: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The difference times `MAGNIFY` around mid-grey; of event frames orange for added events, blue for taken."""
    moved = _small(adversarial) - _small(clean)
    if not has_frames(clean):
        return 0.5 + MAGNIFY * moved
    return _frames(moved, lambda frame: coloured(MAGNIFY * frame.sum(axis=0)))


def diverging(gradient: np.ndarray) -> np.ndarray:
    """The sum over channels, blue below 0, white at 0, orange above; the ends are its largest magnitude."""
    small = _small(gradient)
    largest = np.abs(small.sum(axis=-3)).max() or 1.0
    paint = lambda part: coloured(part.sum(axis=0) / largest)  # noqa: E731
    return _frames(small, paint) if has_frames(gradient) else paint(small)


def is_reduced(picture: np.ndarray) -> bool:
    """Whether lines of the picture are left out."""
    return max(picture.shape[-2:]) > _most(picture)


def _most(picture: np.ndarray) -> int:
    """Pixels per side that fit: event frames share the place of four images."""
    return LARGEST_SIDE if picture.ndim < 4 else LARGEST_SIDE // 2


def _small(picture: np.ndarray) -> np.ndarray:
    """At most so many pixels a side, by leaving lines out; what is not a number becomes 0."""
    step = -(-max(picture.shape[-2:]) // _most(picture))
    return np.nan_to_num(picture[..., ::step, ::step].astype(np.float64))


def _polarity(frame: np.ndarray) -> np.ndarray:
    off, on = np.clip(frame, 0, 1)
    white = np.array(_WHITE)[:, None, None]
    painted = white + on * (np.array(_ORANGE)[:, None, None] - white) + off * (np.array(_BLUE)[:, None, None] - white)
    return np.clip(painted, 0, 1)


def coloured(values: np.ndarray) -> np.ndarray:
    """`[3, ...]` of values in [-1, 1]: blue over white to orange."""
    return np.stack([np.interp(values, (-1, 0, 1), ends) for ends in zip(_BLUE, _WHITE, _ORANGE, strict=True)])


def tiled(panels: Sequence[np.ndarray], rows: int, gutter: float = _GUTTER) -> np.ndarray:
    """Panels `[C, h, w]` on one sheet, from left to right and down, with a line of `gutter` between them."""
    columns = -(-len(panels) // rows)
    channels, height, width = panels[0].shape
    sheet = np.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), gutter)
    for k, panel in enumerate(panels):
        top, left = (k // columns) * (height + 1), (k % columns) * (width + 1)
        sheet[:, top : top + height, left : left + width] = panel
    return sheet


def _frames(frames: np.ndarray, paint: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Painted frames in two rows, one for three frames or fewer."""
    return tiled([paint(frame) for frame in frames], rows=1 if len(frames) < 4 else 2)
