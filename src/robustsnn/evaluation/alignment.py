"""Is the gradient where it belongs in the image? A shifted or turned one foresees much, and less than it should."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.points import FEWEST, reach
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.widest import wide
from robustsnn.neurons import GradientRule

MISPLACED = 1.2
"""Honest networks are at most at 0.81; one that looks at the mean of the image alone is at 1."""
LARGEST = 10.0
"""Reported where the margin does not rise along the gradient at all."""


def alignment(probe: Probe, rules: list[GradientRule | None]) -> list[Check]:
    """Flag misplaced-gradient: how far the margin rises along the gradient, and along the gradient put elsewhere.

    rise(h) = mean over images of m(x + d) - m(x - d),   d the step of size eps that is steepest for h

    for the gradient g of each rule, and for g moved by a pixel, mirrored, and with its axes exchanged. Where g is that
    of the function, the largest rise is one of g itself.
    """
    if probe.x.ndim < 4 or len(probe.x) < FEWEST:
        return []
    best: dict[str, float] = {}
    for rule in rules:
        for name, moved in _elsewhere(probe.gradient(rule).nan_to_num()):
            best[name] = max(best.get(name, 0.0), _rise(probe, moved))
    itself = best.pop("itself")
    name, other = max(best.items(), key=lambda item: item[1])
    share = min(LARGEST, other / itself) if itself > 0 else LARGEST * (other > 0)
    text = f"along the gradient {name} the margin rises by {share:.2f} of what it does along the gradient itself"
    return [Check(FLAGS["misplaced-gradient"], share > MISPLACED, text, share)]


def _elsewhere(g: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The gradient, and itself put elsewhere, by name."""
    yield "itself", g
    for axis, name in ((-1, "columns"), (-2, "rows")):
        yield f"mirrored in its {name}", g.flip(axis)
        for pixels in (-1, 1):
            yield f"moved by {pixels:+d} {name}", g.roll(pixels, axis)
    if g.shape[-1] == g.shape[-2]:
        yield "with its axes exchanged", g.transpose(-1, -2)


def _rise(probe: Probe, direction: Tensor) -> float:
    threat = probe.suite.threat
    step = threat.steepest(direction.contiguous(), reach(probe) if threat.norm == "Linf" else threat.eps)
    ahead, behind = (probe.margins((probe.x + side * step).clamp(threat.low, threat.high)) for side in (1, -1))
    return float(wide((ahead - behind).nan_to_num()).mean())
