"""The 15 common corruptions of images of any size and number of channels.

Kinds and families are those of Hendrycks and Dietterich (ICLR 2019); how each is made, and how strong, is our own. So
figures compare within this library alone: not with CIFAR-10-C or ImageNet-C, whose constants fit one size of image and
whose frost is photographs.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from robustsnn.studies.corruptions.kinds import Image, Kind


def _side(x: Image) -> int:
    return min(x.shape[-2:])


def _displaced(x: Image, down: NDArray[np.float64], right: NDArray[np.float64]) -> Image:
    """Each pixel takes the value found so far down and right of it, bilinearly; beyond the border its nearest pixel."""
    from scipy.ndimage import map_coordinates

    rows, columns = np.indices(x.shape[-2:])
    at = np.broadcast_arrays(rows + down, columns + right)
    return np.stack([map_coordinates(channel, at, order=1, mode="nearest") for channel in x])


def _clouds(size: tuple[int, ...], rng: np.random.Generator) -> Image:
    """`[H, W]` from 0 to 1: noise whose amplitude falls with the square of the frequency."""
    down, right = (np.fft.fftfreq(n)[:, None] for n in size)
    frequency = np.maximum(np.hypot(down, right.T), 1 / max(size))
    found = np.fft.ifft2(np.fft.fft2(rng.standard_normal(size)) / frequency**2).real
    return (found - found.min()) / max(float(np.ptp(found)), 1e-12)


def gaussian(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Normal noise of deviation a on each entry."""
    return x + a * rng.standard_normal(x.shape)


def shot(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Photons counted, 1/a^2 of them for white: a^2 Poisson(x / a^2), of deviation a sqrt(x)."""
    return (a * a * rng.poisson(x / (a * a))).astype(float) if a else x


def impulse(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Each entry is black with chance a/2, and white with a/2."""
    drawn = rng.random(x.shape)
    return np.where(drawn < a / 2, 0.0, np.where(drawn >= 1 - a / 2, 1.0, x))


def defocus(x: Image, a: float, rng: np.random.Generator) -> Image:
    """The mean over a disc of radius a, whose points are read bilinearly."""
    from scipy.ndimage import convolve

    radius = a * _side(x)
    points, pixels = radius * np.linspace(-1, 1, 33), np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    weights = np.maximum(1 - np.abs(points[:, None] - pixels), 0)
    disc = weights.T @ (np.hypot(points[:, None], points) <= radius * 1.001) @ weights
    return np.stack([convolve(channel, disc / disc.sum(), mode="nearest") for channel in x])


def glass(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Each pixel shows a random place up to a away, down and right."""
    return _displaced(x, *(a * _side(x) * rng.uniform(-1, 1, (2, *x.shape[-2:]))))


def motion(x: Image, a: float, rng: np.random.Generator) -> Image:
    """The mean along a line of length a, in a random direction."""
    angle, length = rng.uniform(0, np.pi), a * _side(x)
    along = [length * (k / 8 - 0.5) for k in range(9)]
    return np.mean([_displaced(x, np.array(t * np.sin(angle)), np.array(t * np.cos(angle))) for t in along], 0)


def zoom(x: Image, a: float, rng: np.random.Generator) -> Image:
    """The mean of the image and its enlargements up to 1 + a, about the middle."""
    down, right = (i - (n - 1) / 2 for i, n in zip(np.indices(x.shape[-2:]), x.shape[-2:], strict=True))
    away = [1 / (1 + a * k / 8) - 1 for k in range(9)]
    return np.mean([_displaced(x, t * down, t * right) for t in away], 0)


def snow(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Flakes on a share a of the pixels, falling aslant by a tenth of a side, and a veil half as dense."""
    flakes = (rng.random((1, *x.shape[-2:])) < a).astype(float)
    fall = 0.1 * _side(x) * np.linspace(-1, 1, 5)
    streaks = np.max([_displaced(flakes, np.array(t), np.array(t / 2)) for t in fall], 0)
    return 1 - (1 - x) * (1 - a / 2) * (1 - 0.8 * streaks)


def frost(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Pale crystals of opacity a: the ridges of clouds, drawn and not photographed."""
    ridges = (1 - np.abs(2 * _clouds(x.shape[-2:], rng) - 1)) ** 2
    return x + a * ridges * (0.9 - x)


def fog(x: Image, a: float, rng: np.random.Generator) -> Image:
    """White clouds of opacity a/2 to a."""
    return x + a * (1 + _clouds(x.shape[-2:], rng)) / 2 * (1 - x)


def brightness(x: Image, a: float, rng: np.random.Generator) -> Image:
    """All entries higher by a."""
    return x + a


def contrast(x: Image, a: float, rng: np.random.Generator) -> Image:
    """A share a of the way to the mean of each channel."""
    return x + a * (x.mean((1, 2), keepdims=True) - x)


def elastic(x: Image, a: float, rng: np.random.Generator) -> Image:
    """A smooth random field moves pixels by up to a, down and right."""
    from scipy.ndimage import gaussian_filter

    side = _side(x)
    field = gaussian_filter(rng.uniform(-1, 1, (2, *x.shape[-2:])), (0, side / 8, side / 8))
    return _displaced(x, *(a * side * field / np.abs(field).max()))


def pixelate(x: Image, a: float, rng: np.random.Generator) -> Image:
    """A share a fewer rows and columns: the mean over blocks of pixels."""
    for axis in (1, 2):
        n = x.shape[axis]
        blocks = max(1, round(n * (1 - a)))
        first = -(-np.arange(blocks) * n // blocks)
        size = np.diff(first, append=n)
        means = np.add.reduceat(x, first, axis) / size.reshape(-1, *(1,) * (2 - axis))
        x = np.repeat(means, size, axis)
    return x


def jpeg(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Written as JPEG of quality 100 - a, and read; other than three channels each on its own."""
    from PIL import Image as Pillow  # comes with matplotlib

    def through(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = BytesIO()
        Pillow.fromarray(pixels).save(file, "JPEG", quality=round(100 - a))
        return np.asarray(Pillow.open(file))

    pixels = np.rint(255 * x).astype(np.uint8)
    if len(x) == 3:
        return through(np.ascontiguousarray(pixels.transpose(1, 2, 0))).transpose(2, 0, 1) / 255
    return np.stack([through(channel) for channel in pixels]) / 255


IMAGES = (
    Kind("gaussian noise", "noise", gaussian, (0.05, 0.1, 0.15, 0.2, 0.3), "deviation"),
    Kind("shot noise", "noise", shot, (0.1, 0.15, 0.25, 0.35, 0.5), "deviation at white"),
    Kind("impulse noise", "noise", impulse, (0.02, 0.05, 0.1, 0.15, 0.25), "share of entries"),
    Kind("defocus blur", "blur", defocus, (0.04, 0.06, 0.08, 0.11, 0.15), "radius"),
    Kind("glass blur", "blur", glass, (0.03, 0.05, 0.07, 0.1, 0.15), "distance"),
    Kind("motion blur", "blur", motion, (0.1, 0.15, 0.2, 0.3, 0.4), "length"),
    Kind("zoom blur", "blur", zoom, (0.1, 0.2, 0.3, 0.45, 0.6), "enlargement"),
    Kind("snow", "weather", snow, (0.03, 0.06, 0.1, 0.15, 0.2), "share of pixels"),
    Kind("frost", "weather", frost, (0.2, 0.35, 0.5, 0.65, 0.8), "opacity"),
    Kind("fog", "weather", fog, (0.2, 0.35, 0.5, 0.65, 0.8), "opacity"),
    Kind("brightness", "weather", brightness, (0.1, 0.15, 0.2, 0.3, 0.4), "added"),
    Kind("contrast", "digital", contrast, (0.3, 0.5, 0.65, 0.8, 0.9), "share taken"),
    Kind("elastic", "digital", elastic, (0.04, 0.06, 0.08, 0.11, 0.15), "distance"),
    Kind("pixelate", "digital", pixelate, (0.25, 0.4, 0.5, 0.6, 0.75), "share of rows and columns taken"),
    Kind("jpeg", "digital", jpeg, (50, 65, 75, 85, 92), "100 - quality"),
)
"""Of images, with our scale of strengths."""
