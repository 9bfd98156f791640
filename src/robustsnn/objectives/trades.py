"""TRADES: clean accuracy against the stability of predictions."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from robustsnn.attacks import Attack
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import batch_statistics, evaluating
from robustsnn.ground.ranges import Moderate, NotNegative
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import DivergenceFrom, divergence
from robustsnn.objectives.natural import Natural, PointObjective, Terms


@dataclass(frozen=True)
class TRADES:
    """An objective on x plus lam times how far an attack moves the prediction, whatever the label.

        L = L_over(x) + lam tau^2 KL(p(x) || p(x')),    p = softmax(z / tau),
        x' = the attack's ascent of KL(p(x) || p(.)), p(x) a constant

    Both ends of the outer KL carry gradient. Source: Zhang et al., ICML 2019, where tau = 1 and lam is called
    beta (their 1/lambda; they use 1 and 6). The SNN version in the code of ASSG (arXiv 2512.22522) has tau = 2
    with that factor tau^2 = 4, and beta = 5.

    The images are crafted in eval mode with p(x) in that mode too. The KL has no slope at x itself, so an attack
    that starts there makes its first step in a random direction; the source starts from small noise.

    Costs 7 + 2 K forward units with K attack steps: one forward for p(x), 2 K to craft, 6 to train on x and x'.

    Args:
        lam: beta >= 0.
        attack: gives threat, steps, start and rule; its loss is replaced. With keep="last", without targets.
        over: what is asked at x.
        temperature: tau > 0, inside the attack too.
    """

    lam: NotNegative
    attack: Attack
    over: PointObjective = field(default_factory=Natural)
    temperature: Moderate = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        # The loss knows the clean prediction of every sample of the batch, so none may leave it.
        if self.attack.keep != "last" or self.attack.targets:
            raise UserError(f"TRADES({self.attack!r}): it needs an attack with keep='last' and without targets")

    def craft(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        """The x' of x."""
        mode = batch_statistics(model) if self.attack.batch_statistics else nullcontext()
        with torch.no_grad(), evaluating(model), mode:
            loss = DivergenceFrom(model(x), self.temperature)
        return replace(self.attack, loss=loss).run(model, x, y, generator=generator).images

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        return self.at_points(model, self.inputs(model, x, y, generator), y)

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        """Both ends, `[2, B, ...]`: x and x'."""
        x = self.over.inputs(model, x, y, generator)
        return torch.stack([x, self.craft(model, x, y, generator)])

    def at_points(self, model: nn.Module, x: Images, y: Labels) -> tuple[Terms, Logits]:
        """What is asked at the two ends."""
        logits = model(x[0])
        moved = divergence(logits, model(x[1]), self.temperature)
        return {**self.over.terms(logits, y), "divergence": self.lam * self.temperature**2 * moved}, logits
