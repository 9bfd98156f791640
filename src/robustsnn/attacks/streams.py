"""Random numbers of attacks: one stream per sample.

What a sample draws then depends neither on the other samples of its batch nor on how many of them still
stand, so that leaving out broken samples, other batches and shards change no result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from robustsnn.ground.door import check_generator
from robustsnn.ground.seeds import drawn


class _Stream:
    """A seed, and a generator made of it when it is first needed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generator: torch.Generator | None = None

    @property
    def generator(self) -> torch.Generator:
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self.seed)
        return self._generator


class Streams:
    """B independent random streams, drawn on the CPU (all devices see the same numbers).

    Args:
        seeds: one seed per sample, of which torch's CPU generator uses the low 32 bits.
        device: where the numbers are wanted.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._streams = [_Stream(seed) for seed in seeds]
        self.device = torch.device(device)

    @staticmethod
    def of(source: Randomness, x: Tensor) -> Streams:
        """Streams for the samples of x: as given, or seeded by a generator (None is one of seed 0)."""
        if isinstance(source, Streams):
            if len(source) != len(x):
                raise ValueError(f"{len(source)} streams given for {len(x)} samples")
            return source
        check_generator(source)
        source = source if source is not None else torch.Generator().manual_seed(0)
        seeds = drawn(source, len(x), lambda n: torch.randint(1 << 62, (n,), generator=source, device=source.device))
        return Streams(seeds.tolist(), x.device)

    def __len__(self) -> int:
        return len(self._streams)

    def __getitem__(self, at: Tensor) -> Streams:
        """The streams of the samples at these positions; they go on where they are."""
        chosen = Streams((), self.device)
        chosen._streams = [self._streams[i] for i in at.tolist()]
        return chosen

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 `[B, *shape]`."""
        return self._stack([torch.rand(shape, generator=s.generator) for s in self._streams], shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32 `[B, *shape]`."""
        return self._stack([torch.randn(shape, generator=s.generator) for s in self._streams], shape)

    def _stack(self, drawn: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        return (torch.stack(drawn) if drawn else torch.empty(0, *shape)).to(self.device)


Randomness: TypeAlias = "torch.Generator | Streams | None"
"""What attacks take: a generator to seed the streams from, the streams themselves, or None for seed 0."""
