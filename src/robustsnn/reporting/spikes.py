"""The saved spikes of a few layers: small pictures per time step, clean, attacked, and the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robustsnn.reporting.panels import coloured, tiled
from robustsnn.reporting.png import indexed_address
from robustsnn.reporting.wording import percent

_HALF = 32  # levels on each side of zero
_TALL = 5  # pixels of a step in a raster
_FINE = 24  # smaller maps are magnified up to so many pixels a side


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
    shape: tuple[int, ...]
    rate: np.ndarray
    changed: np.ndarray


@dataclass(frozen=True)
class Layer:
    """One layer on one sample: addresses of three pictures, and words about them."""

    name: str
    shape: str
    said: str
    steps: str
    clean: str
    attacked: str
    difference: str


def read_layers(arrays: Mapping[str, np.ndarray], samples: int) -> list[LayerSpikes]:
    """The layers in `samples.npz`, none in older files. ValueError, naming the array, where they do not fit."""
    names = arrays.get("spike_layers", np.array([])).reshape(-1)
    return [_read(str(name), {p: _part(arrays, i, p) for p in _PARTS}, i, samples) for i, name in enumerate(names)]


_PARTS = ("clean", "attacked", "steps", "shape", "rate", "changed")


def _part(arrays: Mapping[str, np.ndarray], i: int, part: str) -> np.ndarray:
    name = f"spikes{i}_{part}"
    if name not in arrays:
        raise ValueError(f"it lacks {name}")
    return arrays[name]


def _read(name: str, parts: dict[str, np.ndarray], i: int, samples: int) -> LayerSpikes:
    clean, steps = parts["clean"], parts["steps"]
    fits = {
        "clean": clean.dtype == np.uint8 and clean.ndim in (3, 4) and len(clean) == samples and min(clean.shape) > 0,
        "attacked": parts["attacked"].dtype == np.uint8 and parts["attacked"].shape == clean.shape,
        "steps": steps.dtype.kind in "iu" and steps.shape == clean.shape[1:2],
        "shape": parts["shape"].dtype.kind in "iu" and parts["shape"].ndim == 1,
        "rate": parts["rate"].dtype.kind == "f" and parts["rate"].shape == (samples, 2),
        "changed": parts["changed"].dtype.kind == "f" and parts["changed"].shape == (samples,),
    }
    for part, fit in fits.items():
        if not fit:
            raise ValueError(f"spikes{i}_{part} does not fit, with {parts[part].dtype} {parts[part].shape}")
    shape = tuple(int(side) for side in parts["shape"])
    return LayerSpikes(name, clean, parts["attacked"], steps, shape, parts["rate"], parts["changed"])


def layer(spikes: LayerSpikes, k: int) -> Layer:
    """Pictures of sample k: dark is the largest rate of both points, the difference has its own scale."""
    clean, attacked = (part[k].astype(np.float64) / 255 for part in (spikes.clean, spikes.attacked))
    top = max(clean.max(), attacked.max())
    moved = attacked - clean
    most = np.abs(moved).max()
    before, after = (percent(float(rate)) for rate in spikes.rate[k])
    said = f"fires {before}, attacked {after}; {percent(float(spikes.changed[k]))} of spikes change"
    if spikes.clean.ndim == 4:
        said += f". Darkest {percent(top)}; strongest colour {percent(most)}" if top else ". Silent"
    return Layer(
        name=spikes.name,
        shape=" \N{MULTIPLICATION SIGN} ".join(str(side) for side in spikes.shape),
        said=said,
        steps=_steps(spikes.steps),
        clean=_sheet(clean / (top or 1), _DARK),
        attacked=_sheet(attacked / (top or 1), _DARK),
        difference=_sheet(moved / (most or 1), _TWO_SIDED),
    )


def _steps(steps: np.ndarray) -> str:
    first, last = int(steps[0]), int(steps[-1])
    if last - first + 1 == len(steps):
        return f"{first} to {last}" if last > first else f"{first}"
    return ", ".join(str(int(step)) for step in steps)


_RAMP = np.linspace(-1, 1, 2 * _HALF + 1)
_LINE = np.array([[0.6, 0.6, 0.6]])  # the last colour of each palette: the lines between steps
_DARK = np.concatenate([np.stack(3 * [1 - 0.92 * np.clip(_RAMP, 0, 1)], axis=1), _LINE])
_TWO_SIDED = np.concatenate([coloured(_RAMP).T, _LINE])


def _sheet(values: np.ndarray, palette: np.ndarray) -> str:
    """`[S, h, w]` in [-1, 1]: steps beside each other, in two rows where they are many; `[S, n]`: a line per step."""
    index = np.round(values * _HALF) + _HALF
    if index.ndim == 2:
        panels = [np.repeat(line[None, None], _TALL, axis=1) for line in index]
        rows = len(panels)
    else:
        times = max(1, _FINE // max(index.shape[1:]))  # the line between steps is then thinner than a pixel
        panels = [panel.repeat(times, axis=0).repeat(times, axis=1)[None] for panel in index]
        rows = 1 if len(panels) <= 6 else 2
    return indexed_address(tiled(panels, rows, gutter=len(palette) - 1)[0], palette)
