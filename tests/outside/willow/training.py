"""An objective, a constraint, a schedule of lambda, an optimiser and a learning rate."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from robustsnn.names import Entry
from robustsnn.objectives import Natural


@dataclass(frozen=True)
class Quiet:
    """Cross-entropy plus lambda times the mean square of the logits."""

    lam: float
    over: Natural = field(default_factory=Natural)
    entry: ClassVar[Entry] = Entry(words="Quiet logits{attack}{values}.", cite="Q. Uiet. On logits. 2032")

    def __call__(self, model, x, y, *, generator):
        logits = model(self.over.inputs(model, x, y, generator))
        return {**self.over.terms(logits, y), "quiet": self.lam * logits.square().mean(1)}, logits


@dataclass(frozen=True)
class Within:
    """No weight above a limit."""

    limit: float

    @torch.no_grad()
    def __call__(self, model, *, generator):
        for parameter in model.parameters():
            parameter.clamp_(-self.limit, self.limit)


@dataclass(frozen=True)
class Later:
    """Nothing in the first epochs."""

    first: int = 1
    needs_robust_validation: ClassVar[bool] = False

    def factor(self, epoch, epochs, history):
        return float(epoch >= self.first)


class SignSGD(torch.optim.Optimizer):
    """A step of the learning rate along the sign of the gradient."""

    def __init__(self, params, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * parameter.grad.sign()


def falling(epoch: int, epochs: int) -> float:
    """Along a line."""
    return 1 - epoch / epochs
