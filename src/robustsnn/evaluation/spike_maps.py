"""Which neurons fire, layer by layer and step by step, small enough to be saved beside pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.types import Images
from robustsnn.neurons import Neurons
from robustsnn.neurons.record import recording

LAYERS = 3
"""At most so many layers are kept, spread evenly from the first to the last."""
STEPS = 12
"""Likewise of the time steps."""
SIDE = 32
"""Larger maps are averaged over blocks down to so many pixels a side."""
NEURONS = 96
"""Of layers without pixels at most so many neurons are kept, spread evenly."""


@torch.no_grad()
def observe(model: nn.Module, view: nn.Module, x: Images) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """Logits `[B, K]` of one pass of `view`, and (name, spikes `[T, B, ...]`, bool) of chosen layers of `model` in it.

    `view` is the model, or the model from behind its encoder. A model without neuron layers has no spikes.
    """
    if not any(isinstance(module, Neurons) for module in model.modules()):
        return view(x), []
    with recording(model) as records:
        logits = view(x)
    kept = [records[k] for k in _evenly(len(records), LAYERS)]
    return logits, [(record.name, torch.stack([s > 0 for _, s in record.trace()])) for record in kept]


def spike_maps(clean: list[tuple[str, Tensor]], attacked: list[tuple[str, Tensor]]) -> dict[str, Any]:
    """Arrays of layer i = 0, 1, ... of the same samples at two points; all of them, K in number, in eval mode.

    * `spikes{i}_clean`, `spikes{i}_attacked`: uint8, 255 times the firing rate. Of a layer with pixels the mean
      over channels, `[K, S, h, w]`; of any other single neurons, `[K, S, n]`, 0 or 255.
    * `spikes{i}_steps`: the S steps that are kept, counted from 1; `spikes{i}_shape`: of one sample's spikes at a step.
    * `spikes{i}_rate`: `[K, 2]`, mean over all neurons and steps, clean and attacked.
    * `spikes{i}_changed`: `[K]`, share of (neuron, step) that fires at one of the two points alone.
    * `spike_layers`: the names.

    Empty where the two passes had different layers.
    """
    if [(name, s.shape) for name, s in clean] != [(name, s.shape) for name, s in attacked]:
        return {}
    arrays: dict[str, Any] = {"spike_layers": np.array([name for name, _ in clean], dtype=np.str_)}
    for i, ((_, before), (_, after)) in enumerate(zip(clean, attacked, strict=True)):
        steps = _evenly(len(before), STEPS)
        over = [dimension for dimension in range(before.ndim) if dimension != 1]
        rates = torch.stack([s.float().mean(over) for s in (before, after)], dim=1)
        arrays |= {
            f"spikes{i}_clean": _map(before[steps]),
            f"spikes{i}_attacked": _map(after[steps]),
            f"spikes{i}_steps": np.array(steps) + 1,
            f"spikes{i}_shape": np.array(before.shape[2:]),
            f"spikes{i}_rate": rates.cpu().numpy(),
            f"spikes{i}_changed": (before ^ after).float().mean(over).cpu().numpy(),
        }
    return arrays if clean else {}


def _evenly(number: int, most: int) -> list[int]:
    """At most `most` of 0 .. number - 1, the first and the last among them."""
    return np.linspace(0, number - 1, min(number, most)).round().astype(int).tolist()


def _map(spikes: Tensor) -> np.ndarray:
    rate = spikes.transpose(0, 1).float()
    if rate.ndim == 5 and max(rate.shape[-2:]) > 1:
        rate = rate.mean(2)
        rate = nn.functional.adaptive_avg_pool2d(rate, (min(SIDE, rate.shape[-2]), min(SIDE, rate.shape[-1])))
    else:
        rate = rate.flatten(2)
        rate = rate[..., _evenly(rate.shape[-1], NEURONS)]
    return (255 * rate).round().to(torch.uint8).cpu().numpy()
