"""Who is still classified correctly under each kind of corruption at each strength."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustsnn.data.given import Data, image_set
from robustsnn.evaluation.judge import device_of
from robustsnn.ground.modes import frozen
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import derived
from robustsnn.ground.types import Images
from robustsnn.studies.corruptions.events import EVENTS
from robustsnn.studies.corruptions.images import IMAGES
from robustsnn.studies.corruptions.kinds import STRENGTHS, Kind
from robustsnn.studies.corruptions.record import Corruptions, OfKind
from robustsnn.studies.shared.checks import check_asked
from robustsnn.studies.shared.medians import accuracy, mean
from robustsnn.studies.shared.response import Response, probability
from robustsnn.studies.study import Summarised


@dataclass(frozen=True, eq=False)
class Corrupted(Summarised):
    """Hits of n images: `right` `[kinds, strengths, n]` and `clean` `[n]`.

    Args:
        pictures: the first image at all strengths, `[kinds, 1 + strengths, ...]`.
    """

    kinds: tuple[Kind, ...]
    clean: NDArray[np.bool_]
    right: NDArray[np.bool_]
    pictures: NDArray[np.float32]

    def record(self) -> Corruptions:
        """What is saved of it."""
        return Corruptions(
            len(self.clean),
            accuracy(self.clean),
            mean(self.right.mean((0, 1))),
            mean(self.clean - self.right.mean((0, 1))),
            tuple(map(mean, self.right.mean(0))),
            tuple(
                OfKind(kind.name, kind.family, kind.of, kind.amounts, mean(hits.mean(0)), tuple(map(accuracy, hits)))
                for kind, hits in zip(self.kinds, self.right, strict=True)
            ),
            self.pictures,
        )


def corruptions(
    model: nn.Module, data: Data, *, batch_size: int = 64, seed: int = 0, progress: Progress = silent
) -> Corrupted:
    """Accuracy under all kinds at all strengths: `IMAGES` for images, `EVENTS` for event frames.

    What an image draws derives from `seed`, the kind and its position in the data, so nothing depends on `batch_size`,
    and a stronger corruption is more of the same one. A network that draws random numbers is run one image at a time,
    in one realisation per image. One forward pass per image, kind and strength; model and torch's global generators are
    left as they were.

    Source of kinds and families: Hendrycks and Dietterich, ICLR 2019. Ours are made anew, see `IMAGES`.
    """
    check_asked(model, seed, progress, batch_size=(batch_size, 1))
    x, y = image_set(data).floats()
    device, kinds = device_of(model, x), IMAGES if x.ndim == 4 else EVENTS
    clean = np.zeros(len(x), bool)
    right = np.zeros((len(kinds), STRENGTHS, len(x)), bool)
    pictures = [[corrupted(kind, x, 0, strength, seed) for strength in range(1 + STRENGTHS)] for kind in kinds]
    with frozen(model):
        f = Response.of(model, probability, seed, x)
        size = 1 if f.alone else batch_size

        def hits(z: Tensor, at: int) -> NDArray[np.bool_]:
            return f(z.to(device), y[at : at + size].to(device), at)[1].cpu().numpy()

        for at in range(0, len(x), size):
            batch = x[at : at + size]
            here = slice(at, at + len(batch))
            clean[here] = hits(batch, at)
            for k, kind in enumerate(kinds):
                for s in range(STRENGTHS):
                    spoilt = [corrupted(kind, x, at + i, s + 1, seed) for i in range(len(batch))]
                    right[k, s, here] = hits(torch.from_numpy(np.stack(spoilt)), at)
            progress(min(at + size, len(x)), len(x), "corruptions")
    return Corrupted(kinds, clean, right, np.array(pictures))


def corrupted(kind: Kind, x: Images, at: int, strength: int, seed: int = 0) -> NDArray[np.float32]:
    """The image at position `at` of x, as `corruptions` shows it."""
    return kind(x[at].double().numpy(), strength, derived(seed, kind.name, at)).astype(np.float32)
