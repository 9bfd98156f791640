"""The same weights in four frameworks: what does `reliable` leave standing, before and after `robustsnn.wrap`?

The digits network that `robustsnn demo` trains adversarially is written as its users would write it: SpikingJelly,
multi-step and with a loop over single steps, and snnTorch with its loop. The logits are the same; what differs is the
surrogate, and which attacks reach the neurons. Also printed is what recording costs: a forward and backward pass of the
wrapped network against that of the framework alone, and of the native network.

    python benchmarks/interop.py runs/demo/at --n 40 --suite quick --out benchmarks/results/interop.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import robustsnn
from arguments import Parser, context, output, positive
from robustsnn.interop import wrap
from robustsnn.losses import margin
from robustsnn.neurons import STBP, Arctan, Neurons, gradient_rule
from robustsnn.runs import load_run


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The native body without time: convolutions, norms, pools, linear layers, and its neurons."""
    found = []
    for module in model.body.modules():  # type: ignore[union-attr]
        if not list(module.children()):
            found.append(nn.Flatten() if isinstance(module, nn.Flatten) else module)
    return found


class SpikingJelly(nn.Module):
    """Single-step nodes in a loop of its own."""

    def __init__(self, model: nn.Module, surrogate: Callable[[], nn.Module]) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.steps = 0
        layers: list[nn.Module] = []
        for layer in layers_of(model):
            if isinstance(layer, Neurons):
                self.steps = layer.steps
                layer = neuron.IFNode(v_threshold=layer.neuron.theta, surrogate_function=surrogate())
            layers.append(layer)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return torch.stack([self.layers(x) for _ in range(self.steps)]).mean(0)


class MultiStep(SpikingJelly):
    """Multi-step nodes: sequences from layer to layer."""

    def __init__(self, model: nn.Module, surrogate: Callable[[], nn.Module]) -> None:
        super().__init__(model, surrogate)
        from spikingjelly.activation_based import base, functional, layer

        functional.set_step_mode(self, "m")
        for at, module in enumerate(self.layers):
            if not isinstance(module, base.MemoryModule):
                self.layers[at] = layer.SeqToANNContainer(module)

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return self.layers(x.expand(self.steps, *x.shape)).mean(0)


class SnnTorch(nn.Module):
    """Leaky neurons in a loop, membranes handed on; beta 1 and a reset to zero make IF neurons of them."""

    def __init__(self, model: nn.Module, surrogate: Callable[[], Any]) -> None:
        super().__init__()
        import snntorch

        self.steps = 0
        self.layers = nn.ModuleList()
        for layer in layers_of(model):
            if isinstance(layer, Neurons):
                self.steps = layer.steps
                layer = snntorch.Leaky(
                    beta=1.0, threshold=layer.neuron.theta, spike_grad=surrogate(), reset_mechanism="zero"
                )
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        import snntorch

        membranes = {layer: layer.reset_mem() for layer in self.layers if isinstance(layer, snntorch.Leaky)}
        out = []
        for _ in range(self.steps):
            h = x
            for layer in self.layers:
                if layer in membranes:
                    h, membranes[layer] = layer(h, membranes[layer])
                else:
                    h = layer(h)
            out.append(h)
        return torch.stack(out).mean(0)


def twins(model: nn.Module) -> dict[str, nn.Module]:
    """The network of a run in other frameworks, by name; normalised by `wrap`."""
    import snntorch.surrogate as snn
    from spikingjelly.activation_based import surrogate as sj

    made = {
        "SpikingJelly, arctan 2": MultiStep(model, lambda: sj.ATan(2.0)),
        "SpikingJelly, sigmoid 4": MultiStep(model, lambda: sj.Sigmoid(4.0)),
        "SpikingJelly single-step, arctan 2": SpikingJelly(model, lambda: sj.ATan(2.0)),
        "SpikingJelly single-step, sigmoid 200": SpikingJelly(model, lambda: sj.Sigmoid(200.0)),
        "snnTorch, fast sigmoid 25": SnnTorch(model, lambda: snn.fast_sigmoid(25)),
        "snnTorch, fast sigmoid 200": SnnTorch(model, lambda: snn.fast_sigmoid(200)),
    }
    return {name: net.eval() for name, net in made.items()}


class Plain(nn.Module):
    """A framework's network as a user would hand it over before: normalised, and no more."""

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net, self.mean_, self.std_ = net, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean_) / self.std_)


def judged(model: nn.Module, x: Tensor, y: Tensor, suite: str, eps: str) -> tuple[dict[str, Any], list[bool]]:
    """What an evaluation leaves standing."""
    began = time.process_time()
    found = robustsnn.evaluate(model, (x, y), suite=suite, eps=eps)
    record = found.to_dict()
    flags = [flag["name"] for flag in record["flags"]]
    row = {"attacks": len(record["attacks"]), "standing": record["worst_case"]["accuracy"], "flags": flags}
    return row | {"seconds": round(time.process_time() - began, 1)}, found.standing.tolist()


def seconds(model: nn.Module, x: Tensor, y: Tensor, rule: Any, repeats: int = 9) -> float:
    """Of processor time for a forward and backward pass to the input, the least: other programs disturb it little."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        with gradient_rule(model, rule):
            leaf = x.clone().requires_grad_()
            torch.autograd.grad(margin(model(leaf), y).sum(), leaf)
        taken.append(time.process_time() - began)
    return round(min(taken), 4)


def main() -> None:
    """Print the tables, write them as JSON."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--n", type=positive, default=40)
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--eps", default="24/255")
    parser.add_argument("--only", nargs="*", default=[""], help="networks with one of these in the name")
    parser.add_argument("--before", action="store_true", help="judge the networks without wrap too")
    parser.add_argument("--out", type=output)
    options = parser.parse_args()
    torch.set_num_threads(1)
    _, model, data = load_run(options.run)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x, y = data.test.take(options.n).floats()
    mean, std = model.mean, model.std
    result: dict[str, Any] = context(torch.device("cpu")) | {
        "suite": options.suite,
        "eps": options.eps,
        "n": options.n,
        "networks": {},
    }
    native, stands = judged(model, x, y, options.suite, options.eps)
    result["native"] = native | {"seconds of a pass": seconds(model, x, y, STBP(Arctan(2.0)))}
    print("native", result["native"], flush=True)
    for name, net in twins(model).items():
        if not any(part in name for part in options.only):
            continue
        wrapped = wrap(net, x=x, mean=mean.flatten().tolist(), std=std.flatten().tolist())
        row: dict[str, Any] = {"how": wrapped.how, "unequal logits": int((wrapped(x) != model(x)).any(1).sum())}
        plain = Plain(net, mean, std)
        if options.before:
            row["before"], _ = judged(plain, x, y, options.suite, options.eps)
        row["after"], left = judged(wrapped, x, y, options.suite, options.eps)
        row["standing otherwise"] = sum(a != b for a, b in zip(left, stands, strict=True))
        row["seconds of a pass"] = {
            "framework": seconds(plain, x, y, None),
            "wrapped": seconds(wrapped, x, y, STBP(Arctan(2.0))),
        }
        result["networks"][name] = row
        print(name, json.dumps(row), flush=True)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
