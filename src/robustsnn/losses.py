"""Losses of a classifier, one number per sample: `[B, K], [B] -> [B]`, larger is worse for the model.

An attack ascends the sum, training averages, a report tabulates: one definition, three readers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.errors import UserError
from robustsnn.types import Labels, Logits


def cross_entropy(logits: Logits, y: Labels) -> Tensor:
    """-log softmax_y(z)."""
    return F.cross_entropy(logits.float(), y, reduction="none")


def _true_and_rival(logits: Logits, y: Labels) -> tuple[Tensor, Tensor]:
    """z_y and the largest other logit."""
    true = logits.gather(1, y[:, None])
    rival = logits.scatter(1, y[:, None], float("-inf")).amax(1)
    return true[:, 0], rival


def margin(logits: Logits, y: Labels) -> Tensor:
    """max_{j != y} z_j - z_y: negative where the prediction is correct."""
    true, rival = _true_and_rival(logits.float(), y)
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
    z = logits.float()
    top = z.topk(3, dim=1).values
    return margin(z, y) / (top[:, 0] - top[:, 2] + 1e-12)


def check_logits(logits: Logits, y: Labels) -> None:
    """UserError unless logits are `[B, K]` with K >= 2 and the labels lie in 0 .. K-1."""
    if logits.ndim != 2 or len(logits) != len(y) or logits.shape[1] < 2:
        raise UserError(f"the model returned shape {tuple(logits.shape)} for {len(y)} images; needed is [B, K], K >= 2")
    low, high = int(y.min()), int(y.max())
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
    return torch.softmax(logits.float(), 1).gather(1, y[:, None])[:, 0]
