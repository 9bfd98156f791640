"""One number per image that a network answers with, its gradient at the pixels, and who is recognised."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.evaluation.judge import device_of, repeats
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import seeded
from robustsnn.ground.types import Images, Labels, Logits, Loss
from robustsnn.ground.widest import wide
from robustsnn.losses import check_logits, correct
from robustsnn.studies.shared.passes import name_of

_PROBED = 16
"""Images at which a network is asked whether it repeats itself."""


def probability(logits: Logits, y: Labels) -> Tensor:
    """f_y = softmax_y(z), as `losses.true_probability`, but in float64.

    In float32 the probability rounds to 1, and its gradient to exact zeros, from a lead of about 17 on.
    """
    return torch.softmax(wide(logits), 1).gather(1, y[:, None])[:, 0]


@dataclass(frozen=True)
class Response:
    """f(x) = loss(model(x), y), per sample, in float64. The caller puts the model into eval mode (`frozen`).

    `alone` says that the model draws random numbers. It must then be shown one image at a time, and every pass of
    the image at position `at` of the data draws the same numbers: f is the function of one realisation.
    """

    model: nn.Module
    loss: Loss
    seed: int
    alone: bool

    @staticmethod
    def of(model: nn.Module, loss: Loss, seed: int, x: Images) -> Response:
        """The response of a model in eval mode, after asking at a few images whether it repeats itself."""
        return Response(model, loss, seed, not all(repeats(model, x[:_PROBED].to(device_of(model, x)))))

    @torch.no_grad()
    def __call__(self, x: Images, y: Labels, at: int) -> tuple[Tensor, Tensor]:
        """f `[B]` and who is classified correctly, bool `[B]`; the first image is at position `at` of the data."""
        with self._draws(at):
            logits = self.model(x)
        return self._value(logits, y), correct(logits, y)

    def gradient(self, x: Images, y: Labels, at: int) -> tuple[Tensor, Tensor]:
        """f `[B]` and its gradient in the shape of x, under the gradient rule in force.

        UserError if the model's output is not connected to its input, or if any of it is not finite.
        """
        with torch.enable_grad(), self._draws(at):
            leaf = x.detach().clone().requires_grad_()
            value = self._value(self.model(leaf), y)
            found = None
            if value.requires_grad:
                (found,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if found is None:
            raise UserError(
                f"{type(self.model).__name__} has no gradient with respect to its input, so there is none to look at; "
                f"hand a network of another spiking framework to robustsnn.wrap, and give discrete parts one (BPDA)"
            )
        _finite(found, "its gradient at the pixels")
        return value.detach(), found

    def _value(self, logits: Logits, y: Labels) -> Tensor:
        check_logits(logits, y)
        value = self.loss(wide(logits), y)
        if value.shape != y.shape:
            raise UserError(f"the loss returned shape {tuple(value.shape)}; needed is one loss per sample")
        _finite(value, f"{name_of(self.loss)} of the logits")
        return wide(value)

    def _draws(self, at: int) -> AbstractContextManager[None]:
        return seeded(self.seed, "response", at) if self.alone else nullcontext()


def _finite(values: Tensor, what: str) -> None:
    if not bool(torch.isfinite(values).all()):
        raise UserError(f"{what} is not finite (NaN or infinity) for some image; check the weights of the network")
