"""Zeros and norms of one operation over one batch, sample by sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robustsnn.ground.widest import widest
from robustsnn.studies.shared.passes import finite
from robustsnn.studies.shared.tally import Side, Tally
from robustsnn.studies.trail.graph import Key
from robustsnn.studies.trail.layout import Layout
from robustsnn.studies.trail.reach import Zeros, zeros
from robustsnn.studies.trail.record import ORIGINS, Operation, Spiking, name_of


class Count:
    """Sums `[n]`, one per sample, over all that an operation showed of itself: its nodes, and their inputs."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.n, self.device = n, device
        self.sums: dict[str, Tensor] = {}
        self.sizes: Counter[str] = Counter()
        self.known = True

    def side(self, side: str, rows: Tensor) -> None:
        """Count a gradient at "input" or "output", given as `[n, entries]`."""
        self.sizes[side] += rows.shape[1]
        if rows.is_complex():  # behind a Fourier transform
            rows = rows.abs()
        self._add(f"{side} zeros", (rows == 0).sum(1))
        self._add(f"{side} l1", torch.linalg.vector_norm(rows, 1, dim=1, dtype=widest(rows.device)))
        self._add(f"{side} square", torch.linalg.vector_norm(rows, 2, dim=1, dtype=widest(rows.device)).square())

    def explain(
        self, node: Any, edge: int, given: Tensor, upstream: Sequence[Tensor | None], at: Layout, above: Layout
    ) -> None:
        """Count the zeros at one input by origin."""
        lit = [gradient for gradient in upstream if gradient is not None]
        found = zeros(node, edge, given, lit[0], above, self.n) if len(lit) == 1 else None
        if found is None:
            self.known = False
            return
        zero = given == 0
        other = zero & ~found.passed & ~found.architectural & ~found.natural
        for origin, mask in zip(ORIGINS, (found.passed, found.architectural, found.natural, other), strict=True):
            self._add(origin, at.rows(mask, self.n).sum(1))
        if found.fired is not None:
            self._neurons(found, zero & ~found.passed, at)

    def unexplained(self, rows: Tensor) -> None:
        """All zeros of these `[n, entries]` were added, and no cause is known."""
        nothing = torch.zeros(self.n, dtype=torch.int64, device=self.device)
        for origin in ORIGINS:
            self._add(origin, (rows == 0).sum(1) if origin == "other" else nothing)

    def _neurons(self, found: Zeros, added: Tensor, at: Layout) -> None:
        assert found.fired is not None
        silent, saturated = found.fired.silent, found.fired.saturated
        self.sizes["neurons"] += silent.numel() // self.n
        masks = {
            "silent": silent,
            "saturated": saturated,
            "in_silent": added & silent,
            "in_saturated": added & saturated,
            "in_others": added & ~silent & ~saturated,
        }
        for name, mask in masks.items():
            self._add(name, at.rows(mask, self.n).sum(1))

    def _add(self, name: str, values: Tensor) -> None:
        self.sums[name] = self.sums[name] + values if name in self.sums else values

    def at(self, side: str, where: str) -> Side:
        """What was counted at "input" or "output"; UserError, which says `where`, if a norm is not finite."""
        norms = self.sums[f"{side} l1"], self.sums[f"{side} square"].sqrt()
        finite(torch.stack(norms), f"the gradient at {where}")
        zero, l1, l2 = (Tally.over(values) for values in (self.sums[f"{side} zeros"], *norms))
        return Side(self.sizes[side], zero, l1, l2)

    def operation(self, key: Key) -> Operation:
        """All of it."""
        known = self.known and ORIGINS[0] in self.sums
        origins = {origin: Tally.over(self.sums[origin]) if known else None for origin in ORIGINS}
        spiking = None
        if "silent" in self.sums:
            names = ("silent", "saturated", "in_silent", "in_saturated", "in_others")
            spiking = Spiking(self.sizes["neurons"] * self.n, *(int(self.sums[name].sum()) for name in names))
        name = name_of(*key)
        above, below = (self.at(side, f"the {side} of {name}") for side in ("output", "input"))
        return Operation(*key, above, below, **origins, spiking=spiking)
