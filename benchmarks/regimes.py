"""Time of one optimiser step of the training regimes, against natural training and against the arithmetic.

vanilla: cross-entropy. SR: sparsity regularisation. AT: adversarial training, PGD of 5 steps, 2/255. SR*: SR over
AT. The regimes take turns in every round, and ratios are formed within a round. The floor counts passes: one
forward, one backward to the input and one backward to the weights are one unit each, and the unit itself is
measured as a forward in train mode without gradient.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from neuron import (
    THREADS_HELP,
    Parser,
    context,
    heading,
    output,
    positive,
    preemptions,
    quiet,
    seconds,
    shape,
    show,
    spread,
)
from robustsnn.attacks import pgd
from robustsnn.errors import UserError
from robustsnn.files import write_json
from robustsnn.models import vgg, wide_resnet16
from robustsnn.modes import precision
from robustsnn.neurons import IF
from robustsnn.objectives import Adversarial, Natural, Objective, SparsityRegularised
from robustsnn.seeds import generator

AT = Adversarial(pgd("2/255", 5, alpha=0.01, keep="last"))
REGIMES: dict[str, Objective] = {
    "vanilla": Natural(),
    "SR": SparsityRegularised(0.008),
    "AT": AT,
    "SR*": SparsityRegularised(0.002, AT),
}
UNITS = {"vanilla": 3, "SR": 7, "AT": 13, "SR*": 17}
# Table 4 of "Training adversarially robust SNNs with gradient sparsity regularization": seconds per epoch of
# VGG-11 on CIFAR-10.
PUBLISHED = {"vanilla": 65, "SR": 193, "AT": 459, "SR*": 583}
MODELS = ("vgg11", "wide_resnet16", "vgg_small")
WARM_UP = 1  # it compiles the neurons of every shape


class Bench:
    """One network on one batch of noise, and a step of any regime on it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.precision: str = options.precision
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)
        arguments: dict[str, Any] = {"image": options.image, "classes": 10, "neuron": IF(), "steps": options.steps}
        model = wide_resnet16(**arguments) if options.model == "wide_resnet16" else vgg(options.model, **arguments)
        self.model: nn.Module = model.to(self.device, memory_format=torch.channels_last).train()
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
        x = torch.rand((options.batch, *options.image), generator=generator(0))
        self.x = x.to(self.device, memory_format=torch.channels_last)
        self.y = (torch.arange(options.batch) % 10).to(self.device)

    def step(self, regime: str) -> None:
        """What `fit` does with a batch."""
        with precision(self.precision, self.device):
            terms, _ = REGIMES[regime](self.model, self.x, self.y, generator=generator(0, 1))
        loss = torch.stack([term.mean() for term in terms.values()]).sum()
        if not torch.isfinite(loss):
            sys.exit(f"{regime}: the loss is not finite; not timed")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def forward(self) -> None:
        with torch.no_grad(), precision(self.precision, self.device):
            self.model(self.x)

    def works(self) -> dict[str, Callable[[], None]]:
        return {"forward": self.forward, **{name: lambda name=name: self.step(name) for name in REGIMES}}


def measure(bench: Bench, rounds: int) -> dict[str, Any]:
    """Times of every regime, interleaved, and their ratios."""
    works = bench.works()
    for _ in range(WARM_UP):
        for work in works.values():
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    taken = preemptions()
    for i in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work, bench.device))
        print(f"round {i + 1}/{rounds}", file=sys.stderr, flush=True)
    taken = preemptions() - taken

    def over(name: str, other: str, unit: float = 1.0) -> dict[str, float]:
        return spread([a / b for a, b in zip(times[name], times[other], strict=True)], unit)

    regimes = {
        name: {
            "ms": spread(times[name], 1e3),
            "over_vanilla": over(name, "vanilla"),
            "units": units,
            "units_over_vanilla": round(units / UNITS["vanilla"], 2),
            "over_floor": over(name, "forward", 1 / units),
        }
        for name, units in UNITS.items()
    }
    return {
        "forward_ms": spread(times["forward"], 1e3),
        "preemptions_per_round": round(taken / rounds, 2),
        "regimes": regimes,
    }


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024, 1)


def memory(bench: Bench, regime: str) -> dict[str, float]:
    """Peak MiB of two steps of a regime: allocated on a GPU, else resident in this (fresh) process."""
    if bench.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            bench.step(regime)
        return {"before": before / 2**20, "peak": torch.cuda.max_memory_allocated() / 2**20}
    before = resident("VmRSS")
    for _ in range(2):
        bench.step(regime)
    return {"before": before, "peak": resident("VmHWM")}


def memories(arguments: list[str]) -> dict[str, dict[str, float]]:
    """`memory` of every regime, each in a process of its own; empty where the system does not tell."""
    if not Path("/proc/self/status").exists():
        return {}
    found = {}
    for regime in REGIMES:
        command = [sys.executable, __file__, *arguments, "--memory-of", regime]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"memory of {regime}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
        before, peak = map(float, done.stdout.split())
        found[regime] = {"before": before, "peak": peak}
        print(f"memory of {regime}: {peak:.0f} MiB", file=sys.stderr, flush=True)
    return found


def table(result: dict[str, Any]) -> Table:
    made = Table(caption="ms and ratios: median (min - max); floor: units times the forward of the same round")
    columns = ("regime", "ms", "/ vanilla", "published", "units / 3", "units", "/ floor", "peak MiB (before)")
    for column in columns:
        made.add_column(column, justify="left" if column == "regime" else "right", no_wrap=True)
    made.add_row("one forward", show(result["forward_ms"]), "", "", "", "1", "", "")
    for name, row in result["regimes"].items():
        published = f"{row['published_over_vanilla']:.2f}" if "published_over_vanilla" in row else "-"
        used = row.get("memory_mib")
        peak = f"{used['peak']:.0f} ({used['before']:.0f})" if used else "-"
        floor = f"{row['units_over_vanilla']:.2f}"
        ratio = "1" if name == "vanilla" else show(row["over_vanilla"])
        made.add_row(name, show(row["ms"]), ratio, published, floor, str(row["units"]), show(row["over_floor"]), peak)
    return made


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="vgg11", help="default %(default)s")
    parser.add_argument("--steps", type=positive, default=8, help="time steps T; default %(default)s")
    parser.add_argument("--batch", type=positive, default=16, help="default %(default)s")
    parser.add_argument("--image", type=shape, default="3,32,32", help="C, H, W; default %(default)s")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default %(default)s")
    parser.add_argument("--rounds", type=positive, default=5, help="default %(default)s")
    parser.add_argument("--threads", type=positive, help=THREADS_HELP)
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    parser.add_argument("--memory-of", choices=REGIMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if len(options.image) != 3:
        parser.error(f"argument --image: {len(options.image)} numbers given, allowed are three: C,H,W")
    if options.threads:
        torch.set_num_threads(options.threads)
    quiet()
    try:
        bench = Bench(options)
    except UserError as error:
        parser.error(str(error))
    if options.memory_of:
        print(*memory(bench, options.memory_of).values())
        return
    names = ("model", "steps", "batch", "image", "precision", "rounds")
    document = {**context(bench.device), **{name: getattr(options, name) for name in names}}
    print(heading(document), flush=True)
    result = measure(bench, options.rounds)
    del bench
    for name, used in memories(sys.argv[1:]).items():
        result["regimes"][name]["memory_mib"] = used
    if options.model == "vgg11":
        for name, row in result["regimes"].items():
            row["published_s_per_epoch"] = PUBLISHED[name]
            row["published_over_vanilla"] = round(PUBLISHED[name] / PUBLISHED["vanilla"], 2)
    Console(width=None if sys.stdout.isatty() else 160).print(table(result))
    if options.json:
        write_json(options.json, {**document, **result})


if __name__ == "__main__":
    main()
