"""What attacks ask of a model: logits or a gradient, each by as many passes as it draws random numbers for.

Of a model that draws random numbers one unlucky pass decides nothing: values are means over the draws, and a point
stands as long as any draw classifies it correctly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.streams import Streams
from robustsnn.ground.door import ask
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import check_logits, correct, margin
from robustsnn.neurons import Memory


class Verdict(NamedTuple):
    """What a query says of `[B]` points."""

    logits: Logits  # [B, K] mean over the draws
    loss: Tensor  # float32 [B], mean over the draws; NaN if any is
    stands: Tensor  # bool [B]: some draw classifies it correctly


class PointGradients(NamedTuple):
    """What a gradient says of `[B]` points."""

    loss: Tensor  # float32 [B], mean over the draws
    gradient: Tensor  # mean over the draws, non-finite entries taken as zero
    dead: Tensor  # bool [B]: the gradient is zero everywhere
    margin: Tensor  # float32 [B], mean over the draws
    stands: Tensor  # as in Verdict

    def mean(self, other: PointGradients) -> PointGradients:
        """Of this and another gradient at the same points; a point stands as long as any draw of either says so."""
        gradient = (self.gradient + other.gradient) / 2
        dead = gradient.flatten(1).abs().amax(1) == 0
        loss, margin = (self.loss + other.loss) / 2, (self.margin + other.margin) / 2
        return PointGradients(loss, gradient, dead, margin, self.stands | other.stands)

    def replace_zeros(self, streams: Streams, at: Tensor) -> None:
        """Give samples whose gradient is zero a random direction in its place; `at`: their positions in the streams."""
        if bool(self.dead.any()):
            lost = self.dead.nonzero()[:, 0]
            self.gradient[lost] = streams[at[lost]].normal(*self.gradient.shape[1:]).to(self.gradient)


@torch.no_grad()
def judged(
    model: Callable[[Images], Logits], z: Images, y: Labels, draws: int, loss: Callable[[Logits], Tensor] | None = None
) -> Verdict:
    """Query z by so many forward passes; the caller counts them. UserError if the logits do not fit the labels.

    `loss` of the logits is the margin if none is given.
    """
    total, value = torch.zeros((), device=z.device), torch.zeros(len(z), device=z.device)
    stands = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for _ in range(draws):
        logits = ask(model, z)
        check_logits(logits, y)
        total = total.to(logits) + logits / draws
        value += (margin(logits, y) if loss is None else loss(logits).float()) / draws
        stands |= correct(logits, y)
    return Verdict(total, value, stands)


def differentiate(
    model: nn.Module,
    z: Images,
    y: Labels,
    loss: Callable[[Logits], Tensor],
    draws: int,
    memory: Memory,
    attempt: Attempt,
    at: Tensor,
) -> PointGradients:
    """The gradient of a loss of the logits at z; counted in `attempt` at the positions `at`.

    The memory of a gradient rule moves at the first draw alone. A sample whose gradient has NaN entries alone counts
    as one of NaN gradient, not of zero gradient. UserError as in `judged`, if the loss is not one number per sample,
    and if the model's output is not connected to its input.
    """
    losses, margins = torch.zeros(len(z), device=z.device), torch.zeros(len(z), device=z.device)
    total = torch.zeros_like(z)
    stands = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for draw in range(draws):
        memory.hold(draw > 0)
        logits, now, gradient = _evaluate(model, z, y, loss)
        losses += now.float() / draws
        total += gradient / draws
        margins += margin(logits, y) / draws
        stands |= correct(logits, y)
    memory.hold(False)
    finite = total.isfinite()
    nan = ~finite.flatten(1).all(1)
    total = torch.where(finite, total, 0)
    dead = total.flatten(1).abs().amax(1) == 0
    attempt.forwards[at] += draws
    attempt.backwards[at] += draws
    attempt.nan_gradient[at] |= nan
    attempt.zero_gradient[at] |= dead & ~nan
    return PointGradients(losses, total, dead, margins, stands)


def _gradient(
    model: nn.Module, z: Images, y: Labels, loss: Callable[[Logits], Tensor]
) -> tuple[Logits, Tensor, Tensor]:
    """(logits, loss `[B]`, input gradient of its sum) at z, of one pass, all detached."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        logits = ask(model, leaf)
        check_logits(logits, y)
        value = loss(logits)
        if value.shape != y.shape:
            raise UserError(f"the loss returned shape {tuple(value.shape)}; needed is one loss per sample")
        try:
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        except RuntimeError as error:
            if "does not require grad" not in str(error) and "have been used" not in str(error):
                raise
            raise UserError(without_gradient(model, z)) from None
    return logits.detach(), value.detach(), gradient


Evaluation = Callable[[nn.Module, Images, Labels, Callable[[Logits], Tensor]], tuple[Logits, Tensor, Tensor]]
"""What `_gradient` does."""
_evaluate: Evaluation = _gradient


@contextmanager
def gradients_by(evaluation: Evaluation) -> Iterator[None]:
    """Inside the block attacks take their gradients by that function: training records them as CUDA graphs."""
    global _evaluate
    before, _evaluate = _evaluate, evaluation
    try:
        yield
    finally:
        _evaluate = before


def connected(model: nn.Module, x: Images, train: bool = False) -> bool:
    """Whether the logits of an image depend on it for autograd, in eval mode or as training would see it.

    In the latter batch norms and dropout stay in eval mode, so that nothing is left behind.
    """
    with frozen(model), torch.enable_grad():
        for module in model.modules():
            module.training = train and not isinstance(
                module, nn.modules.batchnorm._NormBase | nn.modules.dropout._DropoutNd
            )
        leaf = x[:1].detach().clone().requires_grad_()
        logits = model(leaf)
        return logits.requires_grad and torch.autograd.grad(logits.sum(), leaf, allow_unused=True)[0] is not None


def without_gradient(model: nn.Module, x: Images) -> str:
    """What to say of a model whose logits are not connected to the image x."""
    name = type(model).__name__
    if connected(model, x, train=True):
        return (
            f"{name} has no gradient in eval mode, and has one in train mode: its neurons leave out their surrogate "
            f"(as those of SpikingJelly before 2.0 do), and attacks would be blind; hand the network to "
            f"robustsnn.wrap, or put these neurons alone into train mode in its forward"
        )
    return (
        f"{name} has no gradient with respect to its input; hand a network of another spiking framework to "
        f"robustsnn.wrap, put what rounds the image into robustsnn.encoders.BPDA, or use a gradient-free attack"
    )


def rivals(logits: Logits, y: Labels) -> list[Labels]:
    """The other classes by their logits, strongest first (the first of equal ones): K - 1 tensors `[B]`."""
    others = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
    return list(others[:, : logits.shape[1] - 1].T)
