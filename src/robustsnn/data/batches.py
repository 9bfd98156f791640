"""Labelled images in memory, their splits, and the batches that training and attacks see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustsnn.data.augment import Augment
from robustsnn.data.split import split
from robustsnn.ground.door import check_whole
from robustsnn.ground.errors import UserError

__all__ = ["Augment", "ImageSet", "Splits", "batches", "split"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, or event frames, which are images with time.

    `images` is uint8 [N, C, H, W], or [N, T, C, H, W] for T event frames, with values in 0..`levels`; a pixel's value
    is image / levels, in [0, 1]. Grey values have levels 255, binary event frames 1, event counts what they are
    clipped at. Images on no levels are float32 of the same shapes, the values themselves. `labels` is int64 [N] with
    values in 0..len(classes)-1. `UserError` if a type, a shape, a length, a value or a label does not fit, or if there
    is no image at all.
    Two sets compare equal only if they are the same object; compare `fingerprint()` for content.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    levels: int = 255

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        for name, value in (("images", images), ("labels", labels)):
            if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type == "meta":
                kind = type(value).__name__
                raise UserError(f"{self.name}: {name} of type {kind}: give a dense tensor, torch.as_tensor({name})")
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            raise UserError(f"{self.name}: classes={self.classes!r:.60}: give a tuple of names, ('cat', 'dog')")
        check_whole(f"{self.name}: levels", self.levels, most=255)
        if images.dtype not in (torch.uint8, torch.float32) or images.ndim not in (4, 5):
            raise UserError(
                f"{self.name}: images are {_describe(images)}; give uint8, or float32 in [0, 1], of shape [N, C, H, W] "
                f"or [N, T, C, H, W]"
            )
        if labels.dtype != torch.int64 or labels.ndim != 1:
            raise UserError(f"{self.name}: labels are {_describe(labels)}; give int64 of shape [N]")
        if len(images) != len(labels):
            raise UserError(f"{self.name}: {len(images)} images but {len(labels)} labels; give one label per image")
        if images.numel() == 0:
            raise UserError(f"{self.name}: no images (shape {list(images.shape)}); give at least one")
        if images.is_floating_point() and not bool(((images >= 0) & (images <= 1)).all()):
            raise UserError(
                f"{self.name}: images span [{images.min().item():.4g}, {images.max().item():.4g}]; give pixels in "
                f"[0, 1] and normalise inside the model"
            )
        if not 1 <= self.levels <= 255 or (self.levels < 255 and int(images.max()) > self.levels):
            raise UserError(
                f"{self.name}: values up to {int(images.max())} on a scale of levels={self.levels}; "
                f"give levels in 1..255, and no value above it"
            )
        wrong = ((labels < 0) | (labels >= len(self.classes))).nonzero()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"{self.name}: label {int(labels[first])} of image {first} is outside "
                f"0..{len(self.classes) - 1}; correct it or add its class"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image, or (T, C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def commonest(self) -> float:
        """The share of the class with most images: what always guessing it would get."""
        return int(self.labels.bincount().max()) / len(self)

    def take(self, which: int | Sequence[int] | Tensor) -> ImageSet:
        """The first `which` images if it is a number, else the images at these indices, in this order.

        `UserError` if that is none, more than there are, or an index outside 0..N-1.
        """
        if isinstance(which, int):
            check_whole(f"{self.name}: images to take", which)
            if not 1 <= which <= len(self):
                raise UserError(f"{self.name}: cannot take {which} images; allowed are 1..{len(self)}")
            which = torch.arange(which)
        try:
            index = torch.as_tensor(which, device=self.labels.device)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise UserError(f"{self.name}: {which!r:.60} is no list of indices; give integers, [0, 2]") from None
        if index.ndim != 1 or len(index) == 0 or index.is_floating_point() or index.dtype == torch.bool:
            raise UserError(f"{self.name}: indices are {_describe(index)}; give integers of shape [n], n >= 1")
        index = index.long()
        wrong = index[(index < 0) | (index >= len(self))]
        if len(wrong):
            raise UserError(f"{self.name}: index {int(wrong[0])} is outside 0..{len(self) - 1}; leave it out")
        return replace(self, images=self.images[index], labels=self.labels[index])

    def floats(self, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        """(x, y) on `device`: x float32 in [0, 1], images / levels where they have levels, y int64 [N]."""
        images = self.images.to(device)
        if images.is_floating_point():
            return images, self.labels.to(device)
        # Dividing by a tensor on the device, not by a Python number: CUDA kernels replace the latter by a
        # multiplication with 1/255, and then a GPU and a CPU would see different images.
        return images.float() / torch.tensor(float(self.levels), device=images.device), self.labels.to(device)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the images and labels, shape and levels included; names do not count."""
        scale = "" if self.levels == 255 else f" of {self.levels} levels"
        digest = hashlib.sha256(f"{list(self.images.shape)}{scale}".encode())
        for some in self.images.split(4096):  # images may be larger than memory
            digest.update(some.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().contiguous().numpy().astype("<i8").data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint sets of the same kind of image. `note` says in one sentence how they were made."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    note: str

    def __post_init__(self) -> None:
        for part in (self.validation, self.test):
            kinds = [(data.shape, data.classes, data.levels) for data in (part, self.train)]
            if kinds[0] != kinds[1]:
                raise UserError(
                    f"{self.train.name}: training images of shape {self.train.shape} in "
                    f"{len(self.train.classes)} classes with {self.train.levels} levels, others of {part.shape} in "
                    f"{len(part.classes)} with {part.levels}; give every part the same"
                )


def batches(
    data: ImageSet,
    size: int,
    *,
    generator: torch.Generator | None = None,
    augment: Augment | None = None,
    device: torch.device | str | None = None,
    rows: Callable[[int], slice] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over `data` in batches (x float32 [B, ...] in [0, 1], y int64 [B]) on `device`.

    In order without `generator`, else shuffled by it; it also draws what `augment` needs. The last
    batch holds what is left, so B <= `size`. The same generator state gives the same batches. With `rows`, which
    says what to keep of a batch of B, only that is handed out; the draws are those of the whole batch.
    `UserError` at once if `size` < 1 or if there is an `augment` without a `generator`.
    """
    if size < 1:
        raise UserError(f"batch size {size} is not allowed; give 1 or more")
    if augment is not None and generator is None:
        raise UserError("augment without a generator; give the torch.Generator to draw crops and flips from")
    order = torch.arange(len(data))
    if generator is not None:
        order = torch.randperm(len(data), generator=generator, device=generator.device)
    return _walk(data, order.to(data.labels.device), size, generator, augment, device, rows)


def _walk(
    data: ImageSet,
    order: Tensor,
    size: int,
    generator: torch.Generator | None,
    augment: Augment | None,
    device: torch.device | str | None,
    rows: Callable[[int], slice] | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    for index in order.split(size):
        x, y = data.take(index).floats(device)
        if augment is not None and generator is not None:
            x = augment(x, generator=generator)
        kept = slice(None) if rows is None else rows(len(x))
        yield x[kept], y[kept]


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"
