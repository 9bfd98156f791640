"""The saved pictures of a run, `samples.npz`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustsnn.ground.errors import UserError
from robustsnn.records.arrays import misfit, read_arrays

_PICTURES = ("image", "adversarial", "gradient")
_INTEGERS = ("label", "predicted", "predicted_adversarial", "index")
_SHARES = ("probability", "probability_adversarial")
_LAYER = {"clean": "u", "attacked": "u", "steps": "iu", "shape": "iu", "rate": "f", "changed": "f"}


@dataclass(frozen=True)
class LayerSpikes:
    """What one layer of a run does on K samples at S steps.

    Args:
        clean, attacked: uint8, 255 times the rate per pixel `[K, S, h, w]`, or of single neurons `[K, S, n]`.
        steps: which steps, counted from 1, `[S]`.
        shape: of one sample's spikes at one step, without anything left out or averaged.
        rate: mean over all neurons and steps, clean and attacked, `[K, 2]`.
        changed: share of (neuron, step) that fires at one of both alone, `[K]`.
    """

    name: str
    clean: np.ndarray
    attacked: np.ndarray
    steps: np.ndarray
    shape: np.ndarray
    rate: np.ndarray
    changed: np.ndarray


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

    @staticmethod
    def load(path: Path) -> Samples:
        """Read `path`. UserError, naming the array, where one does not fit."""
        arrays = read_arrays(path)
        wanted = dict.fromkeys(_PICTURES, ("f", "K ...")) | dict.fromkeys(_INTEGERS, ("iu", "K"))
        wanted |= {name: ("f", "K classes") for name in _SHARES if name in arrays}
        shape = arrays["image"].shape if "image" in arrays else ()
        lack = misfit(arrays, wanted)
        if not lack and (len(shape), *shape[-3:-2]) not in ((4, 1), (4, 3), (5, 2)):
            lack = f"image must be [K, 1 or 3, H, W] or [K, T, 2, H, W], but is {list(shape)}"
        try:
            if lack:
                raise ValueError(lack)
            return Samples(
                **{name: arrays[name] for name in (*_PICTURES, *_INTEGERS)},
                probability=arrays.get(_SHARES[0]),
                probability_adversarial=arrays.get(_SHARES[1]),
                layers=read_layers(arrays),
                classes=[str(name) for name in arrays.get("classes", np.array([])).reshape(-1)],
                attack=_one(arrays, "attack") or "",
                eps=None if (eps := _one(arrays, "eps")) is None else float(eps),
                space=_one(arrays, "space") or "",
            )
        except ValueError as error:
            raise UserError(f"{path}: {error}; evaluate the run again") from error


def _one(arrays: Mapping[str, np.ndarray], name: str) -> str | None:
    found = arrays.get(name)
    return None if found is None or found.size != 1 else str(found.reshape(-1)[0])


def read_layers(arrays: Mapping[str, np.ndarray]) -> list[LayerSpikes]:
    """The layers in `samples.npz`, none in older files. ValueError, naming the array, where they do not fit."""
    found = []
    for i, name in enumerate(arrays.get("spike_layers", np.array([])).reshape(-1)):
        parts = {part: f"spikes{i}_{part}" for part in _LAYER}
        shapes = {"clean": "K S ...", "attacked": "K S ...", "steps": "S", "shape": "D", "rate": "K 2", "changed": "K"}
        wanted = {"label": ("iu", "K")} | {parts[part]: (_LAYER[part], shapes[part]) for part in _LAYER}
        if lack := misfit(arrays, wanted):
            raise ValueError(lack)
        if arrays[parts["clean"]].ndim not in (3, 4):
            raise ValueError(f"{parts['clean']} has {arrays[parts['clean']].ndim} dimensions")
        found.append(LayerSpikes(str(name), **{part: arrays[key] for part, key in parts.items()}))
    return found
