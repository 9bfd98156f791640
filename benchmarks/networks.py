"""Small networks on digits that train in seconds: one by seed, and forty honest evaluations of many recipes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import pgd
from robustsnn.data.digits import digits
from robustsnn.encoders import Latency, Phase, Rate
from robustsnn.models import Plan, vgg
from robustsnn.neurons import (
    IF,
    LIF,
    RGA,
    STBP,
    Arctan,
    Exponential,
    Gaussian,
    Neurons,
    Rectangle,
    Sigmoid,
    Triangle,
)

PLAN = Plan(((8,), (16,)), (32,))


def trained(model: nn.Module, seed: int = 0, rate: float = 1e-2, adversarial: bool = False) -> nn.Module:
    """The model after 150 steps of Adam on noisy digits, or on those of PGD with three steps; in eval mode."""
    x, y = digits().train.floats()
    draws = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), rate)
    attack = pgd("16/255", 3)
    for _ in range(150):
        at = torch.randint(len(x), (128,), generator=draws)
        images = x[at] + 0.1 * torch.randn(len(at), *x.shape[1:], generator=draws)
        if adversarial:
            images = attack.run(model, x[at], y[at], generator=draws).images
        model.train()
        adam.zero_grad()
        F.cross_entropy(model(images), y[at]).backward()
        adam.step()
    return model.eval()


@cache
def network(
    seed: int = 0, adversarial: bool = False, steps: int = 4, neuron: LIF | None = None, **recipe: Any
) -> nn.Module:
    """A spiking VGG with one convolution in each of two stages."""
    torch.manual_seed(seed)
    if "encoder" in recipe:
        recipe |= {"encoder": recipe["encoder"](steps), "mean": (0.0,), "std": (1.0,)}
    model = vgg(PLAN, image=(1, 8, 8), classes=10, neuron=neuron or IF(), steps=steps, **recipe)
    return trained(model, seed, adversarial=adversarial)


class Step(torch.autograd.Function):
    """1 from 0 on; the slope of a triangle of some width."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.width = width
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return upstream[0] * (1 - ctx.saved_tensors[0].abs() / ctx.width).clamp_min(0) / ctx.width, None


class Own(nn.Module):
    """Integrate-and-fire neurons with a hard reset in plain torch."""

    def __init__(self, old: Neurons, width: float) -> None:
        super().__init__()
        self.steps, self.theta, self.width = old.steps, old.neuron.theta, width

    def forward(self, current: Tensor) -> Tensor:
        spikes, v = [], torch.zeros_like(current[0])
        for now in current.expand(self.steps, *current.shape[1:]):
            u = v + now
            spikes.append(Step.apply(u - self.theta, self.width))
            v = u * (1 - spikes[-1])
        return torch.stack(spikes)


def plain_torch(seed: int, width: float) -> nn.Module:
    """A spiking network without layers of this library's neurons."""
    torch.manual_seed(seed)
    model = vgg(PLAN, image=(1, 8, 8), classes=10, neuron=IF(), steps=4)
    for name, layer in list(model.body.named_children()):
        if isinstance(layer, Neurons):
            setattr(model.body, name, Own(layer, width))
    return trained(model, seed)


def without_spikes(seed: int, activation: type[nn.Module], pool: type[nn.Module]) -> nn.Module:
    """Two convolutions with an activation and a pooling each."""
    torch.manual_seed(seed)
    first = (nn.Conv2d(1, 8, 3, padding=1), activation(), pool(2))
    second = (nn.Conv2d(8, 16, 3, padding=1), activation(), pool(2))
    return trained(nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64, 10)), seed, 5e-3)


@dataclass(frozen=True)
class Honest:
    """A network of some recipe, attacked at radii in 255ths."""

    name: str
    build: Callable[[], nn.Module]
    radii: tuple[int, ...] = (24,)


def honest() -> list[Honest]:
    """Thirty-three networks, forty evaluations."""
    recipes: list[tuple[str, dict[str, Any]]] = [
        ("IF, two steps", {"steps": 2}),
        ("IF, six steps", {"steps": 6}),
        ("IF, threshold 0.5", {"neuron": IF(theta=0.5)}),
        ("IF, soft reset", {"neuron": IF(reset="soft")}),
        ("IF, soft detached reset", {"neuron": IF(reset="soft", detach_reset=True)}),
        ("IF, detached reset", {"neuron": IF(detach_reset=True)}),
        ("LIF 0.5", {"neuron": LIF(tau=0.5)}),
        ("LIF 0.9, soft reset", {"neuron": LIF(tau=0.9, reset="soft")}),
        ("LIF 0.5, leaking input", {"neuron": LIF(tau=0.5, decay_input=True)}),
        ("rule RGA", {"rule": RGA()}),
        ("thinner", {"width": 0.75}),
        ("wider", {"width": 1.5}),
    ]
    surrogates = (Triangle(0.4), Triangle(3.0), Sigmoid(4.0), Sigmoid(10.0), Arctan(2.0), Arctan(4.0))
    for one in (*surrogates, Rectangle(0.5), Rectangle(1.0), Gaussian(2.0), Exponential(2.0)):
        recipes.append((repr(one), {"rule": STBP(one)}))
    for code in (Phase, Latency, Rate):
        recipes.append((f"{code.__name__} code", {"encoder": code, "steps": 8 if code is Phase else 4}))
    nets = [Honest(name, lambda seed=seed, r=r: network(10 + seed, **r)) for seed, (name, r) in enumerate(recipes)]
    nets += [
        Honest("as the maskings", network, (8, 16, 24, 40)),
        Honest("trained on attacks", lambda: network(40, adversarial=True), (8, 24, 40)),
        Honest("trained on attacks, LIF 0.5", lambda: network(41, adversarial=True, neuron=LIF(tau=0.5))),
        Honest("spikes in plain torch, width 1", lambda: plain_torch(42, 1.0), (16, 24)),
        Honest("spikes in plain torch, width 2", lambda: plain_torch(43, 2.0)),
        Honest("ReLU, average pooling", lambda: without_spikes(44, nn.ReLU, nn.AvgPool2d), (8, 24)),
        Honest("ReLU, max pooling", lambda: without_spikes(45, nn.ReLU, nn.MaxPool2d)),
        Honest("tanh, average pooling", lambda: without_spikes(46, nn.Tanh, nn.AvgPool2d)),
    ]
    return nets
