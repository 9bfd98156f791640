"""Regularisation of membrane potentials near the threshold."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Moderate, NotNegative
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.neurons import recording
from robustsnn.objectives.natural import Natural, PointObjective, Terms


@dataclass(frozen=True)
class MembraneGuard:
    """Another objective plus the price of potentials that lie within delta of the threshold.

        L = L_over + lam sum_l C_l,    C_l = 1/(T N_l) sum_t sum_i max(0, delta - |u_i[t] - theta|)

    over the N_l neurons of layer l, per sample: a potential that keeps its distance needs a larger perturbation
    to change its spike. Potentials are differentiated through time by the surrogates of the layers' rules, the
    resets included. This is the membrane term of TGO (ICLR 2026), whose code is not released. It anneals lam
    along a cosine up to 0.4 (wide ResNet-16) or 0.6 (VGG-11). Not disclosed are delta and the surrogate, and
    that the potential is u[t], before the reset, is our reading. Its second part, noise on the membranes, whose
    size is not disclosed either, is left out.

    Costs 3 forward units, and the neurons of the pass once more, step by step.

    Args:
        lam: lambda >= 0.
        delta: half-width of the guarded zone > 0, in the units of the potential.
        over: the objective to regularise; the potentials are those at its inputs.
    """

    lam: NotNegative
    delta: Moderate
    over: PointObjective = field(default_factory=Natural)

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        x = self.over.inputs(model, x, y, generator)
        with recording(model) as records:
            logits = model(x)
        total = torch.zeros(len(x), device=x.device)
        for record in records:
            theta, steps = record.layer.neuron.theta, record.layer.steps
            for potential, _ in record.trace():
                near = (self.delta - (potential - theta).abs()).clamp_min(0)
                total = total + near.flatten(1).mean(1) / steps
        return {**self.over.terms(logits, y), "membrane": self.lam * total}, logits
