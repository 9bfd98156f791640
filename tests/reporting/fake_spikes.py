"""Spikes and probabilities, invented, for the samples of the fake runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def spikes(samples: int, *, steps: int = 4, side: int = 8, neurons: int = 40, seed: int = 0) -> dict[str, Any]:
    """The arrays that evaluation saves of three layers of `samples` images: two with pixels, one without."""
    draws = np.random.default_rng(seed)
    arrays: dict[str, Any] = {"spike_layers": np.array(["body.1", "body.6", "body.9"])}
    shapes = ((12, side, side), (48, max(1, side // 2), max(1, side // 2)), (neurons,))
    for i, shape in enumerate(shapes):
        if len(shape) == 3:
            clean, attacked = draws.integers(0, 160, (2, samples, steps, *shape[1:])).astype(np.uint8)
        else:
            clean, attacked = 255 * draws.integers(0, 2, (2, samples, steps, neurons)).astype(np.uint8)
        rate = np.stack([part.reshape(samples, -1).mean(1) / 255 for part in (clean, attacked)], axis=1)
        arrays |= {
            f"spikes{i}_clean": clean,
            f"spikes{i}_attacked": attacked,
            f"spikes{i}_steps": np.arange(steps) + 1,
            f"spikes{i}_shape": np.array(shape),
            f"spikes{i}_rate": rate.astype(np.float32),
            f"spikes{i}_changed": np.full(samples, 0.125, np.float32),
        }
    for name in ("probability", "probability_adversarial"):
        weights = draws.uniform(0.01, 1, (samples, 10)) ** 4
        arrays[name] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return arrays


def add_spikes(folder: Path, **options: Any) -> None:
    """Add them to the samples of a run."""
    with np.load(folder / "samples.npz") as saved:
        arrays: dict[str, Any] = dict(saved)
    np.savez(folder / "samples.npz", **arrays, **spikes(len(arrays["label"]), **options))
