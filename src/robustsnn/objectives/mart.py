"""MART: adversarial training that asks more of images that are misclassified anyway."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from robustsnn.attacks import Attack
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import NotNegative
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import boosted_cross_entropy, divergence, true_probability
from robustsnn.objectives.natural import Terms


@dataclass(frozen=True)
class MART:
    """The boosted cross-entropy at x', plus lam times how far the prediction moved, weighed by how wrong it was at x.

        L = BCE(p(x'), y) + lam KL(p(x) || p(x')) (1 - p_y(x)),
        BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k),    p = softmax(z)

    x' is the attacked x, crafted in eval mode by the attack's own loss. All of p carry gradient. Source: Wang et al.,
    ICLR 2020, where lam is 5 (6 in the released code).

    Costs 6 + 2 K forward units with K attack steps.

    Args:
        lam: their lambda >= 0.
        attack: PGD with keep="last", say.
    """

    lam: NotNegative
    attack: Attack

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        return self.at_points(model, self.inputs(model, x, y, generator), y)

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        """Both ends, `[2, B, ...]`: x and x'."""
        return torch.stack([x, self.attack.run(model, x, y, generator=generator).images])

    def at_points(self, model: nn.Module, x: Images, y: Labels) -> tuple[Terms, Logits]:
        """What is asked at the two ends."""
        logits, attacked = model(x[0]), model(x[1])
        moved = divergence(logits, attacked) * (1 - true_probability(logits, y))
        return {"boosted": boosted_cross_entropy(attacked, y), "divergence": self.lam * moved}, logits
