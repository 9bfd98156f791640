"""How finely a model answers: whether a small change of the image can be seen in its outputs."""

from __future__ import annotations

import torch

from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.points import corner, differences, reach
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.widest import wide


def coarse(probe: Probe) -> Check:
    """Flag coarse-logits. At corners, so that images that are there twice do not count as one."""
    margins = probe.margins(corner(probe))
    n, different = len(margins), len(torch.unique(margins.nan_to_num()))
    text = f"margins at corners are {different} different numbers for {n} images"
    return Check(FLAGS["coarse-logits"], n >= 8 and 2 * different < n, text, different / n)


def erratic(probe: Probe) -> Check:
    """Flag erratic: root mean squares of the rises on steps of a millionth of the range, over those on steps of eps.

    A network of spikes has jumps too, but hardly one within a millionth of any point.
    """
    threat, z = probe.suite.threat, corner(probe)
    tiny, usual = (
        float(wide(differences(probe, z, size, "erratic", 8).rises).square().mean().sqrt())
        for size in (1e-6 * (threat.high - threat.low), reach(probe))
    )
    share = tiny / usual if usual > 0 else 0.0
    text = f"steps of a millionth change the margin by {share:.2g} of what steps of eps do"
    return Check(FLAGS["erratic"], len(z) >= 8 and share > 0.3, text, share)


def stuck(probe: Probe) -> list[Check]:
    """Flag single-surrogate, of a model without neuron layers that is nevertheless made of steps.

    A derivative that is not zero where the function is constant was put there by somebody, and cannot be swapped.
    """
    if probe.spiking:
        return []
    threat = probe.suite.threat
    found = differences(probe, probe.x, 1e-5 * (threat.high - threat.low), "still", 8)
    still = float((found.rises == 0).float().mean())
    sloped = float((probe.gradient(None).nan_to_num().flatten(1).abs().amax(1) > 0).float().mean())
    if still < 0.5 or sloped < 0.5:
        return []
    text = f"{100 * still:.0f} % of small steps leave the margin as it is, and yet there is a gradient: a surrogate "
    return [Check(FLAGS["single-surrogate"], True, text + "inside the model, which no gradient rule can replace", 1.0)]
