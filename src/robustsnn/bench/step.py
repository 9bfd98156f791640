"""A training step of each regime, against natural training and against the passes that it cannot do without.

The floor counts passes: a forward, a backward to the input and a backward to the weights are one unit each, and the
unit itself is measured as a forward in train mode without gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from robustsnn.bench.memory import memories
from robustsnn.bench.options import Options
from robustsnn.bench.timing import Timings, paired, rounded, titled
from robustsnn.bench.trainee import REGIMES, UNITS, Trainee
from robustsnn.ground.progress import Progress, part, silent

EPOCH = 50_000
"""Images of CIFAR's training set, for seconds per epoch."""
# Table 4 of "Training adversarially robust SNNs with gradient sparsity regularization": seconds per epoch of
# VGG-11 on CIFAR-10.
PUBLISHED = {"vanilla": 65, "SR": 193, "AT": 459, "SR*": 583}


def measure(options: Options, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Every network in every precision: times of the regimes, interleaved, their ratios, and peak memory."""
    cases = [(name, autocast) for name in options.several("networks") for autocast in options.several("precisions")]
    found = {}
    weight = 2.0 if options.memory else 1.0
    for i, (name, autocast) in enumerate(cases):
        tell = part(progress, i, 1, weight * len(cases))
        found[f"{name} {autocast} {options.size()}"] = _case(options, name, autocast, device, tell)
    if options.memory:
        asked = [(*case, options.steps, options.batch, regime) for case in cases for regime in REGIMES]
        tell = part(progress, len(cases), len(cases), weight * len(cases))
        for (name, autocast, _, _, regime), used in memories(options, asked, device, tell).items():
            found[f"{name} {autocast} {options.size()}"]["regimes"][regime] |= used
    return found


def _case(options: Options, name: str, autocast: str, device: torch.device, progress: Progress) -> dict[str, Any]:
    trainee = Trainee(name, autocast, options.shape, options.steps, options.batch, options.seed, device)
    works: dict[str, Callable[[], None]] = {"forward": trainee.forward}
    works |= {regime: partial(trainee.step, regime) for regime in REGIMES}
    times = paired(works, options.rounds, device, progress=titled(progress, f"{name} {autocast}"))
    return {
        "forward_ms": times.ms("forward"),
        "preemptions_per_round": times.preemptions,
        "regimes": {regime: _row(times, regime, options.batch, name) for regime in REGIMES},
    }


def _row(times: Timings, regime: str, batch: int, name: str) -> dict[str, Any]:
    units = UNITS[regime]
    row = {
        "ms": times.ms(regime),
        "first_call_s": times.first[regime],
        "over_vanilla": times.over(regime, "vanilla"),
        "units": units,
        "over_floor": times.over(regime, "forward", 1 / units),
        "images_per_s": times.per_second(regime, batch),
        "epoch_s": {k: rounded(v * EPOCH / batch / 1e3) for k, v in times.ms(regime).items()},
    }
    if name == "vgg11" and regime in PUBLISHED:
        row["published_over_vanilla"] = rounded(PUBLISHED[regime] / PUBLISHED["vanilla"])
    return row
