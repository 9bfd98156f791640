"""The gradient at the weights, sample by sample: exact zeros and norms of each weight tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from robustsnn.ground.types import Images, Logits
from robustsnn.ground.widest import widest
from robustsnn.neurons import GradientRule, gradient_rule
from robustsnn.studies.shared.passes import finite
from robustsnn.studies.shared.tally import Tally
from robustsnn.studies.trail.record import Weight


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
            norm = float(torch.linalg.vector_norm(gradient, dtype=widest(gradient.device)))
            finite(norm, f"the gradient at {name}")
            zeros = int((gradient == 0).sum())
            found.append(Weight(name, parameter.numel(), Tally(1, zeros, 0), Tally(1, norm, 0)))
    return tuple(found)
