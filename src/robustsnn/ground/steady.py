"""Does a model answer the same question alike? If not it is refused: attack and judge would see two functions."""

from __future__ import annotations

from weakref import WeakSet

import torch
from torch import Tensor, nn

from robustsnn.ground.door import ask, check_model
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating, statistics
from robustsnn.ground.seeds import seeded

LOOKED_AT = 64
"""Images that are asked about twice."""

_STEADY: WeakSet[nn.Module] = WeakSet()
"""Models that have answered; each is asked once, so that training does not pay for it again and again."""


class Stateful(nn.Module):
    """A model that may answer otherwise when it is asked again: by this its user allows what is refused else.

    Its figures are those of a function that changes under the attack; the flag `state` is raised.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        check_model(model)
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def check_steady(model: nn.Module, x: Tensor) -> None:
    """UserError for a model whose logits for x differ in eval mode although all of torch's random seeds are equal.

    Neither may a pass in eval mode move the statistics of a batch norm. More than a tenth of the images must differ by
    more than rounding: kernels of a GPU may add in another order. A `Stateful` model is let through.
    """
    if model in _STEADY or not len(x) or any(isinstance(module, Stateful) for module in model.modules()):
        return
    x, name = x[:LOOKED_AT], type(model).__name__
    before = [(buffer, buffer.clone()) for buffer in statistics(model)]
    first = _asked(model, x)
    if not isinstance(first, Tensor) or first.shape[:1] != x.shape[:1] or not first.numel():
        return  # no logits, of which others complain
    try:
        again = _asked(model, x)
        _asked(model, x[:1])
    except (RuntimeError, UserError) as error:
        raise UserError(
            f"{name} fails when it is called again ({' '.join(str(error).split())[:120]}); "
            f"reset its state at the start of forward"
        ) from None
    if any(not torch.equal(buffer, kept) for buffer, kept in before):
        for buffer, kept in before:
            buffer.copy_(kept)
        raise UserError(
            f"{name} moves the running statistics of its batch norms in eval mode, as if it were trained (does its "
            f"forward call train()?); leave the mode alone, or attack robustsnn.attacks.Stateful(model)"
        )
    gap, size = (again - first).flatten(1).abs().amax(1), first.flatten(1).abs().amax(1)
    changed = int((gap > 1e-3 * (1 + size)).sum())
    if changed > 0.1 * len(x):
        raise UserError(
            f"{name} answers {changed} of {len(x)} images otherwise when it is asked again under equal seeds: it keeps "
            f"a state between calls, or draws random numbers elsewhere than in torch; reset its state at the start of "
            f"forward (SpikingJelly: functional.reset_net), hand a network of another framework to robustsnn.wrap, "
            f"which resets it, or attack robustsnn.attacks.Stateful(model)"
        )
    _STEADY.add(model)


@torch.no_grad()
def _asked(model: nn.Module, x: Tensor) -> Tensor:
    with evaluating(model), seeded(0, "steady"):
        found = ask(model, x)
        return found.float().nan_to_num() if isinstance(found, Tensor) and found.is_floating_point() else found
