"""Seeds derived from one seed and a path of names and numbers, so that every part of a run has its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def derived(seed: int, *path: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on each part of `path`, for example (7, "train", epoch).

    Because the seed of epoch 7 does not depend on what epochs 1 to 6 drew, a resumed run draws the same
    numbers as an uninterrupted one, and no generator state has to be saved.
    """
    return int.from_bytes(hashlib.sha256(repr((seed, *path)).encode()).digest()[:8], "little") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A fresh CPU generator seeded by `derived`; CPU, so that all devices see the same numbers."""
    return torch.Generator().manual_seed(derived(seed, *path))


class Draws(torch.Generator):
    """A CPU generator for a batch of `total` samples of which the caller sees some rows: `start` to `stop`."""

    total = start = stop = 0


def drawn(source: torch.Generator, n: int, draw: Callable[[int], Tensor]) -> Tensor:
    """`draw(n)`, one row per sample; of `Draws` whose caller sees n rows, those rows of `draw(total)`.

    So each of several processes draws for its rows what one process would draw for them.
    """
    if isinstance(source, Draws) and n == source.stop - source.start:
        return draw(source.total)[source.start : source.stop]
    return draw(n)


def order(source: torch.Generator, n: int) -> Tensor:
    """A random order of n, as torch.randperm; of `Draws`, that of the whole batch without the rows of others."""
    if isinstance(source, Draws) and n == source.stop - source.start:
        whole = torch.randperm(source.total, generator=source)
        return whole[(whole >= source.start) & (whole < source.stop)] - source.start
    return torch.randperm(n, generator=source, device=source.device)


@contextmanager
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Torch's global generators, seeded by `derived` inside the block and as they were after it.

    For models that draw from them: their numbers then depend on the block alone.
    """
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None  # which fork_rng does not know
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derived(seed, *path))
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)
