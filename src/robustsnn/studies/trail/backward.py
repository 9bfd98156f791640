"""One backward pass in which every operation is looked at; and where in the gradients it finds the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from robustsnn.attacks.passes import without_gradient
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import seeded
from robustsnn.ground.types import Images, Logits
from robustsnn.neurons import GradientRule, gradient_rule
from robustsnn.studies.trail.graph import Key, Step, calls, steps
from robustsnn.studies.trail.layout import Layout, layout_of


@dataclass(frozen=True)
class Seen:
    """An operation at the moment of its backward pass, with what it saved still there.

    Args:
        step: which.
        upstream: the gradients at its outputs; None where there is none.
        given: its own contributions to the gradients at its inputs, those that are on the way to the pixels.
    """

    step: Step
    upstream: Sequence[Tensor | None]
    given: dict[int, Tensor]

    def sides(self) -> Iterator[tuple[Place, Tensor]]:
        """All gradients of this operation, by their place."""
        yield from (((self.step.key, "output"), gradient) for gradient in self.upstream if gradient is not None)
        yield from (((self.step.key, f"input {edge}"), gradient) for edge, gradient in self.given.items())


Place: TypeAlias = tuple[Key, str]
"""A side of an operation: its key, and "output" or "input 0", "input 1" ..."""


def backward(
    model: nn.Module,
    x: Images,
    rule: GradientRule | None,
    start: Callable[[Logits], Tensor],
    look: Callable[[Seen], None],
) -> tuple[list[Key], Tensor]:
    """One pass back: `start` gives the gradient at the logits, and `look` is shown every operation.

    Returns the operations in forward order, and the gradient at the pixels. UserError if there is none there.
    """

    def hook(step: Step, given: Sequence[Tensor | None], upstream: Sequence[Tensor | None]) -> None:
        look(Seen(step, upstream, {edge: g for edge in step.edges if (g := given[edge]) is not None}))

    with torch.enable_grad(), gradient_rule(model, rule):
        leaf = x.detach().clone().requires_grad_()
        with calls(model) as spans:
            logits = model(leaf)
        upstream = start(logits)
        passed = steps(logits, leaf, spans)
        if not passed:
            raise UserError(f"there is no trail: {without_gradient(model, leaf)}")
        handles = [step.node.register_hook(partial(hook, step)) for step in passed]
        try:
            (pixels,) = torch.autograd.grad(logits, leaf, upstream)
        finally:
            for handle in handles:
                handle.remove()
    return list(dict.fromkeys(step.key for step in passed)), pixels


def layouts(model: nn.Module, x: Images, rule: GradientRule | None) -> dict[Place, Layout] | None:
    """Where the samples lie in each gradient, found with two and with three images; None if that is not evident."""
    two, three = (_shown(model, x[:n], rule) for n in (2, 3))
    if two.keys() != three.keys():
        return None
    found: dict[Place, Layout] = {}
    for place, gradients in three.items():
        if len(gradients) != len(two[place]):
            return None
        guesses = {layout_of(a, b) for a, b in zip(two[place], gradients, strict=True)}
        # Of several calls some may say more than others.
        guesses = {guess for guess in guesses if guess and guess.together} or guesses
        (layout, *more) = guesses
        if layout is None or more:
            return None
        found[place] = layout
    return found


def _shown(model: nn.Module, x: Images, rule: GradientRule | None) -> dict[Place, list[Tensor]]:
    """All gradients of a pass back from the logits of the first image alone."""
    shown: dict[Place, list[Tensor]] = {}

    def first(logits: Logits) -> Tensor:
        upstream = torch.zeros_like(logits)
        upstream[0] = torch.linspace(1, 2, logits[0].numel()).reshape(logits[0].shape)
        return upstream

    def keep(seen: Seen) -> None:
        for place, gradient in seen.sides():
            shown.setdefault(place, []).append(gradient)

    with seeded(0, "trail", "layouts"):
        backward(model, x, rule, first, keep)
    return shown
