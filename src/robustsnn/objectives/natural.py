"""Objectives: what training minimises, as named terms per sample.

An objective is called with the model in train mode and returns `{name: [B]}`; the trainer minimises the
sum of the means and logs each by name. It has two parts, so that one objective can be wrapped around
another: `inputs` chooses the points at which the network is trained, `terms` what is asked of it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import cross_entropy

Terms = dict[str, Tensor]


class Objective(Protocol):
    """What `fit` needs: terms of the loss `{name: [B]}` and the logits that they came from."""

    def __call__(
        self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator
    ) -> tuple[Terms, Logits]: ...


class PointObjective(Objective, Protocol):
    """An objective that others can wrap."""

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images: ...

    def terms(self, logits: Logits, y: Labels) -> Terms: ...


@runtime_checkable
class TwoPart(Protocol):
    """An objective that chooses its points first (and attacks there), then asks all that it asks at them.

    `at_points` draws nothing, waits for no number, and makes the same launches at every call; `inputs` may do as it
    likes.
    """

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images: ...

    def at_points(self, model: nn.Module, x: Images, y: Labels) -> tuple[Terms, Logits]: ...


def total(terms: Terms) -> Tensor:
    """The loss: the sum of the means of all terms."""
    return torch.stack([term.mean() for term in terms.values()]).sum()


@dataclass(frozen=True)
class Natural:
    """Cross-entropy on the images as they are."""

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        return x

    def terms(self, logits: Logits, y: Labels) -> Terms:
        return {"cross_entropy": cross_entropy(logits, y)}

    def at_points(self, model: nn.Module, x: Images, y: Labels) -> tuple[Terms, Logits]:
        """What is asked at the points that `inputs` chose."""
        logits = model(x)
        return self.terms(logits, y), logits

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        return self.at_points(model, self.inputs(model, x, y, generator), y)
