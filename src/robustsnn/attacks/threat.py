"""Threats: which perturbed images an attacker may show. Geometry only, no model and no loss.

All work on batches: `x` is the clean image and `z` a perturbed one, both `[B, ...]`, and everything is
per sample. `project` lands inside the ball around x and inside the data range, keeps points that are
already there, and is idempotent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from robustsnn.attacks import grey
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.ground.door import check_images_of, check_labels, check_meets, check_model, check_place, plain
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.units import show_fraction
from robustsnn.ground.widest import exactly, wide

Space = Literal["pixel", "encoded"]
"""What is perturbed: the image, or the encoder's output `[B, T, C, H, W]`, each time step on its own."""

TOLERANCE = 1e-6
"""By how much an L2 distance may exceed eps through float32 rounding, for data in [0, 1]; checked in float64."""


class Threat(Protocol):
    """A ball of radius `eps` around the clean image, cut by the data range [low, high]."""

    norm: ClassVar[str]

    @property
    def eps(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def space(self) -> Space: ...

    @property
    def levels(self) -> int | None:
        """Points have entries k / levels alone; None allows all values."""
        ...

    @property
    def free(self) -> Threat:
        """The same ball with all its values, in which step rules move."""
        ...

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest value that each entry can take."""
        ...

    def sample(self, x: Tensor, generator: Randomness) -> Tensor:
        """A random point of the ball around x, cut to the range."""
        ...

    def steepest(self, gradient: Tensor, size: float | Tensor) -> Tensor:
        """The displacement of norm `size` (a number or `[B, 1, ...]`) along which g^T d is largest."""
        ...

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        """A point of ball and range near z."""
        ...

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """||z - x|| per sample `[B]`, in float64 where the device has it."""
        ...


def tolerance(threat: Threat) -> float:
    """`TOLERANCE` in units of the data range."""
    return TOLERANCE * max(1.0, abs(threat.low), abs(threat.high))


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """`[B]` as `[B, 1, 1, ...]`, to broadcast over the samples of `like`."""
    return values.view(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True)
class _Ball:
    eps: float
    low: float = 0.0
    high: float = 1.0
    space: Space = "pixel"

    norm: ClassVar[str]

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.low < self.high:
            raise UserError(f"data range [{self.low}, {self.high}]: low must be below high")
        largest = self.largest()
        if not 0 <= self.eps <= largest:
            hint = f"; {self.eps:g} grey levels of 255 are eps={self.eps:g}/255" if 1 < self.eps <= 255 else ""
            raise UserError(
                f"eps={self.eps!r} for {self.norm} on data in [{self.low:g}, {self.high:g}]: "
                f"allowed is 0 to {largest:g}{hint}"
            )

    def largest(self) -> float:
        return self.high - self.low

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """max(x - eps, low) and min(x + eps, high), a rounding error nearer to x: inside the ball in float64 too."""
        # An entry of the range and its shift are each rounded by half a unit in the last place at most.
        shift = max(0.0, self.eps - torch.finfo(x.dtype).eps * max(abs(self.low), abs(self.high)))
        return (x - shift).clamp_min(self.low), (x + shift).clamp_max(self.high)

    def __repr__(self) -> str:
        span = "" if (self.low, self.high) == (0.0, 1.0) else f", low={self.low:g}, high={self.high:g}"
        span += "" if self.space == "pixel" else f", space={self.space!r}"
        return f"{type(self).__name__}(eps={show_fraction(self.eps)}{span})"


@dataclass(frozen=True, repr=False)
class Linf(_Ball):
    """max_i |z_i - x_i| <= eps.

    With `levels`, 255 for images of 8 bits, the points are those whose entries are grey levels k / levels. Images have
    to be on them too, and distances are then counted in whole levels: what a file of grey values would show.
    """

    levels: int | None = None

    norm: ClassVar[str] = "Linf"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels is None:
            return
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or not 1 <= self.levels < 2**16:
            raise UserError(f"levels={self.levels!r}: needed is the largest grey value, 255 for 8 bits, or None")
        if (self.low, self.high, self.space) != (0.0, 1.0, "pixel"):
            raise UserError(f"levels={self.levels} is for images in [0, 1] in pixel space; leave it out elsewhere")

    @property
    def free(self) -> Threat:
        """The ball without its grid."""
        return self if self.levels is None else replace(self, levels=None)

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As of all balls; with levels the outermost ones."""
        if self.levels is None:
            return super().bounds(x)
        k, most = grey.shade(x, self.levels), grey.budget(self.eps, self.levels)
        return grey.shades(k - most, self.levels, x), grey.shades(k + most, self.levels, x)

    def sample(self, x: Tensor, generator: Randomness) -> Tensor:
        noise = Streams.of(generator, x).uniform(*x.shape[1:]).to(x)
        return self.project(x + (2 * noise - 1) * self.eps, x)

    def steepest(self, gradient: Tensor, size: float | Tensor) -> Tensor:
        return gradient.sign() * size

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        lowest, highest = self.bounds(x)
        z = z if self.levels is None else grey.nearest(z, self.levels)
        return torch.minimum(torch.maximum(z, lowest), highest)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        """As of all threats; inf for a point that is on no grey levels where they are needed."""
        if self.levels is None:
            return (wide(z) - wide(x)).abs().flatten(1).amax(1)
        moved = (grey.shade(z, self.levels) - grey.shade(x, self.levels)).abs().flatten(1).amax(1)
        on_grid = (z == grey.nearest(z, self.levels)).flatten(1).all(1)
        return torch.where(on_grid, moved / self.levels, torch.inf)

    def __repr__(self) -> str:
        return super().__repr__() if self.levels is None else f"{super().__repr__()[:-1]}, levels={self.levels})"


@dataclass(frozen=True, repr=False)
class L2(_Ball):
    """(sum_i (z_i - x_i)^2)^(1/2) <= eps.

    `project` scales z - x into the ball and then cuts to the range; since x lies in the range, the cut
    only shortens. The result is in the intersection, though not always its nearest point.
    """

    norm: ClassVar[str] = "L2"

    @property
    def levels(self) -> int | None:
        """None: all values."""
        return None

    @property
    def free(self) -> Threat:
        """The ball itself."""
        return self

    def largest(self) -> float:
        return math.inf

    def sample(self, x: Tensor, generator: Randomness) -> Tensor:
        streams = Streams.of(generator, x)
        noise = streams.normal(*x.shape[1:]).to(x)
        radius = self.eps * streams.uniform().to(x) ** (1 / max(1, x.shape[1:].numel()))
        return self.project(x + self.steepest(noise, per_sample(radius, x)), x)

    def steepest(self, gradient: Tensor, size: float | Tensor) -> Tensor:
        # Scaled by the largest entry first, so that tiny gradients do not underflow when squared.
        peak = gradient.abs().flatten(1).amax(1)
        g = gradient / per_sample(peak.clamp_min(torch.finfo(gradient.dtype).tiny), gradient)
        length = g.flatten(1).norm(dim=1)
        return g / per_sample(length.clamp_min(torch.finfo(g.dtype).tiny), g) * size

    def project(self, z: Tensor, x: Tensor) -> Tensor:
        length = self.distance(z, x)
        # A point on the sphere up to float32 rounding stays, which makes the projection idempotent.
        inside = length <= self.eps + tolerance(self) / 2
        factor = torch.where(inside, 1.0, self.eps / length.clamp_min(1e-300)).to(x.dtype)
        scaled = torch.where(per_sample(inside, x), z, x + (z - x) * per_sample(factor, x))
        return scaled.clamp(self.low, self.high)

    def distance(self, z: Tensor, x: Tensor) -> Tensor:
        return (wide(z) - wide(x)).flatten(1).norm(dim=1)


def verify(threat: Threat, z: Tensor, x: Tensor, source: object, slack: float = 0.0) -> Tensor:
    """The distances `[B]` of perturbed images, after checking shape, budget (in float64) and range.

    Linf is kept to the last bit; L2 up to `tolerance`, and by images of other makers up to `slack`.
    A breach is a defect of the attack, not of the user's input: RuntimeError naming the attack.
    """
    if z.shape != x.shape:
        raise RuntimeError(f"{source!r} returned shape {tuple(z.shape)} for images {tuple(x.shape)}")
    z, x = exactly(z), exactly(x)
    distance = threat.distance(z, x)
    slack = max(slack, tolerance(threat) if threat.norm == "L2" else 0.0)
    # Written so that NaN fails too.
    if not bool((distance <= threat.eps + slack).all()):
        raise RuntimeError(f"{source!r} left its budget: {threat.norm} distance {distance.max().item():.9g}")
    if not bool(((z >= threat.low) & (z <= threat.high)).all()):
        raise RuntimeError(f"{source!r} left the data range [{threat.low:g}, {threat.high:g}]")
    return distance


def check_call(threat: Threat, model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Images and labels as an attack works on them: of no graph, and outside inference mode.

    UserError unless an attack in this threat can be asked for these images, labels and model, here.
    """
    check_model(model)
    check_place()
    check_images(x, y, threat.low, threat.high, threat.levels)
    check_meets(model, x, y)
    return plain(x), plain(y)


def check_images(x: Tensor, y: Tensor, low: float = 0.0, high: float = 1.0, levels: int | None = None) -> None:
    """UserError unless x is a float batch in [low, high], on grey levels if any, with one integer label per image."""
    check_images_of(x)
    check_labels(y, len(x))
    if len(x) and not bool(((x >= low) & (x <= high)).all()):
        lost = int(x.isnan().flatten(1).any(1).sum())
        if lost:
            raise UserError(f"{lost} of {len(x)} images hold NaN: leave them out, x[~x.isnan().flatten(1).any(1)]")
        raise UserError(
            f"images span [{x.min().item():.4g}, {x.max().item():.4g}] where [{low:g}, {high:g}] is needed: "
            f"give pixels and normalise inside the model (robustsnn.wrap(net, mean=, std=)), or state the range in the "
            f"threat"
        )
    if levels is not None and not torch.equal(x, grey.nearest(x, levels)):
        raise UserError(
            f"some pixels are no whole grey levels k / {levels}, which a threat with levels={levels} needs; round the "
            f"images first, (x * {levels}).round() / {levels}, or attack without levels (a suite without -8bit)"
        )
