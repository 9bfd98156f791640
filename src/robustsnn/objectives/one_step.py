"""One-step SR*: adversarial training and gradient sparsity regularisation from one input gradient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from torch import nn

from robustsnn.attacks import Linf
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import NotNegative, Positive, Within
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.ground.units import fraction
from robustsnn.losses import cross_entropy, true_probability
from robustsnn.objectives.natural import Natural, PointObjective, Terms


@dataclass(frozen=True)
class OneStep:
    """One-step SR*: the step of FGSM is also the direction of SR, so one gradient serves both.

        x0 = x + noise u, u uniform in [-eps, eps];    d = sign(grad_x CE(f(x0), y));    x1 = x0 + alpha eps d,
        L = L_over(x1) + lam |f_y(x1) - f_y(x0)| / (alpha eps)

    with f_y the softmax probability of the true class, and x0 and x1 cut to [0, 1]. Because CE = -log f_y, d is minus
    the sign of the gradient of f_y, the direction of `SparsityRegularised`: the quotient is its penalty at x0, with a
    step as long as the attack's. A network whose loss is straight along d pays for its gradient's l1 norm;
    one that bends away from d, which is how one-step training fails (catastrophic overfitting), pays as well.

    d is a constant; both forwards carry gradient, in train mode. 7 forward units against 17 of SR* with PGD of five
    steps: forward and input gradient at x0, forward at x1, two units backward through each. With `lam` 0, for 5, it
    is one-step adversarial training as in N-FGSM (de Jorge et al. 2022: x1 is not projected onto the ball).

    Args:
        eps: radius of the ball, > 0.
        lam: lambda >= 0.
        noise: of the start, in units of eps.
        alpha: length of the step, in units of eps, > 0.
        over: what is asked at x1; its own inputs stand for x.
    """

    eps: Annotated[float | str, Within(above=0, most=255)]
    lam: NotNegative = 0.0
    noise: NotNegative = 1.0
    alpha: Positive = 1.0
    over: PointObjective = field(default_factory=Natural)

    def __post_init__(self) -> None:
        check_fields(self)
        Linf(self.noise * fraction(self.eps))

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        return self.at_points(model, self.inputs(model, x, y, generator), y)

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        """x0."""
        x = self.over.inputs(model, x, y, generator).detach()
        return Linf(self.noise * fraction(self.eps)).sample(x, generator) if self.noise else x

    def at_points(self, model: nn.Module, x: Images, y: Labels) -> tuple[Terms, Logits]:
        """The step from x0, and what is asked at its end."""
        start, size = x.detach().requires_grad_(), self.alpha * fraction(self.eps)
        logits = model(start)
        (gradient,) = torch.autograd.grad(cross_entropy(logits, y).sum(), start, retain_graph=self.lam > 0)
        moved = model((start.detach() + size * gradient.sign()).clamp(0, 1))
        terms = self.over.terms(moved, y)
        if self.lam:
            apart = (true_probability(moved, y) - true_probability(logits, y)).abs()
            terms["sparsity"] = self.lam * apart / size
        return terms, moved
