"""Which thread counts and devices give the same bits: one training step of a run, made several times and compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from robustsnn.data.batches import Splits
from robustsnn.names.config import Config
from robustsnn.runs.build import build_model, build_objective, build_optimiser, build_step
from robustsnn.runs.folder import load_run
from robustsnn.training.epoch import one_epoch


def determinism(
    run: Path, *, trust_code: bool | Collection[str] = False, say: Callable[[str], None] = lambda text: None
) -> list[str]:
    """Lines on what repeats: each number of threads and each device twice, and which of them agree.

    One step on one batch, from the weights that the run's seed draws, as its config says, augmentation, constraints
    and precision included. Equal bits of one step do not promise those of a whole training; other ones exclude them.
    UserError as of `load_run`.
    """
    config, _, data = load_run(run, trust_code=trust_code)
    groups: dict[str, list[str]] = {}
    lines = []
    for device, threads in settings():
        name = "cuda" if device == "cuda" else f"cpu with {threads} thread{'s' if threads > 1 else ''}"
        say(name)
        first, second = (step_digest(config, data, device, threads) for _ in range(2))
        lines.append(f"{name}: {'the same bits' if first == second else 'OTHER BITS'} when it is done twice")
        groups.setdefault(first, []).append(name)
    agreeing = [" = ".join(names) for names in groups.values()]
    if len(groups) == 1:
        return [*lines, "all of these give the same bits"]
    return [
        *lines,
        f"the same bits among: {'; '.join(agreeing)}. Resume where a run was begun, or with as many threads",
    ]


def settings() -> Iterator[tuple[str, int]]:
    """(device, threads) to compare: 1, 2, half of and all processors; the GPU, if there is one."""
    cores = os.cpu_count() or 1
    yield from (("cpu", threads) for threads in sorted({1, 2, max(1, cores // 2), cores}) if threads <= cores)
    if torch.cuda.is_available():
        yield "cuda", torch.get_num_threads()


def step_digest(config: Config, data: Splits, device: str, threads: int) -> str:
    """SHA-256 of weights, statistics and the optimiser's memory after one step."""
    options = config.train
    with _threads(threads):
        model = build_model(config.model, data, options.seed).to(device)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = build_optimiser(options, model)
        objective = build_objective(config.objective)
        batch = data.train.take(min(options.batch_size, len(data.train)))
        one_epoch(
            model,
            batch,
            objective.at(0, options.epochs, []) if hasattr(objective, "at") else objective,  # type: ignore[arg-type]
            optimiser,
            build_step(config, model),
            epoch=0,
            batch_size=len(batch),
            seed=options.seed,
            tell=lambda done, loss: None,
        )
        digest = hashlib.sha256()
        state = [value for kept in optimiser.state_dict()["state"].values() for value in kept.values()]
        for tensor in (*model.state_dict().values(), *state):
            if isinstance(tensor, torch.Tensor):
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
