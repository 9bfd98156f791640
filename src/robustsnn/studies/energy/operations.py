"""Operations of one weight layer: what a dense network multiplies, and what spikes make it add."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustsnn.ground.widest import wide, widest
from robustsnn.studies.energy.activity import tally
from robustsnn.studies.energy.record import Kind, Operations
from robustsnn.studies.shared.fanout import Weighted, fan_out

_LEVELS = 256
"""Different values of an input from which on it is real, whatever they are."""
_MOST = 4096
"""The largest count that is taken for one; a pooling over 64x64 spikes has it."""


class Counter:
    """Counts for one weight layer, batch by batch."""

    def __init__(self, layer: Weighted) -> None:
        self.layer = layer
        self.levels: set[float] | None = set()  # different values of the input but 0; None: too many
        self.weighted: list[Tensor] = []  # [B], sum of input value times fan-out
        self.nonzero = 0.0
        self.seen = 0
        self.dense = self.padded = self.runs = 0  # per image
        self.late = False  # behind some neurons
        self.samples = 0
        self._reach: dict[tuple[int, ...], Tensor] = {}

    def add(self, given: Tensor, output: Tensor, batch: int, first: bool, late: bool) -> None:
        """Of one call on one batch. `first`: the first call of the layer for this batch; `late`: neurons ran before.

        Steps come before samples where both are folded into one dimension.
        """
        linear = isinstance(self.layer, nn.Linear)
        kept = 1 if linear else self.layer.weight.ndim - 1
        shape = tuple(given.shape[-kept:])
        x = given.detach().reshape(-1, *shape)
        runs = len(x) // batch
        if shape not in self._reach:
            # The same for all channels, since groups are of one size.
            reach = fan_out(self.layer, shape)
            self._reach[shape] = (reach if linear else reach[0]).to(x.device, widest(x.device))
        reach = self._reach[shape]
        kind = torch.promote_types(x.dtype, torch.float32)
        sums = wide(x.sum(1, dtype=kind))
        values = sums * float(reach[0]) if linear else (sums * reach).flatten(1).sum(1)
        values = values.view(runs, batch).sum(0).cpu()
        if first:
            self.weighted.append(values)
            self.samples += batch
        else:
            self.weighted[-1] += values
        if self.samples == batch:  # the first batch: the rest are alike
            entries, out = int(reach.numel() if linear else reach.numel() * shape[0]), output.numel() // len(x)
            self.dense += runs * int(reach.sum() * (entries // reach.numel()))
            self.padded += runs * self._with_padding(entries, out)
            self.runs += runs
            self.late |= late
        binary = torch.equal(x * x, x)  # 0 and 1 are their own squares
        nonzero = int(sums.sum()) if binary else int(torch.count_nonzero(x))
        self.nonzero += nonzero
        self.seen += x.numel()
        self._note(x, {1.0} if binary and nonzero else set() if binary else None)

    def _with_padding(self, entries: int, outputs: int) -> int:
        weight = self.layer.weight
        transposed = isinstance(self.layer, nn.modules.conv._ConvTransposeNd)
        # Each output (of a transposed convolution: each input) meets all weights of its channel.
        return (entries if transposed else outputs) * (weight.numel() // weight.shape[0])

    def _note(self, x: Tensor, found: set[float] | None) -> None:
        """Remember the values of an input; `found` where they are known, 0 left out."""
        if self.levels is None:
            return
        if found is None:
            few = len(torch.unique(x.flatten()[: 16 * _LEVELS])) <= _LEVELS
            found = set(torch.unique(x).tolist()) - {0.0} if few else None
        if found is None:
            self.levels = None
            return
        self.levels |= found
        if len(self.levels) > _LEVELS:
            self.levels = None

    def kind(self) -> tuple[Kind, float]:
        """What the input is, and the value of one spike."""
        if self.levels is None or any(not 0 < level < float("inf") for level in self.levels):
            return "real", 1.0
        positive = sorted(self.levels)
        if len(positive) <= 1:
            return "spikes", positive[0] if positive else 1.0
        # In front of all neurons levels of grey are multiples of 1/255 too: only whole numbers count there.
        unit = positive[0] if self.late else 1.0
        counts = [level / unit for level in positive]
        whole = all(abs(count - round(count)) < 1e-4 and round(count) >= 1 for count in counts)
        return ("counts", unit) if whole and counts[-1] <= _MOST else ("real", 1.0)

    def synops(self) -> Tensor | None:
        """`[n]`, per sample; None for a real input."""
        kind, unit = self.kind()
        return None if kind == "real" else torch.cat(self.weighted) / unit

    def operations(self, name: str, steps: int) -> Operations:
        """Of all batches, in a network of so many steps."""
        synops = self.synops()
        repeated = steps if self.runs == 1 and not self.late else self.runs
        return Operations(
            name,
            self.kind()[0],
            self.dense // self.runs,
            self.padded // self.runs,
            self.runs,
            repeated,
            None if synops is None else tally(synops),
            self.nonzero / self.seen if self.seen else 0.0,
        )
