"""Gradient sparsity regularisation (SR)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Moderate, NotNegative
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import true_probability
from robustsnn.objectives.natural import Natural, PointObjective, Terms

Form = Literal["paper", "reference-code", "double-backward"]
_FORMS = ("paper", "reference-code", "double-backward")


def _two_way(logits: Logits, y: Labels) -> Callable[[Logits], Tensor]:
    """sigma(z_y - z_j) with j the strongest other class of `logits`, kept for other logits."""
    rival = logits.detach().scatter(1, y[:, None], float("-inf")).argmax(1, keepdim=True)
    return lambda z: torch.sigmoid(z.gather(1, y[:, None]) - z.gather(1, rival))[:, 0]


@dataclass(frozen=True)
class SparsityRegularised:
    """SR: another objective plus lam times the l1 norm of the input gradient, by finite differences.

        L = L_over + lam |f(x + h d) - f(x)| / h,    d = sign(grad_x f(x)),

    where x are the inputs that `over` trains on; SR over `Adversarial` is the SR* of the paper. As h -> 0
    the quotient tends to ||grad_x f(x)||_1, the convex stand-in for the number of non-zero entries that
    bounds the gap between adversarial and random vulnerability (theorem 1). d is a constant, both ends
    of the difference carry gradient. Source: eq. 8-12 and algorithm 1 of "Training adversarially robust
    SNNs with gradient sparsity regularization".

    Two forwards: the graph of f(x) serves the input gradient and the loss, so a step costs 7 forward
    units against 3 of natural training (one forward is 1, one backward to input or to weights is 1).

    "double-backward" has no finite difference: its penalty is lam ||grad_x f(x)||_1 itself, and its gradient
    the exact one, the second derivative of the surrogate network (see `neurons.fire`), so the neurons need
    a rule with a fixed surrogate. h has no effect on it. 6 forward units: one pass, its input gradient, and
    two units to differentiate each; the neurons record their steps on top, which costs memory and time.

    Args:
        over: the objective to regularise.
        lam: lambda >= 0. The paper: 0.008 (SR) and 0.002 (SR*) on CIFAR-10, 0.002 and 0.001 on CIFAR-100.
        h: step of the difference, in pixel units (range [0, 1]), > 0. The point x + h d is not clipped.
        form: "paper" and "double-backward": f is the softmax probability of the true class, and the difference
            is taken absolute, or the norm exact. "reference-code": f is the two-way logistic sigma(z_y - z_j)
            against the strongest other class j at x, and the quotient is squared; what the released code computes.
    """

    lam: NotNegative
    over: PointObjective = field(default_factory=Natural)
    h: Moderate = 0.01
    form: Form = "paper"

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        return self.at_points(model, self.inputs(model, x, y, generator), y)

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        return self.over.inputs(model, x, y, generator)

    def at_points(self, model: nn.Module, x: Images, y: Labels) -> tuple[Terms, Logits]:
        """What is asked at the points of `inputs`."""
        x = x.detach().requires_grad_()
        logits = model(x)
        if self.form == "reference-code":
            f = _two_way(logits, y)
        else:
            f: Callable[[Logits], Tensor] = lambda z: true_probability(z, y)  # noqa: E731
        here = f(logits)
        exact = self.form == "double-backward"
        (gradient,) = torch.autograd.grad(here.sum(), x, retain_graph=True, create_graph=exact)
        if exact:
            penalty = gradient.abs().flatten(1).sum(1)
        else:
            there = f(model(x.detach() + self.h * gradient.sign()))
            quotient = (there - here) / self.h
            penalty = quotient.abs() if self.form == "paper" else quotient.square()
        return {**self.over.terms(logits, y), "sparsity": self.lam * penalty}, logits
