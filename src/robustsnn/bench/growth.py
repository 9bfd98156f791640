"""How time and memory of a training step grow with T and with the batch; linear growth has the exponent 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from robustsnn.bench.memory import Case, increase, memories
from robustsnn.bench.options import Options
from robustsnn.bench.timing import Timings, paired, rounded, spread
from robustsnn.bench.trainee import Trainee
from robustsnn.ground.progress import Progress, part, silent

REGIMES = ("vanilla", "SR")


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """a of the least-squares line log value = a log size + b; 1 is linear growth, 2 quadratic.

    A cost that does not depend on the size makes it smaller, never larger. ValueError if all sizes are equal
    or a value is not positive.
    """
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    if max(sizes) == min(sizes):
        raise ValueError("all sizes are equal")
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def measure(options: Options, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Both directions, each at the smallest size of the other, in the first precision."""
    steps, batches = options.numbers("growth_steps"), options.numbers("growth_batches")
    lines = {"T": [(t, batches[0]) for t in steps], "B": [(steps[0], b) for b in batches]}
    autocast, weight = options.several("precisions")[0], 4.0 if options.memory else 2.0
    found: dict[str, Any] = {}
    for i, (axis, sizes) in enumerate(lines.items()):
        tell = part(progress, i, 1, weight)
        times = _times(options, autocast, sizes, device, tell)
        for regime in REGIMES:
            found[_title(options, autocast, regime, axis)] = _line(times, regime, axis, sizes)
    if options.memory:
        points = dict.fromkeys(size for sizes in lines.values() for size in sizes)
        cases: list[Case] = [
            (options.growth_network, autocast, *point, regime) for regime in REGIMES for point in points
        ]
        used = memories(options, cases, device, part(progress, 2, 2, weight))
        for axis, sizes in lines.items():
            for regime in REGIMES if used else ():
                took = {size: increase(used[(options.growth_network, autocast, *size, regime)]) for size in sizes}
                found[_title(options, autocast, regime, axis)] |= _memory(took, axis)
    return found


def _title(options: Options, autocast: str, regime: str, axis: str) -> str:
    fixed = f"B={options.numbers('growth_batches')[0]}" if axis == "T" else f"T={options.numbers('growth_steps')[0]}"
    return f"{regime} over {axis}, {options.growth_network} {autocast} {fixed} {options.image}"


def _times(
    options: Options, autocast: str, sizes: list[tuple[int, int]], device: torch.device, progress: Progress
) -> Timings:
    works = {}
    for steps, batch in sizes:
        trainee = Trainee(options.growth_network, autocast, options.shape, steps, batch, options.seed, device)
        for regime in REGIMES:
            works[f"{regime} T={steps} B={batch}"] = partial(trainee.step, regime)
    return paired(works, options.rounds, device, settle=1, progress=progress)


def _line(times: Timings, regime: str, axis: str, sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Time at each size, and the exponent of each round."""
    names = {steps if axis == "T" else batch: f"{regime} T={steps} B={batch}" for steps, batch in sizes}
    in_rounds = zip(*(times.seconds[name] for name in names.values()), strict=True)
    return {
        "exponent_of_time": spread([exponent(list(names), taken) for taken in in_rounds]),
        "ms_at": {f"{axis}={size}": times.ms(name) for size, name in names.items()},
    }


def _memory(took: Mapping[tuple[int, int], float], axis: str) -> dict[str, Any]:
    """MiB at each size beyond what was there before, and their exponent where all of them can be seen."""
    sizes = [steps if axis == "T" else batch for steps, batch in took]
    seen = {"exponent_of_memory": rounded(exponent(sizes, list(took.values())))} if min(took.values()) > 0 else {}
    return seen | {"mib_at": {f"{axis}={size}": rounded(mib) for size, mib in zip(sizes, took.values(), strict=True)}}
