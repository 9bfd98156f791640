"""A data set."""

import torch

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.names import Entry


def blobs(seed: int = 0, noise: float = 0.1) -> Splits:
    """Grey images of 8x8 pixels, bright at the left, in the middle or at the right."""
    draws = torch.Generator().manual_seed(seed)
    parts = []
    for count in (96, 24, 30):
        labels = torch.arange(count) % 3
        images = noise * torch.rand(count, 1, 8, 8, generator=draws)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[:, :, 3 * label : 3 * label + 2] += 0.8
        grey = (255 * images).to(torch.uint8)
        parts.append(ImageSet(grey, labels, ("left", "middle", "right"), "blobs"))
    return Splits(*parts, f"blobs of seed {seed}")


blobs.entry = Entry(cite="W. Illow. Blobs. 2031", limits="Blobs say nothing about trees.")
