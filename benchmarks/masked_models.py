"""Maskings: networks whose robustness is false, since something is hidden from attacks, each with an honest twin.

A twin is the same construction that hides nothing, or the network itself. What a masking decides is decided as by its
twin, image by image (where chance or the time of asking has a say: nearly), so the twin's worst case is the truth.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import network
from robustsnn.encoders import BPDA
from robustsnn.encoders.bpda import swap
from robustsnn.neurons import IF, STBP, Neurons, Rectangle
from robustsnn.neurons.fused import fire

Build = Callable[[nn.Module], nn.Module]
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Masking:
    """`masked(network)` hides what `honest(network)` shows."""

    hides: str
    name: str
    masked: Build
    honest: Build = lambda network: network


class Around(nn.Module):
    """output(network(front(x)))."""

    def __init__(self, inner: nn.Module, front: Map | None = None, output: Map | None = None) -> None:
        super().__init__()
        self.inner, self.front, self.output = inner, front or nn.Identity(), output or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.inner(self.front(x)))


def front(change: Map) -> Build:
    return lambda inner: Around(inner, front=change)


def output(change: Map) -> Build:
    return lambda inner: Around(inner, output=change)


def backward(change: Map) -> Map:
    """The identity, whose gradient is changed."""

    class Changed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, *upstream: Tensor) -> Tensor:
            return change(upstream[0])

    return Changed.apply  # type: ignore[return-value]


def gradient(change: Map) -> Build:
    """The input gradient, changed."""
    return front(backward(change))


def neurons(change: Callable[[Neurons], nn.Module]) -> Build:
    """Other layers in the place of the neurons."""

    def build(inner: nn.Module) -> nn.Module:
        inner = copy.deepcopy(inner)
        for module in list(inner.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, Neurons):
                    setattr(module, name, change(child))
        return inner

    return build


# The gradient ---------------------------------------------------------------------------------------------------------


def noisy(g: Tensor) -> Tensor:
    """Ten times as much noise as gradient, the same for the same gradient."""
    draws = torch.Generator().manual_seed(int(float(g.abs().double().sum()) * 1e9) % 2**31)
    return g + 10 * g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * torch.randn(g.shape, generator=draws)


def edges_only(x: Tensor) -> Tensor:
    """No gradient but for the columns at the edges, where digits have no ink."""
    seen = torch.zeros_like(x)
    seen[..., :2] = seen[..., -1:] = 1
    return x * seen + x.detach() * (1 - seen)


class Elsewhere(nn.Module):
    """The network's values; where `when` says so, the gradient of another network that was trained likewise."""

    def __init__(self, inner: nn.Module, when: Map) -> None:
        super().__init__()
        self.inner, self.other, self.when = inner, network(seed=1), when

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        return torch.where(self.when(x)[:, None], swap(logits.detach(), self.other(x)), logits)


def off_the_grey_levels(x: Tensor) -> Tensor:
    """Whether an image has other grey levels than the 17 of clean digits."""
    return ((16 * x - (16 * x).round()).abs() > 0.04).flatten(1).any(1)


# State ----------------------------------------------------------------------------------------------------------------


class Recalls(nn.Module):
    """Answers for what is within `radius` of an image that it was shown as it answered then."""

    def __init__(self, inner: nn.Module, radius: float) -> None:
        super().__init__()
        self.inner, self.radius, self.shown = inner, radius, []

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        answers = logits.detach().clone()
        for i, image in enumerate(x.detach()):
            near = [then for before, then in self.shown if bool((before - image).abs().amax() <= self.radius)]
            if near:
                answers[i] = near[0]
            elif len(self.shown) < 200:
                self.shown.append((image.clone(), answers[i].clone()))
        return swap(answers, logits)


class Lingers(nn.Module):
    """Adds `share` of the last logits where the batch is as large as the last: membranes that are cleared by shape."""

    def __init__(self, inner: nn.Module, share: float) -> None:
        super().__init__()
        self.inner, self.share, self.last = inner, share, torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        carried = self.share * self.last if self.last.shape == logits.shape else 0
        self.last = logits.detach()
        return logits + carried


class Fades(nn.Module):
    """Leans away from the mean of the classes that it named lately."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.mean = inner, torch.zeros(10)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        leaning = logits - 3 * self.mean
        self.mean = 0.9 * self.mean + 0.1 * logits.detach().softmax(1).mean(0)
        return leaning


class Tires(nn.Module):
    """The gradient is right in the first sixty calls that ask for one, then of the wrong sign."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        self.calls += logits.requires_grad
        return logits if self.calls <= 60 else swap(logits.detach(), -logits)


class Shares(nn.Module):
    """Images near an earlier one of their batch get its answer, as the many queries of a search do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits, flat = self.inner(x), x.detach().flatten(1)
        first = (torch.cdist(flat, flat, p=math.inf) <= 0.2).float().argmax(1)
        return swap(logits.detach()[first], logits)


# Time, rules and neurons ----------------------------------------------------------------------------------------------


class Sticky(Neurons):
    """Neurons that keep a narrow rule, whatever they are given."""

    def forward(self, current: Tensor) -> Tensor:
        return fire(current, self.steps, self.neuron, STBP(Rectangle(0.02)))


class FirstStep(Neurons):
    """Neurons whose gradient goes through the first step alone."""

    def forward(self, current: Tensor) -> Tensor:
        spikes = super().forward(current)
        return torch.cat([spikes[:1], spikes[1:].detach()])


class Shifted(Neurons):
    """Neurons whose gradient is taken sixty thresholds from where they are."""

    def forward(self, current: Tensor) -> Tensor:
        return swap(super().forward(current).detach(), super().forward(current - 60))


class Units(nn.Module):
    """Currents and threshold in other units: the same spikes, further from the threshold for a surrogate."""

    def __init__(self, like: Neurons) -> None:
        super().__init__()
        self.neurons = Neurons(replace(like.neuron, theta=1000 * like.neuron.theta), like.steps, like.rule)

    def forward(self, current: Tensor) -> Tensor:
        return self.neurons(1000 * current)


def relayed(layers: int) -> Build:
    """Behind each layer of neurons some more that hand on its spikes: nothing changes but the gradient's way."""
    return neurons(lambda old: nn.Sequential(old, *(Neurons(IF(theta=0.5), old.steps) for _ in range(layers))))


def like(kind: type[Neurons]) -> Build:
    return neurons(lambda old: kind(old.neuron, old.steps, old.rule))


# Encoder, chance, numerics and outputs --------------------------------------------------------------------------------


def levels(x: Tensor) -> Tensor:
    return (12 * x).round() / 12


def levels_at_jumps(x: Tensor) -> Tensor:
    """Twelve grey levels; a gradient only within 2 % of a step around the jumps."""
    near = ((12 * x.detach()) % 1 - 0.5).abs() < 0.02
    return swap(levels(x.detach()), x * near)


def low_frequencies(straight: bool) -> Map:
    """The low frequencies rounded to steps of 1/8; the high ones as they are."""
    k = torch.arange(8.0)
    cosine = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) / 2
    cosine[0] *= 0.5**0.5
    low = (k + k[:, None]) < 7

    def change(x: Tensor) -> Tensor:
        spectrum = cosine @ x @ cosine.T
        kept = torch.where(low, ((8 * spectrum).round() / 8).detach(), spectrum)
        return cosine.T @ (swap(kept.detach(), spectrum) if straight else kept) @ cosine

    return change


def unseeded(x: Tensor) -> Tensor:
    """Noise that no seed of torch repeats."""
    draws = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little"))
    return x + 0.1 * torch.randn(x.shape, generator=draws)


def hashed(x: Tensor) -> Tensor:
    """Noise that is the same for the same image, bit for bit, and has nothing to do with that of its neighbours."""
    ranks = (x.detach().double().flatten(1) * torch.linspace(1, 1e7, x[0].numel(), dtype=torch.float64)).sum(1)
    draws = [torch.Generator().manual_seed(int(1e4 * rank) % 2**31) for rank in ranks]
    return x + 0.3 * (torch.stack([torch.rand(x[0].shape, generator=one) for one in draws]) - 0.5)


def floored(z: Tensor) -> Tensor:
    """Logits far below the largest are all the same: neither margin nor cross-entropy has a gradient there."""
    gap = 4 * (z - z.amax(1, keepdim=True))
    return gap.clamp_min(-1)


def half_precision(g: Tensor) -> Tensor:
    """A gradient that underflows on its way."""
    return (1e-7 * g).half().float() * 1e7


class Votes(nn.Module):
    """Three networks vote; only a trace of the first one's logits has a gradient, or the mean of all (`soft`)."""

    def __init__(self, inner: nn.Module, soft: bool) -> None:
        super().__init__()
        self.members, self.soft = nn.ModuleList([inner, network(seed=1), network(seed=2)]), soft

    def forward(self, x: Tensor) -> Tensor:
        logits = [member(x) for member in self.members]
        votes = sum(F.one_hot(z.detach().argmax(1), z.shape[1]).float() for z in logits)
        trace = votes + 1e-4 * torch.tanh(logits[0])
        return swap(trace.detach(), sum(z.softmax(1) for z in logits)) if self.soft else trace  # type: ignore[arg-type]


MASKINGS = (
    Masking("gradient", "wrong sign in every other column", gradient(lambda g: g * torch.tensor([1.0, -1.0] * 4))),
    Masking("gradient", "one pixel to the right", gradient(lambda g: g.roll(1, -1))),
    Masking("gradient", "drowned in its own noise", gradient(noisy)),
    Masking("gradient", "columns at the edges alone", front(edges_only)),
    Masking("gradient", "another network's", lambda inner: Elsewhere(inner, lambda x: x.flatten(1).amax(1) > 0)),
    Masking("gradient", "another network's, off the grey levels", lambda inner: Elsewhere(inner, off_the_grey_levels)),
    Masking("state", "answers for neighbours", lambda inner: Recalls(inner, 0.2), lambda inner: Recalls(inner, 0)),
    Masking("state", "cleared by shape", lambda inner: Lingers(inner, 0.7), lambda inner: Lingers(inner, 0)),
    Masking("state", "a mean of the last answers", Fades),
    Masking("state", "tires after sixty gradients", Tires),
    Masking("state", "answers for neighbours in the batch", Shares),
    Masking("time", "gradient of the first step alone", like(FirstStep)),
    Masking("rule", "neurons that keep a narrow rule", like(Sticky)),
    Masking("rule", "potentials far from where rules look", like(Shifted)),
    Masking("rule", "potentials in units of 1/1000", neurons(Units)),
    Masking("rule", "four relays behind each layer", relayed(4), relayed(0)),
    Masking("encoder", "twelve levels", front(levels_at_jumps), front(BPDA(levels))),
    Masking("encoder", "rounded low frequencies", front(low_frequencies(False)), front(low_frequencies(True))),
    Masking("chance", "noise that no seed repeats", front(unseeded)),
    Masking("chance", "noise by a hash of the image", front(hashed)),
    Masking("numerics", "a gradient that underflows", gradient(half_precision)),
    Masking("numerics", "logits of 1e-36", output(lambda z: 1e-36 * z)),
    Masking("outputs", "cut far below the largest", output(floored)),
    Masking("outputs", "votes", lambda inner: Votes(inner, False), lambda inner: Votes(inner, True)),
)
