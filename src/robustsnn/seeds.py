"""Seeds derived from one seed and a path of numbers, so that every part of a run has its own."""

from __future__ import annotations

import numpy as np
import torch


def derived(seed: int, *path: int) -> int:
    """A 63-bit seed that depends on `seed` and on each number of `path`.

    Because the seed of epoch 7 does not depend on what epochs 1 to 6 drew, a resumed run draws the same
    numbers as an uninterrupted one, and no generator state has to be saved.
    """
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def generator(seed: int, *path: int) -> torch.Generator:
    """A fresh CPU generator seeded by `derived`; CPU, so that all devices see the same numbers."""
    return torch.Generator().manual_seed(derived(seed, *path))
