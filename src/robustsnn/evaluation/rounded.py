"""What rounding to grey levels undoes: an adversarial image is broken, but is the file of it?"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from robustsnn.attacks.grey import EIGHT_BITS, nearest
from robustsnn.attacks.threat import Threat
from robustsnn.evaluation.effort import Effort
from robustsnn.evaluation.judge import Judge, device_of
from robustsnn.ground.seeds import seeded
from robustsnn.records.outcome import Outcomes


def rounded(model: nn.Module, threat: Threat, found: Outcomes, judge: Judge, effort: Effort) -> dict[str, int] | None:
    """{"standing", "of"}: how many of the broken images are classified correctly again once rounded to 8 bits.

    One more judgement of the broken images. None where it says nothing: no images were kept, they are on a grid
    already, or they are no images in [0, 1].
    """
    gridded = threat.levels is not None or threat.norm == "L0"
    if found.images is None or gridded or (threat.low, threat.high, threat.space) != (0.0, 1.0, "pixel"):
        return None
    device, standing = device_of(model, torch.empty(0)), 0
    broken = np.flatnonzero(found.correct & ~found.standing())
    for start in range(0, len(broken), effort.batch_size):
        at = broken[start : start + effort.batch_size]
        z, y = (torch.from_numpy(values[at]).to(device) for values in (found.images, found.label))
        with seeded(effort.seed, "rounded", start):
            standing += int((judge(model, nearest(z, EIGHT_BITS), y)[0] < 0).sum())
    return {"standing": standing, "of": len(broken)}
