"""Adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from robustsnn.attacks import Attack
from robustsnn.ground.fields import check_fields
from robustsnn.ground.types import Images, Labels
from robustsnn.objectives.natural import Natural


@dataclass(frozen=True)
class Adversarial(Natural):
    """AT: cross-entropy on attacked images, min_w E[max_{|d| <= eps} CE(f(x + d), y)] (Madry et al. 2018).

    The images are crafted in eval mode, so that batch-norm statistics see the final images only. The
    paper's attack is `pgd(2/255, 5, alpha=0.01, keep="last")`.
    """

    attack: Attack

    def __post_init__(self) -> None:
        check_fields(self)

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        return self.attack.run(model, x, y, generator=generator).images
