"""The surrogate of another framework, as a gradient rule of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustsnn.neurons import STBP, Arctan, Sigmoid, Surrogate, Triangle


def slope_of(fire: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    """What the backward pass of a step makes of ones, at v = u - theta; zeros of a step that has no surrogate."""
    with torch.enable_grad():
        leaf = v.detach().requires_grad_()
        fired = fire(leaf)
        return torch.autograd.grad(fired.sum(), leaf)[0] if fired.requires_grad else torch.zeros_like(v)


@dataclass(frozen=True)
class OwnSlope:
    """g(v) = what the framework's backward pass makes of one, for its step `fire` from v = u - theta to spikes."""

    fire: Callable[[Tensor], Tensor]
    said: str

    def primitive(self, u: Tensor) -> Tensor:
        """What it fires, since its smooth stand-in is not known."""
        return self.fire(u)

    def slope(self, u: Tensor) -> Tensor:
        return slope_of(self.fire, u)

    def __repr__(self) -> str:
        return self.said


@dataclass(frozen=True)
class Own(STBP):
    """`STBP` with the surrogate that the network came with; compiled never, and differentiated once."""

    surrogate: Surrogate = field()
    elementwise: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return f"own-{self.surrogate!r}".lower()


_POINTS = torch.linspace(-3, 3, 241, dtype=torch.float64)


def rule_of(fire: Callable[[Tensor], Tensor], said: str, sharpness: float | None) -> STBP:
    """The rule of a layer with this step: STBP with a surrogate of ours where one has the same slope, else `Own`."""
    theirs = OwnSlope(fire, said)
    if sharpness:
        slope = theirs.slope(_POINTS)
        for ours in (Arctan(sharpness), Sigmoid(sharpness), Triangle(1 / sharpness)):
            if torch.allclose(ours.slope(_POINTS), slope, rtol=1e-6, atol=1e-9):
                return STBP(ours)
    return Own(theirs)
