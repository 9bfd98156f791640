"""Does the gradient belong to the function? Compared with differences of the margin, at several kinds of points."""

from __future__ import annotations

import torch
from torch import Tensor

from robustsnn.evaluation.alignment import alignment
from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.lost import lost
from robustsnn.evaluation.points import FEWEST, Differences, climbed, corner, crossing, differences, reach
from robustsnn.evaluation.probe import Probe
from robustsnn.neurons import ASSG, RGA, STBP, Arctan, GradientRule

REFERENCES: tuple[GradientRule, ...] = (STBP(Arctan(2.0)), RGA(), ASSG())
UNRELATED = 0.1
"""A mean correlation below this is none. Honest networks are above 0.2, see docs/explanation/flags.md."""


def relation(probe: Probe) -> list[Check]:
    """Flags unrelated-gradient, lost-entries and blind-rules."""
    rules: list[GradientRule | None] = [None, *(REFERENCES if probe.spiking else ())]
    size = reach(probe)
    at_images = differences(probe, probe.x, size, "images")
    places: dict[str, Tensor | None] = {
        "near the boundary": crossing(probe),
        "at a corner": corner(probe),
        "after a step without gradients": climbed(probe, at_images),
    }
    made = {"at the images": _correlations(probe, probe.x, at_images, rules)}
    for name, z in places.items():
        if z is not None:
            made[name] = _correlations(probe, z, differences(probe, z, size, name), rules)
    known = {name: found for name, found in made.items() if found is not None}
    least = min((max(found) for found in known.values()), default=1.0)
    told = ", ".join(f"{max(found):.2f} {name}" for name, found in known.items())
    text = f"correlation of the best gradient with differences of the margin: {told}"
    smooth = _smooth(probe, rules)
    if smooth is not None:
        text += f"; {smooth:.2f} on small steps, where the margin is smooth"
    flat = _flat(probe, at_images, rules)
    if flat:
        text += f"; {flat} of {len(probe.x)} images have a gradient, and yet the same margin along all directions"
    unrelated = least < UNRELATED or (smooth is not None and smooth < 0.5) or flat > 7 / 8 * len(probe.x)
    checks = [Check(FLAGS["unrelated-gradient"], unrelated, text, least)]
    if probe.spiking and known:
        best = [max(found[i] for found in known.values()) for i in range(len(rules))]
        names = [rule.label if rule is not None else "own" for rule in rules]
        blind = [name for name, value in zip(names, best, strict=True) if value < UNRELATED]
        text = f"{len(blind)} of {len(rules)} gradient rules foresee no change of the margin anywhere"
        text += f" ({', '.join(blind)})" if blind else ""
        most = 2 * len(blind) + ("own" in blind) > len(rules)
        checks.append(Check(FLAGS["blind-rules"], most, text, len(blind) / len(rules)))
    return [*checks, *alignment(probe, rules), lost(probe, rules)]


def _correlations(probe: Probe, z: Tensor, found: Differences, rules: list[GradientRule | None]) -> list[float] | None:
    """Mean over the images that move, for each rule; None for too few."""
    moving = found.moving
    if int(moving.sum()) < max(FEWEST, len(z) / 8):
        return None
    return [float(found.correlation(probe.gradient(rule, at=z).nan_to_num())[moving].mean()) for rule in rules]


def _flat(probe: Probe, at_images: Differences, rules: list[GradientRule | None]) -> int:
    """How many images have a gradient that foresees changes, and a margin that does not move at all; 0 of too few."""
    if len(probe.x) < FEWEST:
        return 0
    foreseen = torch.stack([probe.gradient(rule).nan_to_num().flatten(1).abs().amax(1) > 0 for rule in rules]).any(0)
    return int((foreseen & ~at_images.moving).sum())


def _smooth(probe: Probe, rules: list[GradientRule | None]) -> float | None:
    """The best mean correlation on steps of half a grey level, if rises halve with the steps (smooth there)."""
    threat = probe.suite.threat
    small = 0.5 / 255 * (threat.high - threat.low)
    whole, half = (differences(probe, probe.x, size, "small", 16) for size in (small, small / 2))
    bent = (whole.rises - 2 * half.rises).abs() > 0.1 * whole.rises.abs()
    still = whole.rises == 0
    if float((bent | still).float().mean()) > 0.25:
        return None
    found = _correlations(probe, probe.x, whole, rules)
    return None if found is None else max(found)
