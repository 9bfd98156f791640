"""Surrogates: smooth stand-ins for the Heaviside step of a spiking neuron.

A neuron fires s = H(u) with u = V - theta, and H has derivative zero almost everywhere. A surrogate
gives the derivative that is used instead: a `primitive` P(u), increasing from 0 to 1, and its
derivative `slope` g(u) = dP/du. The forward pass keeps the exact step; only the backward pass sees
`slope`. All but `Identity` are normalised: the integral of g over the real line is 1.

Both functions act element by element on a tensor of any shape, in units of the membrane potential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Positive


@runtime_checkable
class Surrogate(Protocol):
    """A primitive and its slope; a value that can be hashed, compared and printed."""

    def primitive(self, u: Tensor) -> Tensor:
        """P(u), in [0, 1]."""
        ...

    def slope(self, u: Tensor) -> Tensor:
        """g(u) = dP/du, non-negative."""
        ...


class _Positive:
    """Refuses parameters that are not positive finite numbers."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Triangle(_Positive):
    """g(u) = max(0, width - |u|) / width^2, zero outside (-width, width). Peak 1/width.

    The training surrogate of the sparsity-regularisation paper (eq. 27, gamma = width = 1); its finite
    support makes gradients exactly zero for silent and saturated neurons. (Eq. 27 prints 1/gamma in
    front; with gamma = 1 both agree, and only 1/gamma^2 integrates to 1.)
    """

    width: Positive = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        z = (u / self.width).clamp(-1, 1)
        return 0.5 + z - 0.5 * z * z.abs()

    def slope(self, u: Tensor) -> Tensor:
        # In this order the slope is exactly zero at and beyond the edge, for every width, and nothing is divided:
        # two divisions cost a compiled kernel as much as all the rest.
        return (self.width - u.abs()).clamp_min(0) * (1 / (self.width * self.width))


@dataclass(frozen=True)
class Sigmoid(_Positive):
    """P(u) = sigma(k u), g(u) = k sigma(k u) (1 - sigma(k u)), k = sharpness. Peak k/4.

    (Eq. 28 of the sparsity-regularisation paper prints sigma itself; its released code uses the
    derivative, as here, with k = 4.)
    """

    sharpness: Positive = 4.0

    def primitive(self, u: Tensor) -> Tensor:
        return torch.sigmoid(self.sharpness * u)

    def slope(self, u: Tensor) -> Tensor:
        s = torch.sigmoid(self.sharpness * u)
        return self.sharpness * s * (1 - s)


@dataclass(frozen=True)
class Arctan(_Positive):
    """P(u) = 1/2 + arctan(pi a u / 2) / pi, g(u) = (a/2) / (1 + (pi a u / 2)^2), a = sharpness. Peak a/2."""

    sharpness: Positive = 2.0

    def primitive(self, u: Tensor) -> Tensor:
        return torch.atan(0.5 * math.pi * self.sharpness * u) / math.pi + 0.5

    def slope(self, u: Tensor) -> Tensor:
        z = 0.5 * math.pi * self.sharpness * u
        return 0.5 * self.sharpness / (1 + z * z)


@dataclass(frozen=True)
class Rectangle(_Positive):
    """g(u) = 1/width for |u| < width/2, else 0. P(u) = u/width + 1/2, clipped to [0, 1]."""

    width: Positive = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        return (u / self.width + 0.5).clamp(0, 1)

    def slope(self, u: Tensor) -> Tensor:
        return (u.abs() < 0.5 * self.width).to(u.dtype) / self.width


@dataclass(frozen=True)
class Gaussian(_Positive):
    """g(u) = a / sqrt(2 pi) exp(-(a u)^2 / 2), P(u) = Phi(a u), the normal distribution. a = sharpness."""

    sharpness: Positive = 2.0

    def primitive(self, u: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf(self.sharpness / math.sqrt(2) * u))

    def slope(self, u: Tensor) -> Tensor:
        z = self.sharpness * u
        return self.sharpness / math.sqrt(2 * math.pi) * torch.exp(-0.5 * z * z)


@dataclass(frozen=True)
class Exponential(_Positive):
    """g(u) = (k/2) exp(-k |u|), k = sharpness. Peak k/2; P is the Laplace distribution function.

    The adaptive ensemble of Özdenizci and Legenstein (TMLR 2024) has it as c exp(-k |u|) with c = 1 and 0.3.
    """

    sharpness: Positive = 2.0

    def primitive(self, u: Tensor) -> Tensor:
        tail = 0.5 * torch.exp(-self.sharpness * u.abs())
        return torch.where(u < 0, tail, 1 - tail)

    def slope(self, u: Tensor) -> Tensor:
        return 0.5 * self.sharpness * torch.exp(-self.sharpness * u.abs())


@dataclass(frozen=True)
class Identity:
    """g(u) = 1, the straight-through estimator: P(u) = u + 1/2, which is no distribution function.

    The one surrogate without a scale: its integral is infinite, and no neuron is ever too far from its threshold.
    """

    def primitive(self, u: Tensor) -> Tensor:
        return u + 0.5

    def slope(self, u: Tensor) -> Tensor:
        return torch.ones_like(u)
