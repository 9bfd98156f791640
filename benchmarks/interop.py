"""The same weights in four frameworks: what does a suite leave standing, before and after `robustsnn.wrap`?

The network of `tutorials.py`, or that of a run of IF neurons, is written as users of SpikingJelly, snnTorch, Norse and
Sinabs would write it. The logits are the same; what differs is the surrogate, and which attacks reach the neurons. Each
row is judged as a user would hand it over without us (before), wrapped (after), as the native network of the same
weights, surrogate and way through the reset (native), and natively with another seed, which says what chance does. Also
printed is what recording costs: a forward and backward pass of the wrapped network against the framework's own (for
SpikingJelly its own backward pass), and the native network's.

    python benchmarks/interop.py --n 100 --suite reliable --eps 24/255 --out benchmarks/results/interop-slopes.json

Long attacks multiply rounding errors until images part; with --double everything is computed in float64, and what is
left of differences is none of rounding.

Each figure is written when it is there; those that the file has are not measured again.
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
from robustsnn.interop.wiring import Wiring
from robustsnn.losses import margin
from robustsnn.neurons import STBP, Arctan, gradient_rule
from robustsnn.runs import load_run
from tutorials import Native, in_double, trained, twins


class Plain(nn.Module):
    """A framework's network as a user would hand it over before: normalised, read out, and no more."""

    def __init__(self, net: nn.Module, wiring: Wiring, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net, self.wiring, self.mean_, self.std_ = net, wiring, mean, std

    def forward(self, x: Tensor) -> Tensor:
        shown = (x.to(self.mean_) - self.mean_) / self.std_
        return self.wiring.read(self.wiring.ask(self.net, shown)).to(x.dtype)


def judged(model: nn.Module, x: Tensor, y: Tensor, suite: str, eps: str, seed: int = 0) -> dict[str, Any]:
    """What an evaluation leaves standing, by the numbers of the images, and which attack broke each of the others."""
    began = time.process_time()
    found = robustsnn.evaluate(model, (x, y), suite=suite, eps=eps, seed=seed)
    record, broken = found.to_dict(), found.outcomes.broken
    return {
        "attacks": len(record["attacks"]),
        "standing": found.standing.nonzero()[0].tolist(),
        "broken by": [int(who.argmax()) if who.any() else -1 for who in broken.T],
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


def apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Images that stand in one alone, and how many fall to another attack."""
    by = zip(one["broken by"], other["broken by"], strict=True)
    standing = sorted({*one["standing"]} ^ {*other["standing"]})
    return {"standing": standing, "broken by another attack": sum(a != b for a, b in by) - len(standing)}


def table(result: dict[str, Any]) -> str:
    """What the rows say, in Markdown."""
    head = "neurons|how|before: attacks, left|after|native|stand in one alone|broken by another attack"
    head += "|native, another seed: stand in one alone|ms of a pass: before, after, native|s per attack: after, native"
    lines = [head, "|".join(["---"] * (head.count("|") + 1))]
    for name, row in result["networks"].items():
        cells = [name, "replaced" if "replaced" in " ".join(row["how"]) else "recorded"]
        cells += [f"{row[k]['attacks']}, {len(row[k]['standing'])}" if k in row else "" for k in KINDS[:3]]
        by, chance = (row.get("apart", {}).get(key) for key in ("after", "chance"))
        cells += ["", ""] if by is None else [str(len(by["standing"])), str(by["broken by another attack"])]
        cells += ["" if chance is None else str(len(chance["standing"]))]
        cells += [", ".join(f"{1000 * taken:.1f}" for taken in row["seconds of a pass"].values())]
        cells += [", ".join(f"{row[k]['seconds'] / row[k]['attacks']:.1f}" for k in KINDS[1:3] if k in row)]
        lines.append("|".join(cells))
    return "\n".join(f"| {line.replace('|', ' | ')} |" for line in lines)


KINDS = ("before", "after", "native", "native, seed 1")


def main() -> None:
    """Print the rows, write them as JSON."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="of IF neurons in a row; without it, trained here")
    parser.add_argument("--n", type=positive, default=100)
    parser.add_argument("--suite", default="reliable")
    parser.add_argument("--eps", default="24/255")
    parser.add_argument("--only", nargs="*", default=[""], help="networks with one of these in the name")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="what is judged of each")
    parser.add_argument("--double", action="store_true", help="compute in float64")
    parser.add_argument("--out", type=output, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_run(options.run)[1].eval() if options.run else trained()
    model.requires_grad_(False)
    x, y = digits().test.take(options.n).floats()
    if options.double:
        model = model.double()
    mean, std = model.pixel_mean, model.pixel_std
    asked = {"suite": options.suite, "eps": options.eps, "n": options.n, "double": options.double}
    result: dict[str, Any] = context(torch.device("cpu")) | asked | {"networks": {}}
    if options.out.exists():
        result = json.loads(options.out.read_text())
        if any(result[key] != value for key, value in asked.items()):
            parser.error(f"{options.out} is of another suite, eps, n or precision")
    for name, twin in twins(model).items():
        if not any(part in name for part in options.only):
            continue
        net = twin.build().eval().requires_grad_(False)
        if options.double:
            net = in_double(net)
        wrapped = wrap(net, x=x, mean=mean.flatten().tolist(), std=std.flatten().tolist(), **twin.said)
        native = Native(model, wrapped, twin.times)
        models = {"before": Plain(net, wrapped.wiring, mean, std), "after": wrapped, "native": native}
        row = result["networks"].setdefault(name, {"how": wrapped.how})
        if "seconds of a pass" not in row:
            row["unequal logits"] = int((wrapped(x) != native(x)).any(1).sum())
            row["seconds of a pass"] = {
                key: seconds(one, x, y, None if key == "before" else STBP(Arctan(2.0))) for key, one in models.items()
            }
        for kind in options.kinds:
            if kind not in row:
                kept, _, seed = kind.partition(", seed ")
                row[kind] = judged(models[kept], x, y, options.suite, options.eps, int(seed or 0))
                pairs = {"after": ("after", "native"), "chance": ("native", "native, seed 1")}
                row["apart"] = {key: apart(row[a], row[b]) for key, (a, b) in pairs.items() if a in row and b in row}
                print(name, kind, row[kind], flush=True)
                write_json(options.out, result)
    print(table(result))


if __name__ == "__main__":
    main()
