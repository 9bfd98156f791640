"""Losses of a classifier, one number per sample: `[B, K], [B] -> [B]`, larger is worse for the model.

An attack ascends the sum, training averages, a report tabulates: one definition, three readers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import at_least_float32
from robustsnn.ground.types import Labels, Logits, Loss


def cross_entropy(logits: Logits, y: Labels) -> Tensor:
    """-log softmax_y(z)."""
    return F.cross_entropy(at_least_float32(logits), y, reduction="none")


def boosted_cross_entropy(logits: Logits, y: Labels) -> Tensor:
    """-log p_y - log(1 - max_{k != y} p_k), p = softmax(z): the strongest rival is pushed down too.

    1 - p_k is summed from the others, so it does not cancel where the rival has nearly everything. Source: Wang et
    al., ICLR 2020 (MART).
    """
    z = at_least_float32(logits)
    rival = z.scatter(1, y[:, None], float("-inf")).argmax(1, keepdim=True)
    others = z.scatter(1, rival, float("-inf")).logsumexp(1)
    return cross_entropy(z, y) + z.logsumexp(1) - others


def _true_and_rival(logits: Logits, y: Labels) -> tuple[Tensor, Tensor]:
    """z_y and the largest other logit."""
    true = logits.gather(1, y[:, None])
    rival = logits.scatter(1, y[:, None], float("-inf")).amax(1)
    return true[:, 0], rival


def margin(logits: Logits, y: Labels) -> Tensor:
    """max_{j != y} z_j - z_y: negative where the prediction is correct."""
    true, rival = _true_and_rival(at_least_float32(logits), y)
    return rival - true


def dlr(logits: Logits, y: Labels) -> Tensor:
    """Difference of logits ratio, (max_{j != y} z_j - z_y) / (z_(1) - z_(3) + 1e-12).

    Invariant to shifting and scaling the logits, so it does not vanish for over-confident models.
    z_(k) is the k-th largest logit. Source: Croce and Hein 2020, eq. 6. Needs at least 3 classes.
    """
    if logits.shape[1] < 3:
        raise UserError(
            f"dlr on {logits.shape[1]} classes: it divides by the gap of the first and third largest logit, "
            f"so it needs at least 3; use margin"
        )
    z = at_least_float32(logits)
    top = z.topk(3, dim=1).values
    return margin(z, y) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_margin(logits: Logits, y: Labels, target: Labels) -> Tensor:
    """z_t - z_y for a target class t per sample: negative while y is ahead of t."""
    z = at_least_float32(logits)
    return (z.gather(1, target[:, None]) - z.gather(1, y[:, None]))[:, 0]


def targeted_dlr(logits: Logits, y: Labels, target: Labels) -> Tensor:
    """(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12). Source: Croce and Hein 2020, eq. 7. At least 4 classes."""
    if logits.shape[1] < 4:
        raise UserError(
            f"targeted_dlr on {logits.shape[1]} classes: it looks at the four largest logits, so it needs at least 4; "
            f"use targeted_margin"
        )
    top = at_least_float32(logits).topk(4, dim=1).values
    return targeted_margin(logits, y, target) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)


def targeted_cross_entropy(logits: Logits, y: Labels, target: Labels) -> Tensor:
    """log softmax_t(z): minus the cross-entropy to the target class."""
    return -cross_entropy(logits, target)


TARGETED = (targeted_margin, targeted_dlr, targeted_cross_entropy)
"""The losses that take a target class as third argument."""

LEAST_CLASSES = {dlr: (3, margin), targeted_dlr: (4, targeted_margin)}
"""Losses that need so many classes, and what takes their place where there are fewer."""


@dataclass(frozen=True)
class Summed:
    """`loss` on logits summed over T time steps, where a model averages them: loss(T z, y).

    For losses that scale with the logits (margin) only the unit changes; cross-entropy gets T times sharper.
    """

    loss: Loss
    steps: int

    def __call__(self, logits: Logits, y: Labels) -> Tensor:
        return self.loss(logits * self.steps, y)

    def __repr__(self) -> str:
        return f"Summed({getattr(self.loss, '__name__', None) or repr(self.loss)}, {self.steps})"


def divergence(reference: Logits, logits: Logits, temperature: float = 1.0) -> Tensor:
    """KL(p || q) with p = softmax(reference / temperature), q = softmax(logits / temperature); `[B]`, >= 0."""
    p = F.log_softmax(at_least_float32(reference) / temperature, 1)
    q = F.log_softmax(at_least_float32(logits) / temperature, 1)
    return (p.exp() * (p - q)).sum(1)


@dataclass(frozen=True, eq=False)
class DivergenceFrom:
    """The `divergence` of logits from fixed ones of the same samples in the same order; the labels do not matter.

    For an attack that keeps all samples of its batch to the end (`keep="last"`).
    """

    reference: Logits
    temperature: float = 1.0

    def __call__(self, logits: Logits, y: Labels) -> Tensor:
        if logits.shape != self.reference.shape:
            raise UserError(
                f"divergence of logits {list(logits.shape)} from others of shape {list(self.reference.shape)}: "
                f"the samples must be the same"
            )
        return divergence(self.reference, logits, self.temperature)

    def __repr__(self) -> str:
        return f"DivergenceFrom({list(self.reference.shape)}, {self.temperature})"


def check_output(logits: object, n: int) -> None:
    """UserError unless what a model returned for n images are logits `[n, K]`, K >= 2; it says what to return."""
    needed = "needed is a tensor of logits [B, K], K >= 2"
    if isinstance(logits, tuple | list | dict):
        pick = f"[{next(iter(logits), '')!r}]" if isinstance(logits, dict) else "[0]"
        kind = type(logits).__name__
        raise UserError(f"the model returned a {kind}; {needed}: return one from its forward, such as model(x){pick}")
    if not isinstance(logits, Tensor):
        raise UserError(f"the model returned a {type(logits).__name__}; {needed}")
    if not logits.is_floating_point():
        raise UserError(f"the model returned logits of {logits.dtype}; needed are floats [B, K], K >= 2")
    if logits.ndim != 2 or len(logits) != n or logits.shape[1] < 2:
        over = next((axis for axis in (0, 1) if logits.ndim == 3 and logits.shape[1 - axis] == n), None)
        how = "" if over is None else f"; if axis {over} is time, return model(x).mean({over}) from its forward"
        raise UserError(f"the model returned shape {tuple(logits.shape)} for {n} images; {needed}{how}")


def check_logits(logits: Logits, y: Labels) -> None:
    """UserError unless logits are `[B, K]` with K >= 2 and the labels lie in 0 .. K-1."""
    check_output(logits, len(y))
    if not len(y):
        return
    low, high = torch.stack(y.aminmax()).tolist()  # together: on a GPU each is a wait
    if low < 0 or high >= logits.shape[1]:
        wrong = low if low < 0 else high
        raise UserError(
            f"label {wrong} given to a model of {logits.shape[1]} classes; allowed are 0 to {logits.shape[1] - 1}"
        )


def correct(logits: Logits, y: Labels) -> Tensor:
    """bool [B]: the true class has strictly the largest logit, `margin < 0`.

    A tie is an error, and so is a NaN: a network that does not decide has not recognised the sample.
    """
    return margin(logits, y) < 0


def true_probability(logits: Logits, y: Labels) -> Tensor:
    """f_y = softmax_y(z), the quantity whose input gradient the sparsity papers study."""
    return torch.softmax(at_least_float32(logits), 1).gather(1, y[:, None])[:, 0]
