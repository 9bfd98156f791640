"""Logit pairing: of images with their attacked twins, or of random images with each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import nn

from robustsnn.attacks import Attack
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import NotNegative, Within
from robustsnn.ground.seeds import drawn, order
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.objectives.natural import Natural, PointObjective, Terms


@dataclass(frozen=True)
class AdversarialLogitPairing:
    """ALP: training on x and x' alike, plus the squared distance of their logits.

        L = share L_over(x) + (1 - share) L_over(x') + lam ||z(x) - z(x')||_2^2

    x' is the attacked x, crafted in eval mode; both go through the network in one batch, so batch norms see
    clean and attacked images together. Source: Kannan, Kurakin and Goodfellow 2018 (PGD on half of the
    batch). Mosbach et al. 2018 found that logit pairing can fool gradient-based attacks: judge such networks
    with many steps, restarts and a gradient-free attack.

    Costs 6 + 2 K forward units with K attack steps.

    Args:
        lam: lambda >= 0.
        attack: PGD with keep="last", say.
        over: what is asked at both points; its own inputs stand for x.
        share: weight of the clean part, in [0, 1].
    """

    lam: NotNegative
    attack: Attack
    over: PointObjective = field(default_factory=Natural)
    share: Annotated[float, Within(least=0, most=1)] = 0.5

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        x = self.over.inputs(model, x, y, generator)
        attacked = self.attack.run(model, x, y, generator=generator).images
        clean, moved = model(torch.cat([x, attacked])).chunk(2)
        there = self.over.terms(moved, y)
        terms = {
            name: self.share * here + (1 - self.share) * there[name] for name, here in self.over.terms(clean, y).items()
        }
        return {**terms, "pairing": self.lam * (clean - moved).square().sum(1)}, clean


@dataclass(frozen=True)
class CleanLogitPairing:
    """CLP: an objective on noisy images, plus the squared distance of the logits of two random ones.

        L = L_over(x~_i) + lam ||z(x~_i) - z(x~_j)||_2^2,    x~ = x + noise n,  n standard normal

    Nothing is attacked: large logits are made expensive. j is another example of the batch, each once,
    along one random cycle through it (0 for a batch of one). Source: Kannan, Kurakin and Goodfellow 2018, who
    take disjoint pairs; the mean is the same. x~ is not clipped to [0, 1]. The warning of
    `AdversarialLogitPairing` holds here even more: gradients that vanish are what this objective asks for.

    Costs 3 forward units.

    Args:
        lam: lambda >= 0.
        noise: standard deviation in pixel units, >= 0.
        over: what is asked at x~; its own inputs stand for x.
    """

    lam: NotNegative
    noise: Annotated[float, Within(least=0, most=1000)]
    over: PointObjective = field(default_factory=Natural)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        x = self.over.inputs(model, x, y, generator)
        shape, where = x.shape[1:], generator.device
        noise = drawn(generator, len(x), lambda n: torch.randn(n, *shape, generator=generator, device=where)).to(x)
        cycle = order(generator, len(x)).to(x.device)
        partner = torch.empty_like(cycle)
        partner[cycle] = cycle.roll(1)
        logits = model(x + self.noise * noise)
        distance = (logits - logits[partner]).square().sum(1)
        return {**self.over.terms(logits, y), "pairing": self.lam * distance}, logits
