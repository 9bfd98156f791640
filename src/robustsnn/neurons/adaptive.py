"""Gradient rules that fit their slope to the potentials they meet: PDSG and ASSG.

Both widen or narrow a surrogate until it covers the potentials of the layer at hand. Statistics are taken
within a sample, never over the batch, so that samples stay independent; they are constants to the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import NotNegative, Positive, Within
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.rules import Connects, through_time
from robustsnn.neurons.surrogate import Arctan, Surrogate


@dataclass(frozen=True)
class PDSG:
    """Potential-dependent surrogate gradient: a Gaussian as wide as the potentials spread.

        g(v) = exp(-(v - sigma/2)^2 / (2 sigma^2)) / (sqrt(2 pi) sigma),    v = u[t] - theta

    with sigma the standard deviation of u[1..t] over the steps so far and the positions of a channel, and
    backpropagation through time as in `STBP`. Source: Lun et al., CVPR 2025. Three changes: the source also
    pools over the batch, which couples samples; it divides by n - 1, which is NaN for one value; and it takes
    a spread of exactly zero as one, where here `floor` bounds it from below. A layer without positions
    (`[T, B, F]`) counts as one channel of F positions, or (`per_feature`) as F channels of one position, as in the
    source, whose batch is then all that is pooled beside the steps: here the steps alone.

    Args:
        floor: least sigma, in units of the threshold.
        per_feature: a sigma for each feature of a layer without positions.
    """

    floor: Positive = 0.1
    per_feature: bool = False
    elementwise: ClassVar[bool] = False
    connects: ClassVar[Connects] = "later"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def label(self) -> str:
        return "pdsg-per-feature" if self.per_feature else "pdsg"

    def spreads(self, potentials: list[Tensor]) -> list[Tensor]:
        """sigma after each step, `[B, C, 1, ...]` (of vectors `[B, 1]`, or `[B, F]` per feature), before the floor."""
        first = potentials[0]
        if self.per_feature and first.ndim == 2:  # each feature is a channel of one position
            return [spread[..., 0] for spread in self.spreads([potential[..., None] for potential in potentials])]
        over = tuple(range(2 if first.ndim > 2 else 1, first.ndim))
        spreads = []
        n, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for potential in potentials:
            # Chan's update of mean and sum of squared deviations: stable where E[u^2] - E[u]^2 is not.
            there = potential.mean(over, keepdim=True)
            here = math.prod(potential.shape[d] for d in over)
            spread = (potential - there).square().sum(over, keepdim=True)
            if n == 0:
                mean, squares = there, spread
            else:
                gap = there - mean
                mean = mean + gap * (here / (n + here))
                squares = squares + spread + gap.square() * (n * here / (n + here))
            n += here
            spreads.append((squares / n).sqrt())
        return spreads

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        if current.ndim < 3:
            raise UserError(f"PDSG needs currents [T, B, ...] to tell samples apart, got {list(current.shape)}")
        trace = list(neuron.run(current, upstream.shape[0]))
        least = self.floor * neuron.theta
        sigma = [spread.clamp_min(least) for spread in self.spreads([potential for potential, _ in trace])]

        def slope(t: int, v: Tensor) -> Tensor:
            z = v / sigma[t] - 0.5
            return torch.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * sigma[t])

        return through_time(upstream, current, neuron, trace, slope)


def mass(surrogate: Surrogate, x: float) -> float:
    """The slope's integral over [-x, x]: P(x) - P(-x)."""
    high, low = surrogate.primitive(torch.tensor([x, -x], dtype=torch.float64)).tolist()
    return high - low


def reach(surrogate: Surrogate, share: float) -> float:
    """The x at which `mass(surrogate, x)` is `share`, in (0, 1), by bisection."""
    low, high = 0.0, 1.0
    while mass(surrogate, high) < share and high < 1e12:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if mass(surrogate, middle) < share else (low, middle)
    return high


@dataclass(frozen=True)
class ASSG:
    """Adaptive-sharpness surrogate gradient: each neuron, step and sample has a slope as sharp as it bears.

    With v = u[t] - theta, and at each backward pass of an attack

        M <- b1 M + (1 - b1) |v|                 (M = 1 at first)
        D <- b2 D + (1 - b2) | |v| - M |         (D = 0 at first; M is the new one)
        alpha = omega / (M + relax D + 1e-4),    g(v) = alpha k(alpha v)

    where k is the slope of `surrogate` and omega holds the share `degree` of its integral within [-omega,
    omega]: a neuron whose potential is at distance |v| = M + relax D has that share of its slope nearer to the
    threshold. Then backpropagation through time as in `STBP`. Which scale the surrogate is given in does not
    matter. Source: arXiv 2512.22522.

    The statistics are a value of one attack run: `begin()` makes the rule of one layer, which remembers.
    Used without it, every call starts from M = 1, D = 0.

    Args:
        surrogate: gives the shape; of integral 1, which `Identity` is not.
        degree: A, the source's bound on the expected vanishing degree, in (0, 1).
        keep_mean, keep_deviation: b1, b2.
        relax: weight of the deviation.
    """

    surrogate: Surrogate = field(default_factory=Arctan)
    degree: Annotated[float, Within(above=0, below=1)] = 0.87
    keep_mean: Annotated[float, Within(least=0, below=1)] = 0.9
    keep_deviation: Annotated[float, Within(least=0, below=1)] = 0.9
    relax: NotNegative = 1.5
    elementwise: ClassVar[bool] = False
    connects: ClassVar[Connects] = "later"

    def __post_init__(self) -> None:
        check_fields(self)
        if not abs(mass(self.surrogate, 1e12) - 1) < 1e-6:
            raise UserError(
                f"ASSG(surrogate={self.surrogate!r}): a share of the slope's integral needs an integral of 1; "
                f"use a surrogate whose primitive rises from 0 to 1"
            )

    @property
    def label(self) -> str:
        return f"assg-{type(self.surrogate).__name__.lower()}-{self.degree:g}"

    @property
    def omega(self) -> float:
        """Sharpness at unit distance."""
        return reach(self.surrogate, self.degree)

    def begin(self) -> Sharpness:
        """The rule of one layer for one run of an attack."""
        return Sharpness(self)

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        return self.begin().input_gradient(upstream, current, neuron)


class Sharpness:
    """`ASSG` in one layer during one run: M and D, `[T, B, ...]`. While `held`, they are used but not moved."""

    elementwise: ClassVar[bool] = False
    connects: ClassVar[Connects] = "later"

    def __init__(self, rule: ASSG) -> None:
        self.rule = rule
        self.label = rule.label
        self.omega = rule.omega
        self.held = False
        self.mean: Tensor | None = None
        self.deviation: Tensor | None = None

    def __repr__(self) -> str:
        return repr(self.rule)

    def select(self, at: Tensor) -> None:
        """Keep the statistics of these samples of the batch alone."""
        if self.mean is not None and self.deviation is not None:
            self.mean, self.deviation = self.mean[:, at], self.deviation[:, at]

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        """See `GradientRule.input_gradient`; moves the statistics first, unless held."""
        rule = self.rule
        trace = list(neuron.run(current, upstream.shape[0]))
        if self.mean is not None and self.mean.shape[1:] != trace[0][0].shape:
            raise UserError(
                f"{rule!r} met a layer first with shape {list(self.mean.shape[1:])}, then {list(trace[0][0].shape)}: "
                f"tell `Memory.select` which samples stay when some leave the batch; a network that uses one layer "
                f"twice in a forward pass needs another rule"
            )
        if self.mean is None or self.deviation is None or not self.held:
            distance = torch.stack([(potential - neuron.theta).abs() for potential, _ in trace])
            mean = torch.ones_like(distance) if self.mean is None else self.mean
            deviation = torch.zeros_like(distance) if self.deviation is None else self.deviation
            self.mean = rule.keep_mean * mean + (1 - rule.keep_mean) * distance
            gap = (distance - self.mean).abs()
            self.deviation = rule.keep_deviation * deviation + (1 - rule.keep_deviation) * gap
        alpha = self.omega / (self.mean + rule.relax * self.deviation + 1e-4)

        def slope(t: int, v: Tensor) -> Tensor:
            return alpha[t] * rule.surrogate.slope(alpha[t] * v)

        return through_time(upstream, current, neuron, trace, slope)
