"""Where an attack begins inside its threat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, per_sample
from robustsnn.ground.units import show_fraction


class Start(Protocol):
    """Draws the first point of an attack on x, inside the threat."""

    def __call__(self, threat: Threat, x: Tensor, generator: Randomness) -> Tensor: ...


@dataclass(frozen=True)
class AtImage:
    """The clean image itself."""

    def __call__(self, threat: Threat, x: Tensor, generator: Randomness) -> Tensor:
        return x.clone()


@dataclass(frozen=True)
class Uniform:
    """Uniform in the ball."""

    def __call__(self, threat: Threat, x: Tensor, generator: Randomness) -> Tensor:
        return threat.sample(x, generator)


@dataclass(frozen=True)
class Boundary:
    """On the sphere of the threat, as APGD starts: eps t / max|t| with t uniform in the cube for Linf,
    eps t / ||t|| with t normal for L2."""

    def __call__(self, threat: Threat, x: Tensor, generator: Randomness) -> Tensor:
        if threat.norm == "Linf":
            noise = 2 * Streams.of(generator, x).uniform(*x.shape[1:]).to(x) - 1
            noise = noise / per_sample(noise.abs().flatten(1).amax(1).clamp_min(1e-12), x) * threat.eps
        else:
            noise = threat.steepest(Streams.of(generator, x).normal(*x.shape[1:]).to(x), threat.eps)
        return threat.project(x + noise, x)


@dataclass(frozen=True)
class SignNoise:
    """x + size sign(n), n standard normal: the start of RFGSM (Tramer et al. 2018)."""

    size: float

    def __call__(self, threat: Threat, x: Tensor, generator: Randomness) -> Tensor:
        return threat.project(x + self.size * Streams.of(generator, x).normal(*x.shape[1:]).to(x).sign(), x)

    def __repr__(self) -> str:
        return f"SignNoise(size={show_fraction(self.size)})"
