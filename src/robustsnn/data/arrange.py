"""Labelled images as files hold them, and the three parts that become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.split import split
from robustsnn.ground.errors import UserError


@dataclass(frozen=True, eq=False)
class ImagePart:
    """Images uint8 [N, C, H, W] or [N, T, C, H, W] and their labels int64 [N]; `place` is the file that holds them."""

    images: Tensor
    labels: Tensor
    place: str


def arrange(
    parts: Mapping[str, ImagePart],
    name: str,
    *,
    classes: Sequence[str] | None = None,
    levels: int = 255,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Splits:
    """Training, validation and test images of what was found.

    Args:
        parts: "train" and, if there are such, "validation" and "test".
        name: of the data set.
        classes: the names of labels 0, 1, ...; without them the labels that training images have are the classes, in
            their order (those of EMNIST's letters are 1 to 26).
        levels: see `ImageSet`.
        validation, test: how many images `seed` draws from the training images, stratified by class, where a part is
            missing; a tenth and a fifth of them if None.

    `UserError`, with the place: no image, one class alone, a label or a shape that training images do not have, or more
    images to draw than there are.
    """
    train, count = parts["train"], len(parts["train"].images)
    for part in parts.values():
        if len(part.labels) != len(part.images) or not part.images.numel():
            raise UserError(f"{part.place}: {len(part.images)} images and {len(part.labels)} labels; give one to each")
        if part.images.shape[1:] != train.images.shape[1:]:
            shapes = [list(one.images.shape[1:]) for one in (part, train)]
            raise UserError(f"{part.place}: images of shape {shapes[0]}, those of {train.place} have {shapes[1]}")
    known = train.labels.unique() if classes is None else torch.arange(len(classes))
    names = tuple(str(int(label)) for label in known) if classes is None else tuple(classes)
    if len(train.labels.unique()) < 2:
        raise UserError(f"{train.place}: all {count} images are of one class; a network is trained on two or more")
    made = {key: ImageSet(part.images, _ranks(part, known), names, name, levels) for key, part in parts.items()}

    drawn = {}
    for key, asked, share in (("validation", validation, 10), ("test", test, 5)):
        if key not in parts:
            drawn[key] = max(count // share, 1) if asked is None else asked
        elif asked is not None:
            raise UserError(f"{key} {asked} has no effect: {parts[key].place} holds {key} images; leave it out")
    for key, asked in drawn.items():
        most = max(count - sum(drawn.values()) + asked - 1, 0)
        if not 1 <= asked <= most:
            raise UserError(f"{key} {asked} is not allowed; give 1..{most} of the {count} images of {train.place}")
    everything = made["train"]
    if drawn:
        pieces = split(count, (count - sum(drawn.values()), *drawn.values()), seed, labels=everything.labels)
        made |= dict(zip(("train", *drawn), map(everything.take, pieces), strict=True))
    how = f"; {' and '.join(drawn)} drawn by seed {seed}, stratified by class" if drawn else ""
    note = (
        f"{name}: {len(made['train'])} for training, {len(made['validation'])} for validation and "
        f"{len(made['test'])} test images, of {len(names)} classes{how}."
    )
    return Splits(made["train"], made["validation"], made["test"], note)


def _ranks(part: ImagePart, known: Tensor) -> Tensor:
    """The place of each label among those that are known, ascending."""
    rank = torch.searchsorted(known, part.labels).clamp(max=len(known) - 1)
    wrong = (known[rank] != part.labels).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        span = f"{int(known[0])} to {int(known[-1])}"
        raise UserError(f"{part.place}: label {int(part.labels[first])} of image {first} is no class, these are {span}")
    return rank
