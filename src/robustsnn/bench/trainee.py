"""A network in training, and one step of any regime on it: exactly what `train` does with a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustsnn.attacks import pgd
from robustsnn.bench.network import network, noise
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import precision
from robustsnn.ground.seeds import generator
from robustsnn.names.config import TrainConfig
from robustsnn.objectives import Adversarial, Natural, Objective, OneStep, SparsityRegularised
from robustsnn.objectives.natural import total
from robustsnn.runs.build import build_optimiser

AT = Adversarial(pgd("2/255", 5, alpha=0.01, keep="last"))
REGIMES: dict[str, Objective] = {
    "vanilla": Natural(),
    "SR": SparsityRegularised(0.008),
    "AT": AT,
    "SR*": SparsityRegularised(0.002, AT),
    "one-step SR*": OneStep("2/255", 0.002),
}
"""The first four as the SR paper trains on CIFAR-10."""
UNITS = {"vanilla": 3, "SR": 7, "AT": 13, "SR*": 17, "one-step SR*": 7}
"""Passes of a step: a forward, a backward to the input and one to the weights are a unit each."""


class Trainee:
    """A network with its optimiser on one batch of noise, and a training step of any regime on it."""

    def __init__(
        self,
        name: str,
        autocast: str,
        shape: tuple[int, ...],
        steps: int,
        batch: int,
        seed: int,
        device: torch.device,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.autocast, self.device, self.seed = autocast, device, seed
        data = noise(shape, batch, seed)
        self.model = network(name, data, steps, seed, device, options)
        self.optimiser = build_optimiser(TrainConfig(lr=1e-4), self.model)
        self.x, self.y = data.floats(device)

    def step(self, regime: str) -> None:
        """What training does with a batch."""
        loss = self.loss(REGIMES[regime], self.x, self.y, generator(self.seed, "bench", regime))
        if not torch.isfinite(loss):
            raise UserError(f"{regime}: the loss is not finite; not timed")
        self.descend(loss)

    def loss(self, objective: Objective, x: Tensor, y: Tensor, draws: torch.Generator) -> Tensor:
        """What an objective asks of the network on a batch, as a number."""
        with precision(self.autocast, self.device):
            terms, _ = objective(self.model, x, y, generator=draws)
        return total(terms)

    def descend(self, loss: Tensor) -> None:
        """Backward pass and optimiser step."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def prepare(self) -> None:
        """Let the optimiser make what it remembers of each weight, by a step of length zero."""
        lengths = [group["lr"] for group in self.optimiser.param_groups]
        for group in self.optimiser.param_groups:
            group["lr"] = 0.0
        for weight in self.model.parameters():
            weight.grad = torch.zeros_like(weight)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        for group, length in zip(self.optimiser.param_groups, lengths, strict=True):
            group["lr"] = length

    def forward(self) -> None:
        """The unit of the floor."""
        with torch.no_grad(), precision(self.autocast, self.device):
            self.model(self.x)
