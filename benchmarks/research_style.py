"""Time of an SR training step against the same step written the way research code is usually written.

The yardstick is plain PyTorch in float32 and NCHW: the image repeated T times before the first convolution, a Python
loop over time in every layer of neurons with a small autograd function per step, autograd through every membrane
update, a stock SGD. Same network, weights, batch and loss as ours. The two losses and all gradients are compared
first, in float64, and nothing is timed unless they agree; then the yardstick, ours in float32 and ours in bfloat16
take turns, and ratios are formed within a round.
"""

from __future__ import annotations

import argparse
import copy
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustsnn.bench.machine import context, prepared
from robustsnn.bench.show import heading, text
from robustsnn.bench.timing import paired
from robustsnn.bench.trainee import Trainee
from robustsnn.ground.files import write_json
from robustsnn.ground.seeds import generator
from robustsnn.models import Classifier
from robustsnn.neurons import Neurons, compilation
from robustsnn.objectives import SparsityRegularised

IMAGE = (3, 32, 32)
SEED = 0
TOLERANCE = 1e-9  # of differences in float64, which are about 1e-14


class Spike(torch.autograd.Function):
    """1 where u >= 0, else 0; the derivative is the triangle max(0, 1 - |u|)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> Tensor:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return upstreams[0] * torch.clamp(1 - torch.abs(u), min=0)


class SpikingLayer(nn.Module):
    """IF neurons with a hard reset, step by step: `[T, B, ...]` -> `[T, B, ...]`."""

    def __init__(self, threshold: float = 1.0) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        membrane = torch.zeros_like(x[0])
        spikes = []
        for t in range(x.shape[0]):
            membrane = membrane + x[t]
            spike = Spike.apply(membrane - self.threshold)
            membrane = membrane * (1 - spike)
            spikes.append(spike)
        return torch.stack(spikes)


class OverTime(nn.Module):
    """A layer without memory on `[T, B, ...]`, time and batch merged for it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        steps, batch = x.shape[:2]
        y = self.layer(x.reshape(steps * batch, *x.shape[2:]))
        return y.reshape(steps, batch, *y.shape[1:])


class Block(nn.Module):
    """Norm, neurons, convolution, twice, mixed with the shortcut by two learned weights."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.full((2,), 0.5))
        self.norm1 = OverTime(nn.BatchNorm2d(before))
        self.neurons1 = SpikingLayer()
        self.conv1 = OverTime(nn.Conv2d(before, after, 3, stride, 1, bias=False))
        self.norm2 = OverTime(nn.BatchNorm2d(after))
        self.neurons2 = SpikingLayer()
        self.conv2 = OverTime(nn.Conv2d(after, after, 3, 1, 1, bias=False))
        changed = before != after or stride != 1
        self.shortcut = OverTime(nn.Conv2d(before, after, 1, stride, bias=False)) if changed else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.neurons1(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.conv2(self.neurons2(self.norm2(self.conv1(out))))
        return self.mix[0] * shortcut + self.mix[1] * out


class ResearchNet(nn.Module):
    """`robustsnn.models.wide_resnet` of IF neurons; parameters and buffers in the same order."""

    mean: Tensor
    std: Tensor

    def __init__(self, depth: int = 16, width: int = 4, steps: int = 8, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 0.25))
        self.stem = OverTime(nn.Conv2d(channels, 16, 3, 1, 1, bias=False))
        self.blocks = nn.ModuleList()
        before = 16
        for group in range(3):
            after = 16 * width * 2**group
            for i in range((depth - 4) // 6):
                self.blocks.append(Block(before, after, 2 if group > 0 and i == 0 else 1))
                before = after
        self.norm = OverTime(nn.BatchNorm2d(before))
        self.neurons = SpikingLayer()
        self.linear = OverTime(nn.Linear(before, classes))

    def forward(self, images: Tensor) -> Tensor:
        x = (images - self.mean) / self.std
        x = self.stem(x.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1))
        for block in self.blocks:
            x = block(x)
        x = self.neurons(self.norm(x))
        return self.linear(x.mean((3, 4))).mean(0)


def research_net(ours: Classifier) -> ResearchNet:
    """The yardstick of the same shape, with a copy of the parameters and running statistics, in float32 and NCHW."""
    blocks = [module for module in ours.modules() if hasattr(module, "mix")]
    neurons = next(module for module in ours.modules() if isinstance(module, Neurons))
    linear = ours.get_submodule("body")[-1]  # type: ignore[index]
    width = linear.in_features // 64
    net = ResearchNet(2 * len(blocks) + 4, width, neurons.steps, ours.image[-3], linear.out_features)
    source, target = ours.state_dict(), net.state_dict()
    if [value.shape for value in source.values()][2:] != [value.shape for value in target.values()][2:]:
        raise ValueError("the two networks differ in layers or their order; ResearchNet must follow wide_resnet")
    pairs = zip(target.items(), source.values(), strict=True)
    # mean and std, the first two, may be one number for all channels
    net.load_state_dict({name: value.expand_as(old) for (name, old), value in pairs})
    return net.train()


def research_loss(net: nn.Module, x: Tensor, y: Tensor, lam: float, h: float) -> tuple[Tensor, Tensor]:
    """Loss and logits: CE + lam |f(x + h d) - f(x)| / h with d = sign(grad f(x)), f the probability of the class."""
    x = x.clone().requires_grad_(True)
    logits = net(x)
    f = F.softmax(logits, dim=1).gather(1, y.unsqueeze(1)).squeeze(1)
    grad = torch.autograd.grad(f.sum(), x, retain_graph=True)[0]
    moved = net(x.detach() + h * grad.sign())
    f_moved = F.softmax(moved, dim=1).gather(1, y.unsqueeze(1)).squeeze(1)
    penalty = ((f_moved - f) / h).abs().mean()
    return F.cross_entropy(logits, y) + lam * penalty, logits


def our_loss(model: nn.Module, x: Tensor, y: Tensor, lam: float, h: float) -> tuple[Tensor, Tensor]:
    """The same as training forms it."""
    terms, logits = SparsityRegularised(lam, h=h)(model, x, y, generator=generator(SEED))
    return torch.stack([term.mean() for term in terms.values()]).sum(), logits


@dataclass(frozen=True)
class Outcome:
    """What one SR step leaves: logits, loss, a gradient per parameter, running statistics per norm."""

    logits: list[Tensor]
    loss: list[Tensor]
    gradients: list[Tensor]
    running_means: list[Tensor]
    running_variances: list[Tensor]


Loss = Callable[[nn.Module, Tensor, Tensor, float, float], tuple[Tensor, Tensor]]


def outcome(net: nn.Module, loss_of: Loss, x: Tensor, y: Tensor, lam: float = 0.008, h: float = 0.01) -> Outcome:
    """Forwards and backward of one step, on a copy of `net` in the precision of `x`.

    Our readout and losses raise what comes in bfloat16 to float32; in float64 they are to leave it as it is.
    """
    net = copy.deepcopy(net).to(x.dtype).train()
    double = mock.patch.object(Tensor, "float", Tensor.double) if x.dtype == torch.float64 else nullcontext()
    with double:
        loss, logits = loss_of(net, x, y, lam, h)
        loss.backward()
    state = net.state_dict()
    return Outcome(
        [logits.detach()],
        [loss.detach()],
        [parameter.grad for parameter in net.parameters() if parameter.grad is not None],
        [value for name, value in state.items() if name.endswith("running_mean")],
        [value for name, value in state.items() if name.endswith("running_var")],
    )


def distances(ours: Outcome, theirs: Outcome) -> dict[str, float]:
    """Per part the largest difference within a tensor over the tensor's largest value, at most over tensors."""

    def largest(a: list[Tensor], b: list[Tensor]) -> float:
        return max(float((x - y).abs().max() / y.abs().max().clamp_min(1e-30)) for x, y in zip(a, b, strict=True))

    return {name: largest(getattr(ours, name), getattr(theirs, name)) for name in vars(ours)}


def as_copies(ours: Outcome, n: int, copies: int) -> Outcome:
    """Ours with the running variance that the first norm had got from `copies` of its n values per channel.

    It sees B images where the yardstick's sees T copies of each: equal mean and variance, but an unbiased running
    variance with the factor n / (n - 1) of n = B H W instead of T B H W. Two forwards leave 0.9^2 of its start, 1.
    """
    first, *others = ours.running_variances
    start = 0.9**2
    first = start + (first - start) * (1 - 1 / n) / (1 - 1 / (n * copies))
    return Outcome(**{**vars(ours), "running_variances": [first, *others]})


def compare(model: Classifier, x: Tensor, y: Tensor, dtype: torch.dtype) -> dict[str, float]:
    """`distances` of one step of ours, channels_last, to one of the yardstick, NCHW, in `dtype`."""
    net, x = research_net(model), x.to(dtype)
    ours = outcome(model, our_loss, x.contiguous(memory_format=torch.channels_last), y)
    theirs = outcome(net.to(x.device), research_loss, x.contiguous(), y)
    return distances(as_copies(ours, len(x) * x[0, 0].numel(), net.steps), theirs)


def rounding(model: Classifier, x: Tensor, y: Tensor) -> dict[str, float]:
    """`distances` of the yardstick in float32 to itself in float64: what one spike that rounding flips can do."""
    net = research_net(model).to(x.device)
    single, double = (outcome(net, research_loss, x.contiguous().to(d), y) for d in (torch.float32, torch.float64))
    return distances(single, double)


def research_step(model: Classifier, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A training step of the yardstick, from a copy of the model's weights."""
    net = research_net(model).to(x.device)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    x = x.contiguous()

    def step() -> None:
        optimiser.zero_grad()
        loss, _ = research_loss(net, x, y, 0.008, 0.01)
        loss.backward()
        optimiser.step()

    return step


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


def measure(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Check, then time; exits where the check fails."""
    trainees = {
        f"ours, {autocast}": Trainee("wide_resnet16", autocast, IMAGE, options.steps, options.batch, SEED, device)
        for autocast in ("float32", "bfloat16")
    }
    trainee = trainees["ours, float32"]
    x, y = trainee.x, trainee.y
    few = min(2, options.batch)  # float64 takes twice the memory
    with compilation("never"):
        found = {"float64": compare(trainee.model, x[:few], y[:few], torch.float64)}
    with compilation("always"):  # as it is timed
        found["float32"] = compare(trainee.model, x[:few], y[:few], torch.float32)
    found["float32 against float64, research style alone"] = rounding(trainee.model, x[:few], y[:few])
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{part} {value:.1e}" for part, value in values.items()), flush=True)
    if not max(found["float64"].values()) <= TOLERANCE:
        sys.exit(f"the two steps differ by more than {TOLERANCE:g} in float64; not timed")

    works = {"research style": research_step(trainee.model, x, y)}
    works |= {name: partial(ours.step, "SR") for name, ours in trainees.items()}
    times = paired(
        works,
        options.rounds,
        device,
        settle=1,
        progress=lambda done, total, name: print(f"{done}/{total} {name}", file=sys.stderr, flush=True),
    )
    return {
        "relative_differences": found,
        "ms": {name: times.ms(name) for name in works},
        "first_call_s": {name: round(taken, 2) for name, taken in times.first.items()},
        "research_style_over": {name: times.over("research style", name) for name in trainees},
        "preemptions_per_round": times.preemptions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, default=8, help="time steps T; default %(default)s")
    parser.add_argument("--batch", type=positive, default=16, help="default %(default)s")
    parser.add_argument("--rounds", type=positive, default=3, help="default %(default)s")
    parser.add_argument("--threads", type=positive, help="of torch; with 1 processor time counts, not wall time")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with prepared(options.threads):
        command = shlex.join(["python", "benchmarks/research_style.py", *sys.argv[1:]])
        document = {**context(device, command), **{k: getattr(options, k) for k in ("steps", "batch", "rounds")}}
        print(heading(document), flush=True)
        result = measure(options, device)
    print("SR step of WRN-16-4, ms: median (min - max); the ratio is formed round by round")
    for name, ms in result["ms"].items():
        ratio = result["research_style_over"].get(name)
        print(f"{name:16} {text(ms):32}" + (f" research style / this: {text(ratio)}" if ratio else ""))
    if options.json:
        write_json(options.json, {**document, **result})


if __name__ == "__main__":
    main()
