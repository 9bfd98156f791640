"""What `analysis/theory.json` holds: what each theorem says of a network, or why it cannot be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from robustsnn.records.typed import SOME, having, plain
from robustsnn.statistics.correlation import Correlation
from robustsnn.statistics.jackknife import Estimate
from robustsnn.studies.shared.medians import Mean, Median, Proportion
from robustsnn.studies.shared.tally import Tally
from robustsnn.studies.theory.signal_values import SignalToNoise


@dataclass(frozen=True)
class Shared:
    """The gradient at one weight tensor beside the gradient at the input, over samples.

    Args:
        depth: 1 for weights nearest to the input, see `depths`.
        sparsity: mean share of entries that are exactly zero.
        pearson, spearman: of that share with the share of zeros of the same sample's input gradient. None where one
            of them is the same for all samples: a correlation is not defined then, and not 0.
        ratio: mean share of zeros of the weight gradient over that of the input gradient.
    """

    name: str
    depth: int
    entries: int
    sparsity: float
    pearson: Correlation | None
    spearman: Correlation | None
    ratio: Estimate


@dataclass(frozen=True)
class Sharing:
    """Sparsity of the input gradient against that of each weight gradient, in order of depth, over n samples.

    Args:
        at: where the input gradient was taken, "pixels" or "code".
        input_sparsity: its mean share of zeros; `input_varies` says whether it differs between samples at all.
        trend: Spearman's correlation, over weight tensors, of depth with their Pearson's; `trend_of_ranks` with
            their Spearman's. Theorem 4.3 says that both are negative. None where fewer than two are defined, or
            all are alike.
        undefined: weight tensors without a correlation, which the trends leave out.
    """

    n: int
    loss: str
    rule: str
    at: str
    input_sparsity: float
    input_varies: bool
    tensors: tuple[Shared, ...]
    trend: Correlation | None
    trend_of_ranks: Correlation | None
    undefined: int

    @property
    def grows_towards_input(self) -> bool | None:
        """Whether the correlation falls with depth, as the theorem says; None where there is no trend."""
        return None if self.trend is None else self.trend.value < 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return plain({"schema": 1, **vars(self), "grows_towards_input": self.grows_towards_input})


@dataclass(frozen=True)
class Assumption:
    """`text` holds or not; where it is an inequality, `observed <= claimed`, with both sides."""

    text: str
    holds: bool
    observed: float | None = None
    claimed: float | None = None


@dataclass(frozen=True)
class Bound:
    """One reading of the inequality `left <= factor * below`, in numbers of non-zero entries.

    Args:
        reading: "gradients", of a loss, or "equation 13", the products that the paper puts in their place.
        left: of the weight gradient, per sample; `entries` is the most that it can be.
        below: of the input gradient at one step (mean over steps), per sample.
        factor: (T/d) (k_S/k_W1).
    """

    reading: str
    left: Tally
    entries: int
    below: Tally
    factor: float

    @property
    def right(self) -> float:
        """The right side, factor times the mean over samples."""
        return self.factor * self.below.mean

    @property
    def holds(self) -> bool:
        """Whether the mean left side is at most the right side (up to rounding)."""
        return self.left.mean <= self.right * (1 + 1e-12)

    @property
    def vacuous(self) -> bool:
        """Whether the right side is at least the number of entries, so that no gradient could break the bound."""
        return self.right >= self.entries * (1 - 1e-12)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "right": self.right, "holds": self.holds, "vacuous": self.vacuous}


@dataclass(frozen=True)
class DensityBound:
    """Theorem 4.4 at the first weight layer, called W1, over n samples.

    Args:
        layer: its name.
        steps: T, inputs at which the layer was run per sample.
        inputs: d, the entries of one input.
        k_inputs: k_S, the most non-zero entries of an input, over steps and samples.
        k_weights: k_W1, the most non-zero entries in a column: outputs that one input entry is connected to by
            weights that are not zero. None of either is a bound that cannot be evaluated.
        bounds: the readings that can be evaluated.
        assumptions: of the theorem and of its proof, each with what was found.
    """

    n: int
    loss: str
    rule: str
    layer: str
    steps: int
    inputs: int
    k_inputs: int
    k_weights: int
    bounds: tuple[Bound, ...]
    assumptions: tuple[Assumption, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return plain({"schema": 1, **vars(self)})


@dataclass(frozen=True)
class DifferenceStep:
    """The relative error of the finite difference of one h, and the quotient over the norm.

    `still`: quotients of 0, of samples whose gradient is not zero altogether.
    """

    h: float
    error: Mean
    median_error: Median
    relative: Median
    still: Proportion


@dataclass(frozen=True)
class DifferenceRecord:
    """What `FiniteDifference` says, over steps h that fall. `zero`: samples whose gradient is zero altogether."""

    n: int
    loss: str
    rule: str
    smooth: bool
    zero: int
    l1: Mean
    order: float | None
    orders: tuple[float | None, ...]
    steps: Annotated[tuple[DifferenceStep, ...], SOME]
    samples: Annotated[dict[str, tuple[Any, ...]], having("l1", "quotients")]


@dataclass(frozen=True)
class Refused:
    """Why something cannot be asked: too few images, steps that are fixed, a rule without surrogate."""

    refused: str


@dataclass(frozen=True)
class Theory:
    """Theorems 4.2 to 4.4 of the trail paper; and proposition 1 of the other, of the network and of its smooth twin."""

    signal: SignalToNoise | Refused | None = None
    sharing: Sharing | Refused | None = None
    density: DensityBound | Refused | None = None
    difference: DifferenceRecord | Refused | dict[str, DifferenceRecord | Refused] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, of what was asked."""
        return plain({name: part for name, part in vars(self).items() if part is not None})
