"""Averaged weights: a moving average over the steps of training, with batch statistics of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.data.batches import ImageSet, batches
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import precision
from robustsnn.ground.seeds import generator, seeded
from robustsnn.training.step import TrainingStep

BATCHES = 50
"""Of so many batches are the statistics of the average: each takes a forward pass, and an attack in AT."""


@contextmanager
def weights_come_back(model: nn.Module) -> Iterator[None]:
    """Whatever is put into `model` inside, its own weights and statistics are back at the end."""
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        yield
    finally:
        model.load_state_dict(own)


class Average:
    """The exponential moving average of a model's weights, taken after each step as a constraint is.

        a_0 = w_0,   a_t = d_t a_{t-1} + (1 - d_t) w_t,   d_t = min(decay, (1 + t) / (10 + t))

    The first weights so are soon forgotten. Batch norms of the averaged network need statistics of their own: those of
    the weights on the way belong to other networks. Source: Izmailov et al. 2018 (averaging, and statistics from a
    pass over training images); the warm-up of the decay is that of TensorFlow's moving averages.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def __call__(self, model: nn.Module, *, generator: torch.Generator) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, weight in model.named_parameters():
            self.weights[name].lerp_(weight, 1 - decay)

    def restore(self, weights: dict[str, Tensor], steps: Any, path: object) -> None:
        """Go on from what a state file holds; UserError if it does not fit."""
        shapes = {name: weight.shape for name, weight in self.weights.items()}
        if {name: weight.shape for name, weight in weights.items()} != shapes or type(steps) is not int:
            raise UserError(f"{path} has no averaged weights of this model; train into another folder")
        self.steps = steps
        for name, weight in weights.items():
            self.weights[name].copy_(weight)

    def put(
        self,
        model: nn.Module,
        data: ImageSet,
        objective: Any,
        how: TrainingStep,
        *,
        epoch: int,
        batch_size: int,
        seed: int,
    ) -> None:
        """Give `model` the averaged weights, and the statistics of up to `BATCHES` batches as the objective sees them.

        What attacks them, attacks the averaged network, normalised by the statistics of the weights on the way.
        """
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self.weights[name])
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        device, draws = next(model.parameters()).device, generator(seed, "average", epoch)
        some = islice(batches(data, batch_size, generator=draws, augment=how.augment, device=device), BATCHES)
        axes = 1 + len(data.shape)  # objectives of two ends have one more
        training, momenta = model.training, [norm.momentum for norm in norms]
        with seeded(seed, "average-layers", epoch), precision(how.precision, device):
            points = [objective.inputs(model, x, y, draws) if hasattr(objective, "inputs") else x for x, y in some]
            model.train()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # equal weights for all batches
            with torch.no_grad():
                for x in points:
                    model(x if x.ndim == axes else x.flatten(0, 1))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)
