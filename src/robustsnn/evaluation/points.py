"""Where checks look at a model: at the images, and at points that attacks come to but that need no gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustsnn.attacks.threat import per_sample
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.seeds import generator
from robustsnn.ground.widest import wide

DIRECTIONS = 32
"""Random directions along which a function is differenced."""
FEWEST = 8
"""Fewer images say nothing: the correlation of one image with 32 directions scatters by 0.18."""
LEAST = 16 / 255
"""The least reach, as a share of the data range: a network of spikes is constant on smaller steps."""


@dataclass(frozen=True)
class Differences:
    """Central differences of the margin at points z along random corners d in {-1, 1}^n, k = 1 .. K.

    rise_k = m(z_k+) - m(z_k-),   z_k+- = z +- reach d_k cut to the data range,   move_k = z_k+ - z_k-
    """

    moves: list[Tensor]  # K of the shape of z
    rises: Tensor  # [K, B]

    @property
    def moving(self) -> Tensor:
        """bool [B]: the margin changes along some direction."""
        return self.rises.abs().amax(0) > 0

    def correlation(self, gradient: Tensor) -> Tensor:
        """[B]: sum_k p_k rise_k / (|p| |rise|), p_k = <gradient, move_k>; 0 where either does not move.

        1 for the gradient of an affine function, about 1 / sqrt(K) in size and of any sign for an unrelated one.
        """
        foreseen = torch.stack([wide((gradient * move).flatten(1)).sum(1) for move in self.moves])
        rises = wide(self.rises)
        lengths = foreseen.norm(dim=0) * rises.norm(dim=0)
        return torch.where(lengths > 0, (foreseen * rises).sum(0) / lengths, 0)

    def slope(self) -> Tensor:
        """sum_k rise_k move_k: the gradient as far as the differences tell."""
        return torch.stack([per_sample(r, m) * m for r, m in zip(self.rises, self.moves, strict=True)]).sum(0)


def reach(probe: Probe) -> float:
    """How far differences reach: eps, at least `LEAST` of the data range; in other norms than Linf that."""
    threat = probe.suite.threat
    least = LEAST * (threat.high - threat.low)
    return max(threat.eps, least) if threat.norm == "Linf" else least


def differences(
    probe: Probe, z: Tensor, size: float, name: str, directions: int = DIRECTIONS, among: Tensor | None = None
) -> Differences:
    """Of the margin at z, moving all entries or those `among` them; `name` tells its random directions from others."""
    threat, draws = probe.suite.threat, generator(probe.seed, "differences", name)
    moves, rises = [], []
    for _ in range(directions):
        step = size * corners(z, draws)
        if among is not None:
            step = torch.where(among, step, 0)
        ahead, behind = ((z + side * step).clamp(threat.low, threat.high) for side in (1, -1))
        moves.append(ahead - behind)
        rises.append((probe.margins(ahead) - probe.margins(behind)).nan_to_num())
    return Differences(moves, torch.stack(rises))


def corners(like: Tensor, draws: torch.Generator) -> Tensor:
    """-1 or 1 for each entry."""
    return (2 * torch.randint(2, like.shape, generator=draws) - 1).to(like)


def corner(probe: Probe, side: int = 1, draws: torch.Generator | None = None) -> Tensor:
    """A random corner of the threat around each image (for L2 a point of the sphere); the opposite one for side -1.

    Always the same one without `draws`.
    """
    threat = probe.suite.threat
    noise = corners(probe.x, generator(probe.seed, "corner") if draws is None else draws)
    return threat.project(probe.x + threat.steepest(noise, side * threat.eps), probe.x)


def crossing(probe: Probe) -> Tensor | None:
    """The last point that is classified right on the way to an image of another class; None if there is none.

    Found by bisection, so the decision boundary is near, and nothing but decisions was asked for.
    """
    x, y = probe.x, probe.y
    others = y[:, None] != y[None, :]
    if not bool(others.any(1).all()):
        return None
    # The next image of another class, in the order of the probe.
    place = torch.arange(len(x), device=x.device)
    order = (place[None, :] - place[:, None]) % len(x)
    other = x[torch.where(others, order, len(x)).argmin(1)]
    low, high = torch.zeros(len(x), device=x.device), torch.ones(len(x), device=x.device)
    for _ in range(8):
        middle = (low + high) / 2
        stands = probe.margins(torch.lerp(x, other, per_sample(middle, x).to(x))) < 0
        low, high = torch.where(stands, middle, low), torch.where(stands, high, middle)
    return torch.lerp(x, other, per_sample(low, x).to(x))


def climbed(probe: Probe, at_images: Differences) -> Tensor:
    """A step of size eps along the differences at the images: where an attack goes, found without gradients."""
    threat = probe.suite.threat
    return threat.project(probe.x + threat.steepest(at_images.slope(), threat.eps), probe.x)
