"""The saved spikes of a few layers: small pictures per time step, clean, attacked, and the difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robustsnn.draw.png import indexed_address
from robustsnn.records.samples import LayerSpikes
from robustsnn.reporting.panels import coloured, tiled
from robustsnn.reporting.wording import percent

_HALF = 32  # levels on each side of zero
_TALL = 5  # pixels of a step in a raster
_FINE = 24  # smaller maps are magnified up to so many pixels a side


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
