"""What `analysis/gradients.json` holds, and gradients.npz beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.records.arrays import beside
from robustsnn.records.typed import SOME, having, plain, read_record
from robustsnn.studies.shared.medians import Gaps, Mean, Values

_ARRAYS = {"image": ("f", "k ..."), "label": ("iu", "k"), "rule": ("U", "R"), "gradient": ("f", "R k ...")}


@dataclass(frozen=True)
class Near(Mean):
    """The share of entries with |g| <= tolerance max|g| of the sample."""

    tolerance: float


@dataclass(frozen=True)
class Histogram:
    """Counts of entries in bins."""

    def __post_init__(self) -> None:
        edges, *counts = (len(values) for values in vars(self).values())
        if set(counts) != {edges - 1}:
            raise ValueError(f"{edges} edges of {' and '.join(map(str, counts))} bins")


@dataclass(frozen=True)
class Normalised(Histogram):
    """Of g / max|g| (of its own sample) in equal bins on [-1, 1], without samples of zeros alone."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Magnitudes(Histogram):
    """Of log10 |g| of negative and of positive entries, in bins of a quarter decade from 1e-12 to 1e2.

    The end bins hold what is beyond. Fixed, so that networks can be compared.
    """

    log10_edges: tuple[float, ...]
    negative: tuple[int, ...]
    positive: tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """The gradients under one rule, "" for each layer's own.

    Args:
        zero: samples whose gradient is zero altogether.
        sparsity: share of entries that are exactly zero.
        samples: l0, l1, l2, gini and hoyer of each sample, see `norms`; NaN where undefined.
    """

    label: str
    rule: str
    zero: int
    l0: Mean
    l1: Mean
    l2: Mean
    gini: Mean
    hoyer: Mean
    sparsity: Mean
    near: tuple[Near, ...]
    normalised: Normalised
    magnitudes: Magnitudes
    samples: Annotated[dict[str, Gaps], having("l0", "l1", "l2", "gini", "hoyer")]

    @property
    def measures(self) -> Mapping[str, Values]:
        """`samples` as arrays."""
        return {name: np.array(values) for name, values in self.samples.items()}


@dataclass(frozen=True)
class Gradients:
    """What `gradients` found, rule by rule. `kept` holds the arrays of `heatmaps`, if there are some."""

    n: int
    entries: int
    loss: str
    rules: Annotated[tuple[Spread, ...], SOME]
    kept: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if any(tuple(near.tolerance for near in rule.near) != self.tolerances for rule in self.rules):
            raise ValueError("rules: their tolerances differ")

    @property
    def tolerances(self) -> tuple[float, ...]:
        """Of `near`, under each rule."""
        return tuple(near.tolerance for near in self.rules[0].near)

    @property
    def spreads(self) -> Mapping[str, Spread]:
        """By label of the rule."""
        return {spread.label: spread for spread in self.rules}

    def heatmaps(self) -> dict[str, NDArray[Any]]:
        """Of the first images: "image" `[k, ...]`, "label" and "value" (f) `[k]`, "rule" `[R]` (labels) and
        "gradient" `[R, k, ...]`."""
        return dict(self.kept)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: summaries, histograms, and the norms of each sample."""
        return plain({name: value for name, value in vars(self).items() if name != "kept"})


def read(path: Path) -> Gradients:
    """What was written, with its arrays if they are there. UserError, with the entry, where it makes no sense."""
    return replace(read_record(Gradients, path), kept=beside(path, _ARRAYS))
