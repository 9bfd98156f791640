"""Gradient rules: how a loss is differentiated through a layer of spiking neurons.

A rule turns dL/ds (upstream) into dL/dI given the input current. It never takes part in the forward
pass, so the logits are bit-identical under every rule. The rules of this module look at one neuron at a
time; those of `adaptive` also at a sample's other neurons, or at what they saw before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import NotNegative
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.surrogate import Surrogate, Triangle

Connects = Literal["later", "same", "all"]
"""Of which spikes the gradient of a step's current is made: those of that step and later ones, of that step, of all."""


@runtime_checkable
class GradientRule(Protocol):
    """The backward pass of a layer of neurons; a value that can be hashed, compared and printed.

    `elementwise` says that a neuron's gradient depends on its own current and upstream alone. Such a rule
    is handed flat `[T, M]` tensors in memory order and may be compiled; any other `[T, B, ...]`, sample by
    sample, as the layer got them. A rule that remembers what it saw has a method `begin()` that returns the
    rule of one layer for one run, see `ASSG`. A rule may have `connects`, see `Connects`: an analysis can then tell the
    zeros that it adds from those that it passes on, which are reported as unknown without it.
    """

    elementwise: ClassVar[bool]

    @property
    def label(self) -> str:
        """A short name for tables, for example "triangle-1"."""
        ...

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        """dL/dI, in the shape and dtype of `current`.

        Args:
            upstream: dL/ds, `[T, ...]`.
            current: I, `[T, ...]`, or `[1, ...]` if it was the same at every step; then the gradients of
                all steps are summed.
            neuron: the dynamics that the forward pass used.
        """
        ...


def name_of(surrogate: Surrogate) -> str:
    """A short name, for example "arctan-2"."""
    values = [f"{getattr(surrogate, f.name):g}" for f in fields(surrogate)]  # type: ignore[arg-type]
    return "-".join([type(surrogate).__name__.lower(), *values])


def _gather(gradients: list[Tensor], current: Tensor) -> Tensor:
    """Steps stacked, or summed where one current served all of them."""
    if current.shape[0] == 1 and len(gradients) > 1:
        total = gradients[0]
        for gradient in gradients[1:]:
            total = total + gradient
        gradients = [total]
    return torch.stack([gradient.to(current.dtype) for gradient in gradients])


def through_time(
    upstream: Tensor,
    current: Tensor,
    neuron: LIF,
    trace: list[tuple[Tensor, Tensor]],
    slope_at: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Backpropagation through the steps of `trace` = list(neuron.run(current, T)), see `STBP`.

    `slope_at(t, u[t] - theta)` is ds[t]/du[t].
    """
    slopes = [slope_at(t, potential - neuron.theta) for t, (potential, _) in enumerate(trace)]
    return _gather(neuron.through_time(upstream, trace, slopes), current)


@dataclass(frozen=True)
class STBP:
    """Spatio-temporal backpropagation: BPTT with the step's derivative replaced by a surrogate slope g.

        dL/du[t] = dL/ds[t] g(u[t] - theta) + tau dL/du[t+1] dV[t]/du[t],     dL/dI[t] = k dL/du[t]

    with dV/du of `LIF.reset_slope`. Source: Wu et al. 2018; eq. 27-29 of the sparsity-regularisation
    paper give the surrogates of its ensemble attack.
    """

    surrogate: Surrogate = field(default_factory=Triangle)
    elementwise: ClassVar[bool] = True
    connects: ClassVar[Connects] = "later"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def label(self) -> str:
        return name_of(self.surrogate)

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        # The potentials are recomputed from the current: cheaper than writing and reading them.
        trace = list(neuron.run(current, upstream.shape[0]))
        return through_time(upstream, current, neuron, trace, lambda _, u: self.surrogate.slope(u))


@dataclass(frozen=True)
class RGA:
    """Rate gradient approximation: the layer is differentiated as a function of its mean current.

    With xb = (k/T) sum_t I[t] and the firing rate r as a piecewise linear function of xb,

        dr/dxb = gamma                                              0 <= xb < (1 - tau) theta
        dr/dxb = (1 - gamma theta (1 - tau)) / ((1 + tau) theta)    (1 - tau) theta <= xb <= 2 theta
        dr/dxb = 0                                                  elsewhere,

    and dL/dI[t] = k dr/dxb dL/ds[t]. Source: Bu et al., CVPR 2023. The released code closes both
    intervals at (1 - tau) theta, so that the two slopes add there (at xb = 0 for IF neurons); here the
    first interval is half open, and that point alone differs.
    """

    gamma: NotNegative = 0.2
    elementwise: ClassVar[bool] = True
    connects: ClassVar[Connects] = "same"

    @property
    def label(self) -> str:
        return "rga"

    def __post_init__(self) -> None:
        check_fields(self)

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        mean = neuron.charge(current).mean(0)
        dtype = mean.dtype
        knee = (1 - neuron.tau) * neuron.theta
        steep = (1 - self.gamma * knee) / ((1 + neuron.tau) * neuron.theta)
        low = ((mean >= 0) & (mean < knee)).to(dtype) * self.gamma
        high = ((mean >= knee) & (mean <= 2 * neuron.theta)).to(dtype) * steep
        slope = neuron.discharge(low + high)
        return _gather([step.to(dtype) * slope for step in upstream.unbind()], current)


@dataclass(frozen=True)
class BPTR:
    """Backpropagation through rates: straight through for neurons that fired at all, nothing for the rest.

        dL/dI[t] = k dL/ds[t]  if  sum_t s[t] > 0,  else 0

    Nothing is carried through time and no slope is involved. Source: Ding et al., NeurIPS 2022 (SNN-RAT);
    its released code has IF neurons, where k = 1.
    """

    elementwise: ClassVar[bool] = True
    connects: ClassVar[Connects] = "same"

    @property
    def label(self) -> str:
        return "bptr"

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        fired: Tensor | None = None
        for _, spike in neuron.run(current, upstream.shape[0]):
            fired = spike if fired is None else torch.maximum(fired, spike)
        assert fired is not None  # a layer has at least one step
        gate = neuron.discharge(fired)
        return _gather([step.to(gate.dtype) * gate for step in upstream.unbind()], current)


@dataclass(frozen=True)
class HART:
    """The hybrid of rate and temporal attributes: no carry through time, and the mean over time to each step.

        dL/dI[t] = (k / T) sum_j dL/ds[j] g(u[j] - theta)        for every t

    with g the slope of `surrogate`; its width moves the rule from temporal (narrow) to rate-like (wide).
    Source: Hao et al., ICLR 2024, with the triangle; its width was searched per model on the samples that it
    reports, which a suite must not do: take several widths and their union.
    """

    surrogate: Surrogate = field(default_factory=Triangle)
    elementwise: ClassVar[bool] = True
    connects: ClassVar[Connects] = "all"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def label(self) -> str:
        return f"hart-{name_of(self.surrogate)}"

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        steps = upstream.shape[0]
        total: Tensor | None = None
        for t, (potential, _) in enumerate(neuron.run(current, steps)):
            slope = self.surrogate.slope(potential - neuron.theta)
            gradient = upstream[t].to(slope.dtype) * slope
            total = gradient if total is None else total + gradient
        assert total is not None  # a layer has at least one step
        mean = neuron.discharge(total) / steps
        return _gather([mean] * steps, current)
