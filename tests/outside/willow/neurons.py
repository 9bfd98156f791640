"""Dynamics, a surrogate and a gradient rule."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.neurons import LIF, STBP, Surrogate


@dataclass(frozen=True)
class Amplified(LIF):
    """Leaky integrate-and-fire, its current multiplied."""

    factor: float = 1.5

    def charge(self, current: Tensor) -> Tensor:
        return super().charge(current) * self.factor

    def discharge(self, gradient: Tensor) -> Tensor:
        return super().discharge(gradient) * self.factor


@dataclass(frozen=True)
class Cauchy:
    """The density of a Cauchy distribution."""

    scale: float = 0.5

    def primitive(self, u: Tensor) -> Tensor:
        return torch.atan(u / self.scale) / torch.pi + 0.5

    def slope(self, u: Tensor) -> Tensor:
        return 1 / (torch.pi * self.scale * (1 + (u / self.scale).square()))


@dataclass(frozen=True)
class Halved:
    """Through time, and half of that."""

    surrogate: Surrogate = Cauchy()
    elementwise: ClassVar[bool] = True
    label: ClassVar[str] = "halved"

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        return 0.5 * STBP(self.surrogate).input_gradient(upstream, current, neuron)
