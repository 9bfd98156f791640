"""Who is right: fresh forward passes, and more than one of them for a model that draws random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.door import ask
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import evaluating
from robustsnn.ground.ranges import Count
from robustsnn.ground.seeds import seeded
from robustsnn.ground.steady import check_steady
from robustsnn.losses import check_logits, check_output, margin

VOTES = 21
"""Forward passes of a judgement on a random model; odd, so that a vote is never even."""


def device_of(model: nn.Module, x: Tensor) -> torch.device:
    """Where the model lives; a model without parameters and buffers goes where the images are."""
    return next((t.device for t in (*model.parameters(), *model.buffers())), x.device)


@dataclass(frozen=True)
class Judge:
    """Margins and predictions by `votes` fresh forward passes in eval mode.

    The margin of a sample is the median over the passes, so it is negative where the majority is right.
    """

    votes: Count = 1

    def __post_init__(self) -> None:
        check_fields(self)

    @torch.no_grad()
    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Margin `[B]` and the class of the largest mean logit `[B]`."""
        margins, total = [], torch.zeros(())
        with evaluating(model):
            for _ in range(self.votes):
                logits = ask(model, x)
                check_logits(logits, y)
                margins.append(margin(logits, y))
                total = total.to(logits) + logits
        return torch.stack(margins).median(0).values, total.argmax(1)


@torch.no_grad()
def repeats(model: nn.Module, x: Tensor) -> tuple[bool, bool]:
    """(equal under equal seeds, equal under different seeds) of the logits in eval mode; NaN equals NaN.

    A model that differs under different seeds alone draws random numbers; one that differs under equal seeds
    carries something from one call to the next (or draws from a generator that is not torch's).
    """

    def logits(seed: int) -> Tensor:
        with evaluating(model), seeded(seed, "repeats"):
            found = ask(model, x)
        check_output(found, len(x))
        return found.nan_to_num()

    first, again, other = logits(0), logits(0), logits(1)
    return torch.equal(first, again), torch.equal(again, other)


def judge_for(model: nn.Module, x: Tensor) -> Judge:
    """One pass for a model that repeats itself on these images, `VOTES` for any other; see `check_steady`."""
    check_steady(model, x)
    return Judge(1 if all(repeats(model, x)) else VOTES)


def fresh_draws(
    model: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0, draws: int = 20, batch_size: int = 128
) -> dict[str, float]:
    """Accuracy over whole passes of a random model: {"n", "mean", "std", "least", "most"} of `draws` passes."""
    device = device_of(model, x)
    shares = []
    for number in range(draws):
        right = 0
        for start in range(0, len(x), batch_size):
            xb, yb = x[start : start + batch_size].to(device), y[start : start + batch_size].to(device)
            with seeded(seed, "fresh draws", number, start):
                right += int((Judge()(model, xb, yb)[0] < 0).sum())
        shares.append(right / len(x))
    spread = float(np.std(shares, ddof=1)) if draws > 1 else 0.0
    return {"n": draws, "mean": float(np.mean(shares)), "std": spread, "least": min(shares), "most": max(shares)}
