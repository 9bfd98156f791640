"""Input-gradient regularisation (GR)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Moderate, NotNegative
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import cross_entropy
from robustsnn.objectives.natural import Natural, PointObjective, Terms


def _direction(gradient: Tensor, norm: str) -> Tensor:
    """The d with ||d||_2 = 1 whose product with the gradient g is ||g||_2 ("l2"), or ||g||_1 / sqrt(N) ("l1").

    Zero where the whole gradient of a sample is.
    """
    if norm == "l1":
        return gradient.sign() / math.sqrt(gradient[0].numel())
    length = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / length.view(-1, *(1,) * (gradient.ndim - 1))


@dataclass(frozen=True)
class GradientRegularised:
    """GR: another objective plus the squared input gradient of the cross-entropy, by finite differences.

        L = L_over + (lam / 2) ((CE(x + h d) - CE(x)) / h)^2,    g = grad_x CE(x),
        d = g / ||g||_2  (norm "l2"),    d = sign(g) / sqrt(N), N numbers per image  (norm "l1")

    at the inputs x of `over`. As h -> 0 the quotient tends to ||g||_2, or ||g||_1 / sqrt(N). d is a constant,
    both ends carry gradient. Source: Finlay and Oberman 2019 ("Scaleable input gradient regularization for
    adversarial robustness"). `SparsityRegularised` differs in what is differentiated, a probability, and in
    leaving out the square and sqrt(N); grad CE = -grad f_y / f_y ties both.

    Costs 7 forward units, as SR does.

    Args:
        lam: lambda >= 0.
        over: the objective to regularise.
        h: step of the difference > 0, the l2 length of the move in pixel units. x + h d is not clipped.
        norm: "l2" or "l1".
    """

    lam: NotNegative
    over: PointObjective = field(default_factory=Natural)
    h: Moderate = 0.01
    norm: Literal["l2", "l1"] = "l2"

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        x = self.over.inputs(model, x, y, generator).detach().requires_grad_()
        logits = model(x)
        here = cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(here.sum(), x, retain_graph=True)
        there = cross_entropy(model(x.detach() + self.h * _direction(gradient, self.norm)), y)
        penalty = ((there - here) / self.h).square()
        return {**self.over.terms(logits, y), "gradient": 0.5 * self.lam * penalty}, logits
