"""Share of the data pipeline, batches with crops and flips, in a training step."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from robustsnn.bench.network import noise
from robustsnn.bench.options import Options
from robustsnn.bench.timing import paired, spread, titled
from robustsnn.bench.trainee import Trainee
from robustsnn.data.augment import Augment
from robustsnn.data.batches import batches
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.ground.seeds import generator

AUGMENT = Augment(crop=4, flip=True)
"""As is usual on CIFAR."""
_BATCHES = 8


def measure(options: Options, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Every network in every precision, against the shortest step, that of natural training."""
    cases = [(name, autocast) for name in options.several("networks") for autocast in options.several("precisions")]
    some = noise(options.shape, _BATCHES * options.batch, options.seed)

    def walk() -> None:
        draws = generator(options.seed, "bench", "data")
        for _ in batches(some, options.batch, generator=draws, augment=AUGMENT, device=device):
            pass

    found = {}
    for i, (name, autocast) in enumerate(cases):
        trainee = Trainee(name, autocast, options.shape, options.steps, options.batch, options.seed, device)
        works = {"data": walk, "step": partial(trainee.step, "vanilla")}
        times = paired(
            works,
            options.rounds,
            device,
            settle=1,
            progress=titled(part(progress, i, 1, len(cases)), f"{name} {autocast}"),
        )
        share = [ratio / (ratio + _BATCHES) for ratio in times.ratios("data", "step")]
        found[f"{name} {autocast} {options.size()}"] = {
            "data_ms": spread(times.seconds["data"], 1e3 / _BATCHES),
            "step_ms": times.ms("step"),
            "share_of_data": spread(share),
        }
    return found
