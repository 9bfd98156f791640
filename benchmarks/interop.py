"""The same weights in four frameworks: what does a suite leave standing, before and after `robustsnn.wrap`?

The network of `tutorials.py`, or that of a run of IF neurons, is written as users of SpikingJelly, snnTorch, Norse and
Sinabs would write it. The logits are the same; what differs is the surrogate, and which attacks reach the neurons. Also
printed is what recording costs: a forward and backward pass of the wrapped network against the framework's own, and the
native network's.

    python benchmarks/interop.py --n 100 --suite reliable --eps 32/255 --out benchmarks/results/interop.json

Each row is written when it ends; rows that the file has are not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import robustsnn
from arguments import Parser, context, output, positive
from robustsnn.data.digits import digits
from robustsnn.ground.files import write_json
from robustsnn.interop import wrap
from robustsnn.losses import margin
from robustsnn.neurons import STBP, Arctan, gradient_rule
from robustsnn.runs import load_run
from tutorials import trained, twins


class Plain(nn.Module):
    """A framework's network as a user would hand it over before: normalised, and no more."""

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net, self.mean_, self.std_ = net, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean_) / self.std_)


def judged(model: nn.Module, x: Tensor, y: Tensor, suite: str, eps: str) -> dict[str, Any]:
    """What an evaluation leaves standing: the numbers of the images."""
    began = time.process_time()
    found = robustsnn.evaluate(model, (x, y), suite=suite, eps=eps)
    record = found.to_dict()
    return {
        "attacks": len(record["attacks"]),
        "standing": found.standing.nonzero()[0].tolist(),
        "flags": [flag["name"] for flag in record["flags"]],
        "seconds": round(time.process_time() - began, 1),
    }


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
    """Print the rows, write them as JSON."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="of IF neurons in a row; without it, trained here")
    parser.add_argument("--n", type=positive, default=100)
    parser.add_argument("--suite", default="reliable")
    parser.add_argument("--eps", default="32/255")
    parser.add_argument("--only", nargs="*", default=[""], help="networks with one of these in the name")
    parser.add_argument("--skip-before", action="store_true", help="judge the networks with wrap alone")
    parser.add_argument("--out", type=output, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_run(options.run)[1].eval() if options.run else trained()
    model.requires_grad_(False)
    x, y = digits().test.take(options.n).floats()
    mean, std = model.pixel_mean, model.pixel_std
    asked = {"suite": options.suite, "eps": options.eps, "n": options.n}
    result: dict[str, Any] = context(torch.device("cpu")) | asked | {"native": {}, "networks": {}}
    if options.out.exists():
        result = json.loads(options.out.read_text())
        if any(result[key] != value for key, value in asked.items()):
            parser.error(f"{options.out} is of another suite, eps or n")

    def written() -> None:
        write_json(options.out, result)

    if not result["native"]:
        of_pass = {"seconds of a pass": seconds(model, x, y, STBP(Arctan(2.0)))}
        result["native"] = judged(model, x, y, options.suite, options.eps) | of_pass
        written()
    print("native", result["native"], flush=True)
    for name, build in twins(model).items():
        if name in result["networks"] or not any(part in name for part in options.only):
            continue
        net = build().eval().requires_grad_(False)
        wrapped = wrap(net, x=x, mean=mean.flatten().tolist(), std=std.flatten().tolist())
        plain = Plain(net, mean, std)
        row: dict[str, Any] = {"how": wrapped.how, "unequal logits": int((wrapped(x) != model(x)).any(1).sum())}
        row["seconds of a pass"] = {
            "framework": seconds(plain, x, y, None),
            "wrapped": seconds(wrapped, x, y, STBP(Arctan(2.0))),
        }
        row["after"] = judged(wrapped, x, y, options.suite, options.eps)
        row["standing otherwise"] = sorted({*row["after"]["standing"]} ^ {*result["native"]["standing"]})
        if not options.skip_before:
            row["before"] = judged(plain, x, y, options.suite, options.eps)
        result["networks"][name] = row
        print(name, json.dumps(row), flush=True)
        written()


if __name__ == "__main__":
    main()
