"""The saved pictures of a run, `samples.npz`, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustsnn.ground.archives import read_arrays
from robustsnn.ground.errors import UserError
from robustsnn.reporting.spikes import LayerSpikes, read_layers

_PICTURES = ("image", "adversarial", "gradient")
_SHARES = ("probability", "probability_adversarial")
_INTEGERS = ("label", "predicted", "predicted_adversarial", "index")


@dataclass(frozen=True)
class Samples:
    """K images with their attack: pictures are [K, C, H, W], or [K, T, 2, H, W] of event frames, the integers [K].

    The probabilities of all classes are [K, classes], before and after; None, like layers (), in older files.
    """

    image: np.ndarray
    adversarial: np.ndarray
    gradient: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    predicted_adversarial: np.ndarray
    index: np.ndarray
    classes: list[str]
    attack: str
    eps: float | None
    space: str
    probability: np.ndarray | None = None
    probability_adversarial: np.ndarray | None = None
    layers: Sequence[LayerSpikes] = ()

    def class_name(self, number: int) -> str:
        """The name of a class; its number where no name was saved."""
        return self.classes[number] if 0 <= number < len(self.classes) else str(number)


def read_samples(path: Path) -> Samples:
    """Read `path` without unpickling. Raises `UserError`, naming the file, where it is not as saved."""
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); evaluate the run again") from error
    missing = [name for name in (*_PICTURES, *_INTEGERS) if name not in arrays]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; evaluate the run again")
    shape = arrays["image"].shape
    fits = min(shape, default=0) > 0 and (len(shape), *shape[-3:-2]) in ((4, 1), (4, 3), (5, 2))
    for name in _PICTURES:
        fits = fits and arrays[name].shape == shape and arrays[name].dtype.kind == "f"
    for name in _INTEGERS:
        fits = fits and arrays[name].shape == shape[:1] and arrays[name].dtype.kind in "iu"
    if not fits:
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in (*_PICTURES, *_INTEGERS))
        raise UserError(
            f"{path} must hold float pictures [K, 1 or 3, H, W] or [K, T, 2, H, W] and integers [K], "
            f"but holds {shapes}; evaluate the run again"
        )
    for name in _SHARES:
        found = arrays.get(name)
        if found is not None and not (found.ndim == 2 and len(found) == shape[0] and found.dtype.kind == "f"):
            raise UserError(f"{path}: {name} must be [K, classes], but is {found.shape}; evaluate the run again")
    try:
        layers = read_layers(arrays, shape[0])
    except ValueError as error:
        raise UserError(f"{path}: {error}; evaluate the run again") from error
    return Samples(
        **{name: arrays[name] for name in (*_PICTURES, *_INTEGERS)},
        probability=arrays.get("probability"),
        probability_adversarial=arrays.get("probability_adversarial"),
        layers=layers,
        classes=[str(name) for name in arrays.get("classes", np.array([])).reshape(-1)],
        attack=str(_scalar(arrays.get("attack"), "")),
        eps=_eps(_scalar(arrays.get("eps"), None), path),
        space=str(_scalar(arrays.get("space"), "")),
    )


def _scalar(array: np.ndarray | None, default: Any) -> Any:
    return default if array is None or array.size != 1 else array.reshape(-1)[0]


def _eps(value: Any, path: Path) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise UserError(f"{path}: eps = {value!r} is not a number; evaluate the run again") from error
