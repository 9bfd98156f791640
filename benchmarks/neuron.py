"""Time of one layer of spiking neurons, forward and backward to the input, against SpikingJelly.

Each figure is a median over paired rounds in one process: ours, theirs, ours, theirs ..., every timed call after
untimed ones of its own. Compilation happens before and is reported apart. Nothing is timed unless both libraries
give the same spikes and gradients first.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from robustsnn.files import write_json
from robustsnn.neurons import IF, LIF, STBP, Arctan, compilation, fire
from robustsnn.neurons.fused import Mode
from robustsnn.provenance import provenance

Layer = Callable[[Tensor], Tensor]
Pass = Callable[[], tuple[Tensor, Tensor]]

RULE = STBP(Arctan(2.0))
NEURONS = {
    "IF": IF(),
    "LIF": LIF(tau=0.5),
    "LIF, decayed input": LIF(tau=0.5, decay_input=True),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WARM_UP = 5
THREADS_HELP = "of torch; 1 also counts processor time, which other programs disturb little, not wall time"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{Path(self.prog).name}: {message}\n")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


def shape(text: str) -> tuple[int, ...]:
    """ "8,16" as (8, 16)."""
    return tuple(positive(part.strip()) for part in text.split(","))


def output(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file name in an existing folder")
    return path


def spread(values: list[float], unit: float = 1.0) -> dict[str, float]:
    """Minimum, median and maximum, to four significant digits."""
    three = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: float(f"{value * unit:.4g}") for name, value in three.items()}


def show(values: dict[str, float]) -> str:
    return f"{values['median']:.3g} ({values['min']:.3g} - {values['max']:.3g})"


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, threads, device, and how busy the machine was before."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        flags = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        flags = {name.strip(): value.strip() for name, value in flags.items()}
        cpu = flags.get("model name", cpu)
        if "model" in flags:
            cpu += f" (family {flags.get('cpu family')}, model {flags['model']})"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "clock": clock(device),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "load_before": round(os.getloadavg()[0], 2),
    }


def context(device: torch.device) -> dict[str, Any]:
    """Command, machine and versions of a result."""
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    system = f"{platform.system()} {platform.machine()}"
    return {**provenance(), "platform": system, "command": command, "machine": machine(device)}


def heading(document: dict[str, Any]) -> str:
    host = document["machine"]
    return (
        f"{document['command']}\n{host['cpu']}, {host['cores']} cores, threads {host['threads']}, {host['device']}, "
        f"{host['clock']} time, load before {host['load_before']}, torch {document['torch']}"
    )


def quiet() -> None:
    """Drop the compiler's remarks on disabled caches and absent optional parts."""
    warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


def preemptions() -> int:
    """How often the scheduler has taken a core from this process."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def clock(device: torch.device) -> str:
    """ "processor" for one thread on the CPU: the time that other programs take is left out; else "wall"."""
    return "processor" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time of one call by `clock`."""
    now = time.process_time if clock(device) == "processor" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = now()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return now() - started


def first_call(work: Callable[[], object]) -> float:
    """Wall time of a call that compiles (in other processes too)."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def passes(layer: Layer, current: Tensor, upstream: Tensor, mode: Mode = "auto") -> Pass:
    """Forward and backward of a layer as one call: spikes and the gradient to the input."""

    def run() -> tuple[Tensor, Tensor]:
        with compilation(mode):
            leaf = current.detach().requires_grad_()
            spikes = layer(leaf)
            (gradient,) = torch.autograd.grad(spikes, leaf, upstream)
            return spikes.detach(), gradient

    return run


def their_layers(neuron: LIF, dtype: torch.dtype) -> dict[str, Layer]:
    """SpikingJelly's layers of the same dynamics: as documented, and the fastest ways without cupy or triton."""
    from spikingjelly.activation_based import functional, surrogate
    from spikingjelly.activation_based import neuron as nodes

    calls: Any = functional
    leak: dict[str, Any] = {} if neuron.tau == 1 else {"tau": 2.0, "decay_input": neuron.decay_input}
    common = {
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "detach_reset": False,
        "surrogate_function": surrogate.ATan(alpha=2.0),
    }
    node = (nodes.LIFNode if leak else nodes.IFNode)(step_mode="m", **leak, **common)
    if hasattr(node, "backend"):
        node.backend = "torch"

    def module(current: Tensor, run: Layer = node) -> Tensor:
        node.reset()
        return run(current)

    def function(current: Tensor) -> Tensor:
        empty = torch.zeros_like(current[0], dtype=torch.float32)
        return (calls.lif_multi_step if leak else calls.if_multi_step)(current, empty, **leak, **common)[0]

    ways: dict[str, Layer] = {"module": module}
    if dtype != torch.float32 and hasattr(calls, "if_multi_step"):
        # Version 2: a float32 membrane, as ours, gets their hand-written backward; a bfloat16 one does not.
        return ways | {"function": function, "function, torch.compile": torch.compile(function)}
    return ways | {"module, torch.compile": partial(module, run=torch.compile(node))}


def currents(size: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Input currents and upstream gradients, seeded.

    Currents are multiples of 1/64 below 4: exact in bfloat16, and so are all potentials in float32. Both
    libraries must therefore give equal spikes in spite of a different order of operations.
    """
    draws = torch.Generator().manual_seed(0)
    current = torch.randn(size, generator=draws).mul(64).round().div(64).clamp(-3.5, 3.5)
    upstream = torch.randn(size, generator=draws)
    return current.to(device), upstream.to(device)


def check(neuron: LIF, dtype: torch.dtype, current: Tensor, upstream: Tensor, mine: tuple[Tensor, Tensor]) -> None:
    """Exit unless ours, computed in `dtype`, agrees with theirs in float32 on the same values."""
    module = their_layers(neuron, torch.float32)["module"]
    spikes, gradient = passes(module, current.float(), upstream.float())()
    if not torch.equal(mine[0].float(), spikes):
        sys.exit(f"{neuron}, {dtype}: spikes differ from SpikingJelly's; not timed")
    rtol, atol = (1e-4, 1e-5) if dtype == torch.float32 else (1e-2, 1e-3)
    if not torch.allclose(mine[1].float(), gradient, rtol=rtol, atol=atol):
        sys.exit(f"{neuron}, {dtype}: gradients differ from SpikingJelly's; not timed")


def measure(neuron: LIF, dtype: torch.dtype, current: Tensor, upstream: Tensor, rounds: int) -> dict[str, Any]:
    """All figures of one neuron in one precision."""
    device = current.device
    torch._dynamo.reset()
    current, upstream = current.to(dtype), upstream.to(dtype)

    def layer(current: Tensor) -> Tensor:
        return fire(current, len(current), neuron, RULE)

    mine = passes(layer, current, upstream, "always")
    eager = passes(layer, current, upstream, "never")
    theirs = {way: passes(their, current, upstream) for way, their in their_layers(neuron, dtype).items()}
    # As many bytes as the fused kernels have to move: I and s forward; I, upstream and gradient backward.
    source = torch.ones(current.numel() * 5 // 2, dtype=dtype, device=device)
    target = torch.empty_like(source)
    copy = lambda: target.copy_(source)  # noqa: E731

    first = first_call(mine)
    found = mine()
    check(neuron, dtype, current, upstream, found)
    their_first = {way: first_call(run) for way, run in theirs.items()}
    agree = {way: (run()[0] == found[0]).double().mean().item() for way, run in theirs.items()}
    if dtype == torch.float32 and min(agree.values()) < 1:
        sys.exit(f"{neuron}, {dtype}: spikes differ from SpikingJelly's ({agree}); not timed")
    for run in (mine, eager, copy, *theirs.values()):
        for _ in range(WARM_UP):
            run()

    def timed(run: Callable[[], object]) -> float:
        for _ in range(2):  # each follows itself, so that none pays for memory that another has given back
            run()
        return seconds(run, device)

    times: dict[str, list[float]] = {"ours": [], "eager": [], "copy": []}
    pairs: dict[str, list[tuple[float, float]]] = {way: [] for way in theirs}
    taken = preemptions()
    for _ in range(rounds):
        for way, run in theirs.items():
            pairs[way].append((timed(mine), timed(run)))
        times["ours"].append(timed(mine))
        times["eager"].append(timed(eager))
        times["copy"].append(timed(copy))
    taken = preemptions() - taken
    all_ours = times["ours"] + [pair[0] for way in theirs for pair in pairs[way]]
    return {
        "ours_ms": spread(all_ours, 1e3),
        "ours_first_call_s": round(first, 2),
        "eager_ms": spread(times["eager"], 1e3),
        "eager_over_ours": spread([b / a for a, b in zip(times["ours"], times["eager"], strict=True)]),
        "copy_ms": spread(times["copy"], 1e3),
        "ours_over_copy": spread([a / b for a, b in zip(times["ours"], times["copy"], strict=True)]),
        "preemptions_per_round": round(taken / rounds, 2),
        "spikingjelly": {
            way: {
                "ms": spread([pair[1] for pair in pairs[way]], 1e3),
                "first_call_s": round(their_first[way], 2),
                "ratio": spread([b / a for a, b in pairs[way]]),
                "best_over_best": float(f"{min(b for _, b in pairs[way]) / min(all_ours):.4g}"),
                "spikes_equal": agree[way],
            }
            for way in theirs
        },
    }


def table(results: dict[str, dict[str, dict[str, Any]]]) -> Table:
    made = Table(caption="ratio = time of the row / time of ours, pair by pair; ms and ratios: median (min - max)")
    for column in ("neuron", "what", "ms", "ratio", "best / best", "first call s"):
        made.add_column(column, justify="left" if column in ("neuron", "what") else "right")
    for name, by_dtype in results.items():
        for dtype, found in by_dtype.items():
            ours_best = found["ours_ms"]["min"]
            over_copy = f"{1 / found['ours_over_copy']['median']:.2g}"
            rows = [("ours, compiled", found["ours_ms"], "1", 1.0, found["ours_first_call_s"])]
            for way, row in found["spikingjelly"].items():
                rows.append(
                    (f"SpikingJelly, {way}", row["ms"], show(row["ratio"]), row["best_over_best"], row["first_call_s"])
                )
            eager = found["eager_ms"]
            rows.append(("ours, eager", eager, show(found["eager_over_ours"]), eager["min"] / ours_best, None))
            copied = found["copy_ms"]
            rows.append(("copy of the same bytes", copied, over_copy, copied["min"] / ours_best, None))
            for i, (what, ms, ratio, best, compiled) in enumerate(rows):
                label = f"{name}, {dtype}" if i == 0 else ""
                last = "" if compiled is None else f"{compiled:.1f}"
                made.add_row(label, what, show(ms), ratio, f"{best:.3g}", last, end_section=i == len(rows) - 1)
    return made


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", type=shape, default="8,16,128,16,16", help="T, batch, neurons ...; default %(default)s"
    )
    parser.add_argument("--rounds", type=positive, default=21, help="default %(default)s")
    parser.add_argument("--threads", type=positive, help=THREADS_HELP)
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    try:
        their_version = version("spikingjelly")
        import_module("spikingjelly.activation_based.neuron")
    except (PackageNotFoundError, ImportError) as error:
        parser.error(f"SpikingJelly cannot be used ({error}); pip install -r benchmarks/requirements.txt")
    if options.threads:
        torch.set_num_threads(options.threads)
    quiet()
    torch.compiler.config.force_disable_caches = True  # compilation is reported as it costs the first time
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    document = {**context(device), "spikingjelly": their_version, "shape": options.shape, "rounds": options.rounds}
    console = Console(width=None if sys.stdout.isatty() else 140)
    print(f"{heading(document)}, SpikingJelly {their_version}", flush=True)

    current, upstream = currents(options.shape, device)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name, neuron in NEURONS.items():
        results[name] = {}
        for label, dtype in DTYPES.items():
            results[name][label] = measure(neuron, dtype, current, upstream, options.rounds)
            print(f"{name}, {label}: done", file=sys.stderr, flush=True)
    console.print(table(results))
    if options.json:
        write_json(options.json, {**document, "results": results})


if __name__ == "__main__":
    main()
