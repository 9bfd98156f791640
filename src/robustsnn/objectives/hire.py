"""HIRE: noise that is crafted along the time steps, with a weight update after each period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from robustsnn.attacks import Linf
from robustsnn.encoders import Direct
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Positive, Share, Steps
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.models import Classifier
from robustsnn.neurons import neuron_layers
from robustsnn.objectives.natural import Natural, PointObjective, Terms


@dataclass(frozen=True)
class Hire:
    """HIRE-SNN: the T steps fall into N equal periods; each shows x with another noise and updates the weights.

    For i = 1 .. N, with d_1 uniform in [-eps, eps]:

        L_i = L_over at the images x + d_1, ..., x + d_{i-1}, x + d_i, ..., x + d_i  (T/N steps each),
        one step of the optimiser on L_i, then
        d_{i+1} = clip(d_i + step sign(dL_i/d(x + d_i)), -eps, eps), and x + d cut to [0, 1]

    Source: Kundu, Pedram and Beerel, ICCV 2021 (abstract and figures; only test code is released). From there:
    periods, noise per period, an update after each, the sign of the input gradient, the clipping. Our reading:
    the random start, the size of the step, and that a pass serves its update and the next noise alike, so that
    none is made for the noise. Different here: neurons keep no state between calls, so a membrane is not
    carried over a period's end; each update makes a pass of all T steps, the periods so far as they were shown and the
    rest with the present noise, so the last update sees the full sequence. The source makes T/N steps per update.

    It has `updates` and is no objective of one loss per batch. A batch costs 3 N forward units.

    Args:
        eps: bound of the noise per pixel, in (0, 1].
        step: how far the noise moves between periods; eps unless given.
        periods: N, which divides T.
        over: what is asked of the logits; its own inputs stand for x.
    """

    eps: Positive
    step: Share | None = None
    periods: Steps = 2
    over: PointObjective = field(default_factory=Natural)

    def __post_init__(self) -> None:
        check_fields(self)
        Linf(self.eps)

    def _length(self, model: nn.Module) -> int:
        """Steps of a period; UserError for models that have no image per step."""
        if not isinstance(model, Classifier) or not isinstance(model.encoder, Direct) or len(model.image) != 3:
            raise UserError(
                "Hire shows another image at each period: it needs a robustsnn.models.Classifier with direct coding"
            )
        layers = neuron_layers(model)
        steps = layers[0].steps if layers else 1
        if steps % self.periods:
            raise UserError(f"Hire(periods={self.periods}) for T={steps} time steps: it must divide T")
        return steps // self.periods

    def updates(
        self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator
    ) -> Iterator[tuple[Terms, Logits]]:
        """(terms, logits) of each period; the caller differentiates and updates before it asks for the next."""
        length = self._length(model)
        assert isinstance(model, Classifier)
        x = self.over.inputs(model, x, y, generator).detach()
        threat = Linf(self.eps)
        step = self.eps if self.step is None else self.step
        shown: list[Images] = []
        image = threat.sample(x, generator)
        for period in range(self.periods):
            image = image.detach().requires_grad_()
            rest = (self.periods - period) * length
            # The same at every step, in the first period: a time axis of one says so for less.
            code = torch.stack(shown + [image] * rest) if shown else image[None]
            logits = model.read(code)
            yield self.over.terms(logits, y), logits
            if image.grad is None:
                raise RuntimeError("the terms of a period must be differentiated before the next one is asked for")
            shown += [image.detach()] * length
            image = threat.project(image.detach() + step * image.grad.sign(), x)
