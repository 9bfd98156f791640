"""What no gradient reacts to, and the margin does: pixels of the images, or frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from robustsnn.attacks.threat import per_sample
from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.points import FEWEST, corner, corners, differences, reach
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.seeds import generator
from robustsnn.ground.widest import wide
from robustsnn.neurons import GradientRule

Change = Callable[[Tensor], Tensor]
BLOCK = 8
"""Side of the blocks whose directions are asked for: those of JPEG and its kin."""


def lost(probe: Probe, rules: list[GradientRule | None]) -> Check:
    """Flag lost-entries: how far the margin moves with entries that no gradient reacts to, against all entries.

    An entry is lost if it is below 1e-3 of the image's largest under all rules, at a corner and at the opposite one: a
    pixel that is cut to the range, and so cannot move on at one of them, can at the other. What rounds frequencies, or
    blocks by whatever transform, loses directions that no single pixel shows: see `_frequencies` and `_directions`.
    """
    gradients = [probe.gradient(rule, at=z).nan_to_num() for z in (corner(probe), corner(probe, -1)) for rule in rules]
    entries = torch.stack([_below(gradient, 1e-3) for gradient in gradients]).all(0)
    size = reach(probe)
    found = {"entries": (0.0, 0.0)}
    if bool(entries.any()):
        moved = [
            float(wide(differences(probe, probe.x, size, "entries", 16, among).rises).square().mean().sqrt())
            for among in (entries, torch.ones_like(entries))
        ]
        found = {"entries": (float(entries.float().mean()), _ratio(*moved))}
    gradients += _more(probe, rules, gradients)
    for name, among, back in (*_frequencies(gradients), *_directions(gradients)):
        if bool(among.any()):
            found[name] = float(among.float().mean()), _ratio(*_moved(probe, back, size, among))
    name, (part, share) = max(found.items(), key=lambda item: item[1][1])
    text = f"{100 * part:.0f} % of the {name} have no gradient under any rule; moving them alone changes the margin "
    text += f"by {share:.2f} of what moving all does"
    return Check(FLAGS["lost-entries"], share > 0.5 and len(probe.x) >= FEWEST, text, share)


def _more(probe: Probe, rules: list[GradientRule | None], gradients: list[Tensor]) -> list[Tensor]:
    """Gradients at other random corners, until `_directions` has enough of them or six corners were asked."""
    draws = generator(probe.seed, "corner", "directions")
    more: list[Tensor] = []
    for _ in range(6 * _blocked(probe.x)):
        rows, directions = _blocks(probe.x).flatten(0, -2).shape
        if rows * (len(gradients) + len(more)) >= 2 * directions:
            break
        z = corner(probe, draws=draws)
        more += [probe.gradient(rule, at=z).nan_to_num() for rule in rules]
    return more


def _ratio(those: float, every: float) -> float:
    return those / every if every > 0 else 0.0


def _below(gradient: Tensor, share: float) -> Tensor:
    """bool, of its shape: below that share of the sample's largest; none of a sample without any gradient."""
    size = gradient.abs()
    low = size <= share * per_sample(size.flatten(1).amax(1), size)
    return low & ~per_sample(low.flatten(1).all(1), low)  # zero-gradient speaks of those


def _moved(probe: Probe, back: Change, size: float, among: Tensor) -> list[float]:
    """Root mean squares of the margin's rises along random signs of those coefficients, and of all coefficients.

    All together move a pixel by at most `size`, and those do what they do among all. Around images of less contrast:
    cut to the range, one direction would be many.
    """
    threat, draws = probe.suite.threat, generator(probe.seed, "differences", "directions")
    middle = (threat.low + threat.high) / 2
    x = middle + (1 - 2 * size / (threat.high - threat.low)) * (probe.x - middle)
    rises: list[Tensor] = []
    for _ in range(16):
        signs = corners(among.to(x), draws)
        every, those = back(signs), back(torch.where(among, signs, 0))
        scale = per_sample(size / every.flatten(1).abs().amax(1), every)
        for step in (scale * those, scale * every):
            z = [(x + side * step).clamp(threat.low, threat.high) for side in (1, -1)]
            rises.append((probe.margins(z[0]) - probe.margins(z[1])).nan_to_num())
    return [float(wide(torch.stack(rises[i::2])).square().mean().sqrt()) for i in (0, 1)]


def _frequencies(gradients: list[Tensor]) -> Iterator[tuple[str, Tensor, Change]]:
    """Which coefficients of the cosine transform of the images are lost, and the way back to pixels."""
    like = gradients[0]
    if like.ndim >= 4:
        rows, columns = (_cosines(n).to(like) for n in like.shape[-2:])
        among = torch.stack([_below(rows @ gradient @ columns.T, 1e-3) for gradient in gradients]).all(0)
        yield "frequencies", among, lambda z: rows.T @ z @ columns


def _cosines(n: int) -> Tensor:
    """`[n, n]`, orthonormal: row k is frequency k, sqrt((2 - [k = 0]) / n) cos(pi k (i + 1/2) / n)."""
    k = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * (2 / n) ** 0.5
    cosines[0] *= 0.5**0.5
    return cosines


def _directions(gradients: list[Tensor]) -> Iterator[tuple[str, Tensor, Change]]:
    """Which directions of all blocks of 8x8 pixels, channels together, are lost, and the way back to pixels.

    The directions are the principal ones of the blocks of all gradients, each scaled to 1. Lost are those whose root
    mean square is below 1e-4 of the largest; nothing is said of fewer than two blocks for each direction.
    """
    like = gradients[0]
    if not _blocked(like):
        return
    blocks = wide(torch.cat([_blocks(gradient).flatten(0, -2) for gradient in gradients]))
    largest = blocks.abs().amax(1, keepdim=True)
    blocks = (blocks / largest)[largest[:, 0] > 0]
    if len(blocks) < 2 * blocks.shape[1]:
        return
    power, directions = torch.linalg.eigh(blocks.T @ blocks)
    among = (power <= 1e-8 * power[-1]).expand(_blocks(like).shape)

    def back(z: Tensor) -> Tensor:
        small = (wide(z) @ directions.T).to(like)  # [..., H/8, W/8, C 8 8]
        parts = small.unflatten(-1, (like.shape[-3], BLOCK, BLOCK)).movedim(-3, -5)  # [..., C, H/8, W/8, 8, 8]
        return parts.transpose(-3, -2).flatten(-2).flatten(-3, -2)

    yield "directions of a block of 8x8 pixels", among, back


def _blocked(z: Tensor) -> bool:
    """Whether these are images of whole blocks."""
    return z.ndim >= 4 and z.shape[-2] % BLOCK == z.shape[-1] % BLOCK == 0


def _blocks(z: Tensor) -> Tensor:
    """`[..., C, H, W]` -> `[..., H/8, W/8, C 8 8]`."""
    parts = z.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK)).transpose(-3, -2)  # [..., C, H/8, W/8, 8, 8]
    return parts.movedim(-5, -3).flatten(-3)
