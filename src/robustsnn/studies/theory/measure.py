"""All theorems and propositions, asked of one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from robustsnn.data.batches import ImageSet
from robustsnn.encoders import rounds
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.studies.study import Task
from robustsnn.studies.theory.density import density_bound
from robustsnn.studies.theory.difference import finite_difference
from robustsnn.studies.theory.sharing import sharing
from robustsnn.studies.theory.signal import signal_to_noise

SAMPLES = 32
"""Of how many images the gradients are taken one by one."""


def theory(task: Task) -> dict[str, Any]:
    """What each says, or why it cannot be asked."""
    images = task.some(80, 4)
    images = images.take(min(SAMPLES, len(images)))
    model, options = task.model, {"rule": task.rule, "seed": task.seed}
    tell = [part(task.progress, before, weight, 8) for before, weight in ((0, 6), (6, 1), (7, 1))]
    return {
        **trade_off(model, images, progress=tell[0], **options),
        "difference": {
            "spiking": _asked(finite_difference, model, images, progress=tell[1], **options),
            # Smooth neurons behind an encoder that rounds are no smooth network.
            "smooth": {"refused": "the encoder rounds, so the network is not smooth whatever its neurons are"}
            if rounds(model)
            else _asked(finite_difference, model, images, smooth=True, progress=tell[2], **options),
        },
    }


def trade_off(model: nn.Module, images: ImageSet, *, progress: Progress = silent, **options: Any) -> dict[str, Any]:
    """Theorems 4.2 to 4.4 of the trail paper: "signal", "sharing" and "density", each found or refused."""
    tell = [part(progress, before, weight, 6) for before, weight in ((0, 4), (4, 1), (5, 1))]
    options["samples"] = min(SAMPLES, len(images))
    return {
        "signal": _asked(signal_to_noise, model, images, steps=(1, 2, 4, 8), progress=tell[0], **options),
        "sharing": _asked(sharing, model, images, progress=tell[1], **options),
        "density": _asked(density_bound, model, images, progress=tell[2], **options),
    }


def _asked(look: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """What was found, or what was refused and why: too few images, steps that are fixed, a rule without surrogate."""
    try:
        return look(*arguments, **options).to_dict()
    except UserError as error:
        return {"refused": str(error)}
