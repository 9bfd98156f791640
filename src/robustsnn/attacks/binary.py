"""The threat of binary inputs, such as frames of events: so many entries may be flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Space
from robustsnn.ground.annotations import fits
from robustsnn.ground.door import check_among, said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.widest import wide


@dataclass(frozen=True)
class Flips:
    """At most eps entries of a binary input changed, 0 to 1 or 1 to 0. Perturbed inputs are binary too."""

    eps: int
    space: Space = "pixel"
    norm: ClassVar[str] = "L0"

    @property
    def low(self) -> float:
        """0: nothing happened."""
        return 0.0

    @property
    def high(self) -> float:
        """1: an event."""
        return 1.0

    @property
    def levels(self) -> None:
        """Binary inputs are a grid already."""
        return

    @property
    def free(self) -> Flips:
        """Flips move on binary inputs alone."""
        return self

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """0 and 1 for every entry, if any may be flipped."""
        return (torch.zeros_like(x), torch.ones_like(x)) if self.eps else (x, x)

    def __post_init__(self) -> None:
        check_among("space", self.space, ("pixel", "encoded"))
        if not fits(self.eps, float) or not 0 <= self.eps < 2**53 or self.eps != int(self.eps):
            raise UserError(
                f"eps={said_of(self.eps)} for L0: it is the number of entries that may change, an integer >= 0"
            )
        object.__setattr__(self, "eps", int(self.eps))

    def sample(self, x: Tensor, generator: Randomness) -> Tensor:
        """eps random entries flipped (all, if there are fewer)."""
        order = Streams.of(generator, x).uniform(x.shape[1:].numel()).argsort(1)
        flips = torch.zeros(order.shape, dtype=torch.bool, device=x.device).scatter(1, order[:, : self.eps], True)
        return torch.where(flips.view_as(x), 1 - x, x)

    def steepest(self, gradient: Tensor, size: float | Tensor) -> Tensor:
        """The signs of the `size` largest entries: where one flip is a change of 1."""
        rank = ranked(gradient.abs().flatten(1))
        size = size if isinstance(size, Tensor) else torch.full((len(gradient), 1), float(size), device=gradient.device)
        return gradient.sign() * (rank < size.view(-1, 1)).view_as(gradient)

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        """z rounded to 0 and 1, with the eps largest changes alone (the first of equal ones)."""
        change = torch.where((z >= 0.5).to(x) != x, (z - x).abs(), -1).flatten(1)
        keep = (ranked(change) < self.eps) & (change >= 0)
        return torch.where(keep.view_as(x), 1 - x, x)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """The number of entries that differ, float64 `[B]`; inf if z is not binary."""
        binary = ((z == 0) | (z == 1)).flatten(1).all(1)
        return torch.where(binary, wide((z != x).flatten(1).sum(1)), torch.inf)

    def __repr__(self) -> str:
        return f"Flips(eps={self.eps}{'' if self.space == 'pixel' else f', space={self.space!r}'})"


def ranked(values: Tensor) -> Tensor:
    """Position of each entry in the last dimension, largest first (the first of equal ones)."""
    return values.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
