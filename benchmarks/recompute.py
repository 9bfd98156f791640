"""What recomputation costs and saves: time and peak memory of a training step, with and without `train.recompute`.

    python benchmarks/recompute.py --json benchmarks/results/recompute.json
    python benchmarks/recompute.py --networks vgg11 --steps 8 --regimes SR --batch 2 --rounds 2      a first look

Each case takes a fresh process. Times of both are taken in turns, and their ratio is the median over rounds: processor
time on a CPU with one thread, time until the device is done on a GPU. Memory is what a step takes at its peak beyond
network and batch, gradients and momenta of the weights included: allocated on a GPU, resident in a process of its
own on a CPU. "Floor" is the ratio of passes: a backward pass through a graph costs one forward more.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from robustsnn.bench.trainee import UNITS, Trainee
from robustsnn.ground.files import write_json
from robustsnn.ground.progress import Display, Progress, silent
from robustsnn.ground.provenance import provenance
from robustsnn.models.recompute import recomputed
from robustsnn.runs.jobs import Job, run_jobs, values

AGAIN = {"vanilla": 1, "SR": 3, "AT": 1, "SR*": 3}
"""Forwards that are made again per step: the attacks of AT and SR* keep what they need."""
SHAPE = (3, 32, 32)


def trainee(case: dict[str, Any]) -> Trainee:
    """The network, its optimiser and a batch of noise."""
    torch.set_num_threads(1)
    place = torch.device(case["device"])
    return Trainee(case["network"], case["precision"], SHAPE, case["steps"], case["batch"], 0, place)


def step(one: Trainee, regime: str, again: bool) -> None:
    """A training step."""
    if again:
        with recomputed(one.model):
            one.step(regime)
    else:
        one.step(regime)
    if one.device.type == "cuda":
        torch.cuda.synchronize()


def times(case: dict[str, Any], rounds: int, *, progress: Progress = silent) -> dict[str, Any]:
    """Seconds of a step each way, by round, and the median ratio."""
    one = trainee(case)
    clock = time.perf_counter if one.device.type == "cuda" else time.process_time
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds + 1):  # the first compiles
        for again in (False, True):
            started = clock()
            step(one, case["regime"], again)
            if number:
                taken[again].append(clock() - started)
        progress(number + 1, rounds + 1, "time")
    ratios = [b / a for a, b in zip(taken[False], taken[True], strict=True)]
    return {"seconds": taken[False], "seconds_again": taken[True], "ratio": statistics.median(ratios)}


def memory(case: dict[str, Any], again: bool, *, progress: Progress = silent) -> float:
    """MiB at the peak of two steps beyond what was there before them."""
    one = trainee(case)
    on_gpu = one.device.type == "cuda"
    gc.collect()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = resident("VmRSS")
    for _ in range(2):
        step(one, case["regime"], again)
    after = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resident("VmHWM")
    return round(after - before, 1)


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["vgg11", "wide_resnet16"])
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 32], help="T (%(default)s)")
    parser.add_argument("--regimes", nargs="+", default=["SR"], choices=list(UNITS))
    parser.add_argument("--batch", type=int, default=4, help="images (%(default)s)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="steps each way that are timed (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    shared = {"batch": options.batch, "precision": options.precision, "device": options.device}
    cases = [
        {"network": network, "steps": steps, "regime": regime, **shared}
        for network in options.networks
        for steps in options.steps
        for regime in options.regimes
    ]
    work = []
    for i, case in enumerate(cases):
        work += [Job(f"{i} time", times, (case, options.rounds))]
        work += [Job(f"{i} {again}", memory, (case, again)) for again in (False, True)]
    with Display() as display:
        found = values(run_jobs(work, workers=1, progress=display))  # one at a time: memory and time are measured
    rows = [
        {**case, **found[f"{i} time"], "mib": found[f"{i} False"], "mib_again": found[f"{i} True"]}
        for i, case in enumerate(cases)
    ]
    print(f"batch {options.batch}, {options.precision}, {options.device}")
    print(f"{'network':16}{'T':>4}{'regime':>9}{'MiB':>9}{'again':>9}{'less':>7}{'time':>7}{'floor':>7}")
    for row in rows:
        floor = 1 + AGAIN[row["regime"]] / UNITS[row["regime"]]
        print(f"{row['network']:16}{row['steps']:4}{row['regime']:>9}{row['mib']:9.0f}{row['mib_again']:9.0f}", end="")
        print(f"{row['mib'] / row['mib_again']:7.2f}{row['ratio']:7.2f}{floor:7.2f}")
    if options.json:
        write_json(options.json, {"provenance": provenance(), "rows": rows})
        print(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
