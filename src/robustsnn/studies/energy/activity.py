"""How often the neurons of a network fire."""

from __future__ import annotations

import torch
from torch import Tensor

from robustsnn.ground.widest import exactly, wide
from robustsnn.studies.energy.record import Activity
from robustsnn.studies.shared.tally import Tally


class Spikes:
    """Adds up the spikes of one layer, batch by batch."""

    def __init__(self) -> None:
        self.fired: list[Tensor] = []  # [B], spikes per sample
        self.quiet: list[Tensor] = []  # [B], silent neurons per sample
        self.per_step: Tensor | None = None  # [T], spikes
        self.alive: Tensor | None = None  # [neurons], bool

    def add(self, spikes: Tensor) -> None:
        """Of one batch, `[T, B, ...]`."""
        flat = spikes.detach().flatten(2)
        # Sums of ones: whole numbers, exact in float32 as long as a sample has less than 16 million neurons.
        kind = torch.promote_types(flat.dtype, torch.float32)
        each, of_steps = flat.sum(0, dtype=kind), wide(flat.sum(2, dtype=kind))
        self.fired.append(of_steps.sum(0).cpu())
        self.quiet.append((each == 0).sum(1).cpu())
        step, alive = of_steps.sum(1).cpu(), (each != 0).any(0).cpu()
        self.per_step = step if self.per_step is None else self.per_step + step
        self.alive = alive if self.alive is None else self.alive | alive

    def activity(self, name: str) -> Activity:
        """Of all batches."""
        assert self.per_step is not None  # a layer is noted when it is first called
        assert self.alive is not None
        neurons, steps = len(self.alive), len(self.per_step)
        fired, quiet = torch.cat(self.fired), torch.cat(self.quiet)
        return Activity(
            name,
            neurons,
            tally(fired, steps * neurons),
            tuple((self.per_step / (len(fired) * neurons)).tolist()),
            tally(quiet, neurons),
            int((~self.alive).sum()),
        )


def tally(values: Tensor, per: float = 1) -> Tally:
    """A `Tally` of one value per sample, each divided by `per`."""
    return Tally.over(exactly(values).double() / per)
