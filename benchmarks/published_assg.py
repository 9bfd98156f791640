"""ASSG with SA-PGD, written from its published formulas: a referee that shares no code with the package.

Source: arXiv 2512.22522 and the behaviour of the code released with it. Two parts; every quantity is one of a
sample, so that batch neighbours have no say.

ASSG, the gradient. A layer of neurons, v = u[t] - theta, is run forwards as always and backwards with

    ds[t]/du[t] = (alpha/2) / (1 + (pi alpha v / 2)^2)                 arctan, of integral 1
    alpha = omega / (M + 1.5 D + 1e-4),    omega = (2/pi) tan(pi a)    the scale a is near .43
    M <- .9 M + .1 |v|                                                 M = 1 at first
    D <- .9 D + .1 | |v| - M |                                         D = 0 at first; M is the new one

M and D are of one layer, step, sample and neuron, constants to the gradient, and move once with each gradient that
the attack takes. The spike in the reset is detached whatever the network says: V[t] = u[t] (1 - s[t]) or
u[t] - theta s[t] with s[t] a constant. Time is otherwise backpropagated through as it is.

SA-PGD, the steps. With g the gradient of the cross-entropy and means over the values of a sample:

    x <- clip(x0 + eps t / max|t|, 0, 1),    t uniform in [-1, 1]      the start touches the boundary
    m <- .5 m + g / mean|g|,    w <- .8 w + g^2 / mean g^2             both 0 at first
    x <- clip to ball and [0, 1] of x + clip(eta m / (sqrt w + 1e-12), -eta, eta)

eta is eps at first and is halved after step .22 n, and then at distances that are each .03 n shorter than the one
before, but at least .06 n: of n = 100 after 22, 41, 57, 70, 80, 87, 93 and 99, without a condition and without a
return to the best point. The result is the last iterate that is misclassified, x0 if none is.

One change, at the edge where the published form divides 0 by 0: g is scaled to max|g| = 1 before it is squared, and
a sample with g = 0 goes on with the momentum that it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustsnn.neurons import Neurons

SCALES = (0.42, 0.43, 0.44, 0.45, 0.46)
"""a of the starts, in turn; the source tunes it on the attacked images, within about this range."""


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, alpha: Tensor) -> Tensor:
        ctx.save_for_backward(v, alpha)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        v, alpha = ctx.saved_tensors
        return gradients[0] * (alpha / 2) / (1 + (math.pi / 2 * alpha * v).square()), None


class Adaptive:
    """One layer's neurons during one run: currents `[T or 1, B, ...]` -> spikes `[T, B, ...]`."""

    def __init__(self, layer: Neurons, scale: float) -> None:
        self.neuron, self.steps = layer.neuron, layer.steps
        self.omega = 2 / math.pi * math.tan(math.pi * scale)
        self.statistics: list[tuple[Tensor, Tensor]] = []

    def sharpness(self, t: int, v: Tensor) -> Tensor:
        """alpha of step t; moves M and D."""
        distance = v.detach().abs()
        if len(self.statistics) == t:  # of the first gradient
            self.statistics.append((torch.ones_like(distance), torch.zeros_like(distance)))
        mean, deviation = self.statistics[t]
        mean = 0.9 * mean + 0.1 * distance
        deviation = 0.9 * deviation + 0.1 * (distance - mean).abs()
        self.statistics[t] = mean, deviation
        return self.omega / (mean + 1.5 * deviation + 1e-4)

    def __call__(self, current: Tensor) -> Tensor:
        neuron, spikes = self.neuron, []
        membrane = torch.zeros_like(current[0], dtype=torch.float32)  # also of bfloat16 currents
        for t in range(self.steps):
            charge = current[t if len(current) > 1 else 0].float()
            charge = charge * (1 - neuron.tau) if neuron.decay_input else charge
            u = neuron.tau * membrane + charge
            v = u - neuron.theta
            spike = _Spike.apply(v, self.sharpness(t, v))
            spikes.append(spike)
            fixed = spike.detach()
            membrane = u * (1 - fixed) if neuron.reset == "hard" else u - neuron.theta * fixed
        return torch.stack(spikes).to(current.dtype)


@contextmanager
def assg(model: nn.Module, scale: float) -> Iterator[None]:
    """All neurons of `model` by this file's code inside the block, with statistics that begin there."""
    layers = [module for module in model.modules() if isinstance(module, Neurons)]
    for layer in layers:
        layer.forward = Adaptive(layer, scale)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def check_spikes(model: nn.Module, x: Tensor) -> None:
    """AssertionError unless the neurons here spike as the network's own: else another network would be attacked."""
    for layer in (module for module in model.modules() if isinstance(module, Neurons)):

        def compare(layer: nn.Module, arguments: tuple[Tensor, ...], spikes: Tensor) -> None:
            assert isinstance(layer, Neurons)
            assert torch.equal(Adaptive(layer, SCALES[0])(arguments[0]), spikes), f"{layer} spikes otherwise"

        hook = layer.register_forward_hook(compare)
        try:
            with torch.no_grad():
                model(x)
        finally:
            hook.remove()


def halvings(steps: int) -> set[int]:
    """The steps after which eta is halved."""
    width, least, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    at, found = 0, set()
    while (at := at + width) <= steps:
        found.add(at)
        width = max(width - less, least)
    return found


def sa_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> tuple[Tensor, Tensor]:
    """(images, which of them are misclassified) after one start from torch's random numbers."""

    def per_sample(values: Tensor) -> Tensor:
        return values.view(-1, *[1] * (x.ndim - 1))

    def mean(values: Tensor) -> Tensor:
        return per_sample(values.flatten(1).mean(1))

    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    start = torch.rand_like(x) * 2 - 1
    z = (x + eps * start / per_sample(start.abs().flatten(1).amax(1))).clamp(0, 1)
    result, fooled = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    momentum, square, eta, halved = torch.zeros_like(x), torch.zeros_like(x), eps, halvings(steps)
    for step in range(1, steps + 2):  # the last pass judges alone
        z.requires_grad_()
        logits = model(z)
        (g,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), z)
        z = z.detach()
        wrong = logits.argmax(1) != y
        result[wrong], fooled = z[wrong], fooled | wrong
        if step > steps:
            break
        g = g / per_sample(g.abs().flatten(1).amax(1)).clamp_min(torch.finfo(g.dtype).tiny)
        some = per_sample(g.flatten(1).any(1))
        momentum = 0.5 * momentum + torch.where(some, g / mean(g.abs()), 0)
        square = 0.8 * square + torch.where(some, g.square() / mean(g.square()), 0)
        z = z + (eta * momentum / (square.sqrt() + 1e-12)).clamp(-eta, eta)
        z = torch.minimum(torch.maximum(z, low), high)
        eta = eta / 2 if step in halved else eta
    return result, fooled


def attack(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int, scales: Sequence[float]) -> Tensor:
    """SA-PGD under ASSG with one start for each scale, each on what the ones before leave."""
    check_spikes(model, x)
    result, left = x.clone(), torch.arange(len(x), device=x.device)
    for scale in scales:
        if len(left):
            with assg(model, scale):
                result[left], fooled = sa_pgd(model, x[left], y[left], eps, steps)
            left = left[~fooled]
    return result
