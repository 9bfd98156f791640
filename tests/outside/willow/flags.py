"""A flag."""

from robustsnn.evaluation.flags import Check, Flag

DROUGHT = Flag(
    "drought",
    True,
    "the logits of a white and of a black image are the same for every probed image",
    "A willow without water answers everything alike.",
    "Water it.",
)


def drought(probe, found):
    """Whether light makes no difference."""
    light = probe.model(probe.x * 0 + 1) - probe.model(probe.x * 0)
    spread = float(light.detach().abs().max())
    return Check(DROUGHT, spread == 0, f"from black to white the logits move by {spread:.3g}", spread)
