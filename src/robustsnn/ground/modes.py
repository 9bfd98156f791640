"""Context managers that put a model into a mode and give it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from robustsnn.ground.errors import UserError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for all submodules; each gets its own mode back at the end, after an exception too."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient for any parameter: what an attack needs. All restored at the end."""
    parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluating(model):
        try:
            for parameter, _ in parameters:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter, requires_grad in parameters:
                parameter.requires_grad_(requires_grad)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch at hand, as in training; their running statistics stay as they are."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, training, tracking in before:
            norm.training, norm.track_running_stats = training, tracking


def precision(name: str, device: torch.device | str = "cpu") -> AbstractContextManager[object]:
    """Autocast for `name`: "float32" (none) or "bfloat16" (convolutions and matrix products).

    Parameters, membranes, logits and losses stay in float32 in both.
    """
    if name == "float32":
        return nullcontext()
    if name == "bfloat16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    raise UserError(f"precision={name!r}: allowed are 'float32' and 'bfloat16'")
