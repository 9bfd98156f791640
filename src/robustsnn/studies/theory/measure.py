"""All theorems and propositions, asked of one network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from robustsnn.data.batches import ImageSet
from robustsnn.encoders import rounds
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.studies.study import Found, Task
from robustsnn.studies.theory.density import density_bound
from robustsnn.studies.theory.difference import finite_difference
from robustsnn.studies.theory.record import DifferenceRecord, Refused, Theory
from robustsnn.studies.theory.sharing import sharing
from robustsnn.studies.theory.signal import signal_to_noise

SAMPLES = 32
"""Of how many images the gradients are taken one by one."""


def theory(task: Task) -> Theory:
    """What each says, or why it cannot be asked."""
    images = task.some(80, 4)
    images = images.take(min(SAMPLES, len(images)))
    model, options = task.model, {"rule": task.rule, "seed": task.seed}
    tell = [part(task.progress, before, weight, 8) for before, weight in ((0, 6), (6, 1), (7, 1))]
    found = trade_off(model, images, progress=tell[0], **options)
    spiking = _asked(_difference, model, images, progress=tell[1], **options)
    # Smooth neurons behind an encoder that rounds are no smooth network.
    smooth = (
        Refused("the encoder rounds, so the network is not smooth whatever its neurons are")
        if rounds(model)
        else _asked(_difference, model, images, smooth=True, progress=tell[2], **options)
    )
    return replace(found, difference={"spiking": spiking, "smooth": smooth})


def trade_off(model: nn.Module, images: ImageSet, *, progress: Progress = silent, **options: Any) -> Theory:
    """Theorems 4.2 to 4.4 of the trail paper alone."""
    tell = [part(progress, before, weight, 6) for before, weight in ((0, 4), (4, 1), (5, 1))]
    options["samples"] = min(SAMPLES, len(images))
    return Theory(
        _asked(signal_to_noise, model, images, steps=(1, 2, 4, 8), progress=tell[0], **options),
        _asked(sharing, model, images, progress=tell[1], **options),
        _asked(density_bound, model, images, progress=tell[2], **options),
    )


def _difference(*arguments: Any, **options: Any) -> DifferenceRecord:
    return finite_difference(*arguments, **options).record()


def _asked(look: Callable[..., Found], *arguments: Any, **options: Any) -> Found | Refused:
    try:
        return look(*arguments, **options)
    except UserError as error:
        return Refused(str(error))
