"""Honest models, and one planted defect for each flag."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.attacks import Linf, Stateful, Suite, fgsm, pgd
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.square import Square
from robustsnn.data.digits import digits
from robustsnn.encoders import BPDA
from robustsnn.losses import margin
from robustsnn.models import Plan, vgg
from robustsnn.neurons import IF, RGA, STBP, Neurons, Triangle
from robustsnn.neurons.fused import fire

EPS = 0.1
Model = Callable[[Tensor], Tensor]


@cache
def images(part: str) -> tuple[Tensor, Tensor]:
    """A part of the digits, and labels."""
    return getattr(digits(), part).floats()


def data(n: int = 32) -> tuple[Tensor, Tensor]:
    """What is evaluated: validation images, and labels."""
    x, y = images("validation")
    return x[:n], y[:n]


def trained(model: nn.Module, steps: int, rate: float) -> nn.Module:
    """The model after some steps of Adam on noisy digits, in eval mode."""
    x, y = images("train")
    draws = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(model.parameters(), rate)
    model.train()
    for _ in range(steps):
        at = torch.randint(len(x), (128,), generator=draws)
        noise = 0.1 * torch.randn(len(at), *x.shape[1:], generator=draws)
        adam.zero_grad()
        F.cross_entropy(model(x[at] + noise), y[at]).backward()
        adam.step()
    return model.eval()


@cache
def plain() -> nn.Module:
    """A small network without spikes."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 32), nn.ReLU())
    return trained(nn.Sequential(body, nn.Linear(32, 10)), 150, 5e-3)


@cache
def spiking() -> nn.Module:
    """A small spiking network with three neuron layers."""
    torch.manual_seed(0)
    model = vgg(Plan(((8,), (16,)), (32,)), image=(1, 8, 8), classes=10, neuron=IF(), steps=2)
    return trained(model, 150, 1e-2)


class Around(nn.Module):
    """`output(network(front(x)))`: where defects are put."""

    def __init__(self, network: nn.Module, front: Model | None = None, output: Model | None = None) -> None:
        super().__init__()
        self.network, self.front, self.output = network, front, output

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x if self.front is None else self.front(x))
        return logits if self.output is None else self.output(logits)


def backward(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """x; its gradient is changed."""
    same = x.clone()
    if same.requires_grad:
        same.register_hook(change)
    return same


class Ruled(nn.Module):
    """A spiking network whose first layers of neurons have another rule of their own while it is called as this."""

    def __init__(self, network: nn.Module, rule: Any, layers: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for layer in [module for module in self.network.modules() if isinstance(module, Neurons)][:layers]:
            layer.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class Units(nn.Module):
    """Neurons whose currents and threshold are both multiplied by a power of two: the spikes are the same."""

    def __init__(self, like: Neurons) -> None:
        super().__init__()
        self.neurons = Neurons(replace(like.neuron, theta=256 * like.neuron.theta), like.steps, like.rule)

    def forward(self, current: Tensor) -> Tensor:
        return self.neurons(256 * current)


class Stubborn(Neurons):
    """Neurons with a forward pass of their own, which keeps to the first rule."""

    def __init__(self, like: Neurons) -> None:
        super().__init__(like.neuron, like.steps, like.rule)
        self.kept = like.rule

    def forward(self, current: Tensor) -> Tensor:
        return fire(current, self.steps, self.neuron, self.kept)


class Step(torch.autograd.Function):
    """1 from 0 on, differentiated by a triangle."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return upstream[0] * (1 - ctx.saved_tensors[0].abs()).clamp_min(0)


class Own(nn.Module):
    """Integrate-and-fire neurons with a hard reset in plain torch."""

    def __init__(self, like: Neurons) -> None:
        super().__init__()
        self.steps, self.theta = like.steps, like.neuron.theta

    def forward(self, current: Tensor) -> Tensor:
        spikes, v = [], torch.zeros_like(current[0])
        for now in current.expand(self.steps, *current.shape[1:]):
            u = v + now
            spikes.append(Step.apply(u - self.theta))
            v = u * (1 - spikes[-1])
        return torch.stack(spikes)


class Foreign(Own):
    """Such neurons as a framework has them: their class says where it comes from, their surrogate is an attribute."""

    __module__ = "spikingjelly.activation_based.neuron"
    v_threshold, v_reset, detach_reset, step_mode, surrogate_function = 1.0, 0.0, False, "m", Step.apply


def neurons(change: Callable[[Neurons], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    """Put in the place of each layer of neurons."""

    def plant(network: nn.Module) -> nn.Module:
        network = copy.deepcopy(network)
        for module in list(network.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, Neurons):
                    setattr(module, name, change(child))
        return network

    return plant


@dataclass(frozen=True)
class Reversed:
    """STBP with the wrong sign."""

    elementwise = False
    label = "reversed"

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: Any) -> Tensor:
        return -STBP().input_gradient(upstream, current, neuron)


class Carrying(nn.Module):
    """Adds a share of the last call's logits, as a membrane does that is not reset."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.last = network, torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        kept = self.last.mean() * torch.arange(logits.shape[1])
        self.last = logits.detach()
        return logits + 1e-2 * kept


class Wearing(nn.Module):
    """Moves the classes by one from the fiftieth call on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits = self.network(x)
        return logits if self.calls < 50 else logits.roll(1, 1)


class Recalling(nn.Module):
    """Answers for an image near one that it was shown as it answered then, as long as the gradient is its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.shown, self.answers = torch.empty(0), torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        answers = logits.detach().clone()
        if not len(self.shown):
            self.shown, self.answers = x.detach()[:0].flatten(1), answers[:0]
        for i, image in enumerate(x.detach().flatten(1)):
            near = ((self.shown - image).abs().amax(1) < 2.1 * EPS).nonzero()
            if len(near):
                answers[i] = self.answers[near[0, 0]]
            elif len(self.shown) < 200:
                self.shown = torch.cat([self.shown, image[None]])
                self.answers = torch.cat([self.answers, answers[i : i + 1]])
        return logits + (answers - logits).detach()


class Sharing(nn.Module):
    """Images near an earlier one of their batch get its answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        flat = x.detach().flatten(1)
        first = (torch.cdist(flat, flat, p=torch.inf) < 2.1 * EPS).float().argmax(1)
        return self.network(x)[first]


class Alternating(nn.Module):
    """Every second gradient has the wrong sign; logits have no memory."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.sign = network, 1

    def turn(self, gradient: Tensor) -> Tensor:
        self.sign = -self.sign
        return self.sign * gradient

    def forward(self, x: Tensor) -> Tensor:
        return backward(self.network(x), self.turn)


class Decoy(nn.Module):
    """The values of a network and the gradient of another, which was never trained."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.network, self.other = network, nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        shown = self.other(x)
        return shown + (self.network(x) - shown).detach()


class Frozen(nn.Module):
    """Leaves no graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def repelling(logits: Tensor) -> Tensor:
    """The logits; their gradient turns round where the two largest are close."""
    first, second = logits.detach().topk(2).values.unbind(1)
    close = (first - second < 2)[:, None]
    return backward(logits, lambda g: torch.where(close, -g, g))


def picky(logits: Tensor) -> Tensor:
    """The logits; a gradient that concerns two of them alone, as that of the margin, turns round."""
    return backward(logits, lambda g: torch.where((g != 0).sum(1, keepdim=True) <= 2, -g, g))


def shy(logits: Tensor) -> Tensor:
    """Other logits while a gradient is recorded."""
    return logits.roll(1, 1) if logits.requires_grad else logits


def only_a_corner(gradient: Tensor) -> Tensor:
    """The gradient of one pixel, that no digit reaches; the others are lost."""
    kept = torch.zeros_like(gradient)
    kept[..., 0, 0] = gradient[..., 0, 0]
    return kept


def every_other(gradient: Tensor) -> Tensor:
    """The gradient of every other column; the rest is lost."""
    kept = gradient.clone()
    kept[..., ::2] = 0
    return kept


def rounded_directions(x: Tensor) -> Tensor:
    """Half of the coefficients of the image in a random basis rounded to sixths: they have no gradient."""
    basis = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(5)))[0]
    spectrum = x.flatten(1) @ basis
    kept = torch.where(torch.arange(64) < 32, ((6 * spectrum).round() / 6).detach(), spectrum)
    return (kept @ basis.T).view_as(x)


def near(x: Tensor) -> Tensor:
    """x; the gradient turns round for images farther than 0.7 EPS from all clean ones."""
    known = data()[0].flatten(1)
    far = torch.cdist(x.detach().flatten(1), known, p=torch.inf).amin(1) > 0.7 * EPS
    return backward(x, lambda g: torch.where(far[:, None, None, None], -g, g))


def bumpy(x: Tensor) -> Tensor:
    """x and waves of a height of half a grey level, flat on no grey level and of another length for each pixel."""
    turns = 2 * torch.pi * 255 * (1 + torch.arange(x[0].numel()).view(x.shape[1:]))
    return x + 0.002 * torch.sin(turns * x)


def hashed(x: Tensor) -> Tensor:
    """x and noise that is the same for the same image, and another for its neighbours."""
    sums = x.detach().double().flatten(1) @ torch.linspace(1, 1e7, x[0].numel(), dtype=torch.float64)
    draws = [torch.Generator().manual_seed(int(1e4 * one) % 2**31) for one in sums]
    return x + 0.3 * torch.stack([torch.rand(x.shape[1:], generator=one) - 0.5 for one in draws])


def weak(eps: float) -> Suite:
    """Two small steps."""
    return suite(pgd(eps, 2, alpha=eps / 8, random_start=False, loss=margin))


def suite(*attacks: Any) -> Suite:
    """These attacks in one column."""
    return Suite("small", (("all", attacks),))


def one(eps: float) -> Suite:
    """PGD by the own gradient."""
    return suite(pgd(eps, 8, loss=margin))


def confident(eps: float) -> Suite:
    """PGD on the cross-entropy."""
    return suite(pgd(eps, 8))


def one_rule(eps: float) -> Suite:
    """PGD by the own gradient, and a few queries."""
    return suite(pgd(eps, 8, loss=margin), Square(Linf(eps), 20))


def two_rules(eps: float) -> Suite:
    """PGD by the own gradient and by another, and a few queries."""
    return suite(pgd(eps, 8, loss=margin), pgd(eps, 8, loss=margin, rule=RGA()), Square(Linf(eps), 20))


def blind(eps: float) -> Suite:
    """A gradient attack and one that needs none."""
    return suite(fgsm(eps), RandomSearch(Linf(eps), "corners", 20))


@dataclass(frozen=True)
class Planted:
    """A defect that raises `flag`; without it, the flag is not raised.

    `plant` makes the defective model of the honest one. Where the suite is the defect, `honest_suite` has none.
    """

    flag: str
    about: str
    plant: Callable[[nn.Module], nn.Module] = field(default=lambda network: network)
    honest: Callable[[], nn.Module] = plain
    suite: Callable[[float], Suite] = one
    honest_suite: Callable[[float], Suite] | None = None


def front(change: Model) -> Callable[[nn.Module], nn.Module]:
    """Put before the network."""
    return lambda network: Around(network, front=change)


def output(change: Model) -> Callable[[nn.Module], nn.Module]:
    """Put behind the network."""
    return lambda network: Around(network, output=change)


PLANTED = (
    Planted("zero-gradient", "rounding of pixels", front(lambda x: (x * 16).round() / 16)),
    Planted(
        "zero-gradient",
        "a surrogate that is too narrow for the potentials",
        lambda network: Ruled(network, STBP(Triangle(0.001)), 3),
        spiking,
        one_rule,
    ),
    Planted("zero-gradient", "logits so large that the softmax saturates", output(lambda z: 1e4 * z), suite=confident),
    Planted("tiny-gradient", "a gradient scaled by 1e-20", front(lambda x: backward(x, lambda g: 1e-20 * g))),
    Planted("nan-gradient", "a square root at black pixels", front(lambda x: x + 1e-6 * x.sqrt())),
    Planted("nan-logits", "a logarithm of a logit", output(lambda z: z + 1e-9 * (z[:, :1] + 1).log())),
    Planted("gradient-mismatch", "a gradient of the wrong sign", front(lambda x: backward(x, torch.neg))),
    Planted("unrelated-gradient", "the gradient of an untrained network", Decoy),
    Planted("unrelated-gradient", "a gradient that turns round near the decision boundary", output(repelling)),
    Planted(
        "misplaced-gradient", "a gradient of the next pixel", front(lambda x: backward(x, lambda g: g.roll(1, -1)))
    ),
    Planted("lost-entries", "a gradient of every other column", front(lambda x: backward(x, every_other))),
    Planted("lost-entries", "half of the directions of an image rounded", front(rounded_directions)),
    Planted("unsteady-gradient", "every second gradient of the wrong sign", Alternating),
    Planted("unsteady-gradient", "a gradient that turns round for the margin alone", output(picky)),
    Planted("rules-without-effect", "neurons with a forward pass of their own", neurons(Stubborn), spiking, two_rules),
    Planted("blind-rules", "potentials in units of 1/256", neurons(Units), spiking, two_rules),
    Planted(
        "rules-disagree",
        "an own rule of the wrong sign",
        lambda network: Ruled(network, Reversed(), 1),
        spiking,
        two_rules,
    ),
    Planted("one-step-beats-iterative", "a loss surface full of small waves", front(bumpy)),
    Planted("black-box-beats-white-box", "a gradient of the wrong sign", front(lambda x: backward(x, torch.neg))),
    Planted("loss-not-increasing", "a gradient that is right near the images alone", front(near)),
    Planted("unbounded-attack-fails", "a gradient of one pixel", front(lambda x: backward(x, only_a_corner))),
    Planted("not-converged", "two small steps", suite=weak, honest_suite=one),
    Planted("random", "noise in eval mode", output(lambda z: z + 0.1 * torch.randn_like(z))),
    Planted("state", "logits that carry over to the next call", lambda model: Stateful(Carrying(model))),
    Planted("state", "classes that move after fifty calls", Wearing),
    Planted("state", "answers for the neighbours of what was shown before", Recalling),
    Planted("call-dependent", "other logits while a gradient is recorded", output(shy)),
    Planted("coupled", "images scaled by the mean of the batch", front(lambda x: x * (0.3 / x.mean()))),
    Planted(
        "coupled", "statistics of the batch", front(lambda x: 0.4 + 0.4 * F.batch_norm(x, None, None, training=True))
    ),
    Planted("coupled", "one answer for all images of a batch that are near one another", Sharing),
    Planted("no-gradient", "pixels that are detached", front(Tensor.detach), suite=blind),
    Planted("no-gradient", "logits computed without gradients", Frozen, suite=blind),
    Planted("foreign-gradient", "neurons of another framework, not wrapped", neurons(Foreign), spiking, two_rules),
    Planted("probabilities", "a softmax at the end", output(lambda z: z.softmax(1))),
    Planted("coarse-logits", "logits rounded to steps of eight", output(BPDA(lambda z: 8 * (z / 8).round()))),
    Planted("erratic", "noise by a hash of the image", front(hashed)),
    Planted("ties", "logits that are counts", output(BPDA(lambda z: (z / 8).round()))),
    Planted("single-surrogate", "spikes in plain torch", neurons(Own), spiking, two_rules),
    Planted("single-surrogate", "a suite with one rule", honest=spiking, suite=one_rule, honest_suite=two_rules),
)
