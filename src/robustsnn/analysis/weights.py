"""The gradient at the weights, sample by sample: exact zeros and norms of each weight tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from robustsnn.analysis.tally import Tally, finite
from robustsnn.ground.errors import UserError
from robustsnn.ground.types import Images, Logits
from robustsnn.neurons import GradientRule, gradient_rule


@dataclass(frozen=True)
class Weight:
    """The gradient of the loss of one sample with respect to one weight tensor, over `zeros.n` samples.

    Per sample: `zeros` of its `entries` are exactly zero, and its l2 norm. In the gradient of a sum over samples
    zeros would be rare whatever the network, since one sample suffices to fill an entry.
    """

    name: str
    entries: int
    zeros: Tally
    l2: Tally

    @property
    def sparsity(self) -> float:
        """Mean over samples of the share of entries that are exactly zero."""
        return self.zeros.mean / self.entries

    def __add__(self, other: Weight) -> Weight:
        if (self.name, self.entries) != (other.name, other.entries):
            raise UserError(f"weight {self.name} of one trail is {other.name} in the other: different networks")
        return Weight(self.name, self.entries, self.zeros + other.zeros, self.l2 + other.l2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the mean of zeros is a share."""
        zeros, l2 = self.zeros.to_dict(self.entries), self.l2.to_dict()
        return {"name": self.name, "entries": self.entries, "zeros": zeros, "l2": l2}

    @staticmethod
    def of(value: Any) -> Weight:
        """What `to_dict` wrote."""
        return Weight(value["name"], value["entries"], Tally.of(value["zeros"]), Tally.of(value["l2"]))


def sample_weights(
    model: nn.Module, x: Images, rule: GradientRule | None, start: Callable[[Logits], torch.Tensor]
) -> tuple[Weight, ...]:
    """The gradient of one sample, x `[1, ...]`, at all parameters that have one; `start` gives it at the logits."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        return ()
    with torch.enable_grad(), gradient_rule(model, rule):
        # As for the pixels, so that what is no function of the weights has a graph too.
        logits = model(x.detach().clone().requires_grad_())
        gradients = torch.autograd.grad(logits, list(parameters.values()), start(logits), allow_unused=True)
    found = []
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        if gradient is not None:
            norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
            finite(norm, f"the gradient at {name}")
            zeros = int((gradient == 0).sum())
            found.append(Weight(name, parameter.numel(), Tally(1, zeros, 0), Tally(1, norm, 0)))
    return tuple(found)
