"""Deterministic splits of n examples into parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustsnn.ground.errors import UserError


def split(n: int, sizes: Sequence[int], seed: int, *, labels: Tensor | None = None) -> list[Tensor]:
    """Random disjoint index tensors (int64) of the given `sizes`, which must add up to `n`.

    With `labels` (int64 [n]) the split is stratified: each class falls into the parts as nearly in
    proportion to their sizes as whole images allow, and so do the first images of a part. The same
    arguments give the same split. `UserError` if a size is below 1 or the sizes do not add up to n.
    """
    if min(sizes, default=0) < 1 or sum(sizes) != n:
        raise UserError(f"cannot split {n} examples into {list(sizes)}; give sizes of 1 or more that add up to {n}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    if labels is not None:
        order = order[_evenly(labels[order])]
    return list(order.split(list(sizes)))


def _evenly(labels: Tensor) -> Tensor:
    """Order that spreads every class evenly: the j-th of the m examples of a class comes at (j + 1/2) / m."""
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        mine = labels == label
        count = int(mine.sum())
        place[mine] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return place.sort(stable=True).indices
