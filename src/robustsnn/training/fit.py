"""The training loop."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from robustsnn.data.given import Data, image_set
from robustsnn.ground.claim import claimed
from robustsnn.ground.distributed import ALONE, Processes
from robustsnn.ground.door import check_progress, check_seed, check_whole
from robustsnn.ground.errors import Advice, UserError
from robustsnn.ground.modes import undisturbed
from robustsnn.ground.progress import Callback, Progress, displayed
from robustsnn.objectives import Objective
from robustsnn.objectives.schedule import Changing
from robustsnn.training import log
from robustsnn.training.arguments import check_arguments, learned
from robustsnn.training.average import Average, weights_come_back
from robustsnn.training.epoch import Updating, one_epoch
from robustsnn.training.folder import write_config, write_witness
from robustsnn.training.graphs import Graphs
from robustsnn.training.log import History
from robustsnn.training.saving import RunFolder
from robustsnn.training.step import PLAIN, TrainingStep
from robustsnn.training.validation import Validation, best_epoch, check_watched, validate
from robustsnn.training.validation import accuracy as accuracy

Schedule: TypeAlias = Callable[[int, int], float]
"""(epoch from 0, epochs) -> factor on the learning rate."""


def constant(epoch: int, epochs: int) -> float:
    """1."""
    return 1.0


def cosine(epoch: int, epochs: int) -> float:
    """(1 + cos(pi epoch / epochs)) / 2, from 1 down towards 0 (Loshchilov and Hutter 2017, no restarts)."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def one_cycle(epoch: int, epochs: int) -> float:
    """Up along a line to 1 over the first 30 % of the training, then down towards 0; the middle of each epoch counts.

    min(t / 0.3, (1 - t) / 0.7), t = (epoch + 1/2) / epochs: for short trainings at a high rate (Smith 2018).
    """
    t = (epoch + 0.5) / epochs
    return min(t / 0.3, (1 - t) / 0.7)


def fit(
    model: nn.Module,
    train: Data,
    objective: Objective | Updating | Changing,
    optimiser: torch.optim.Optimizer,
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    schedule: Schedule = cosine,
    step: TrainingStep = PLAIN,
    validation: Validation | Data | None = None,
    run: RunFolder | Path | str | None = None,
    progress: Progress | None = None,
    on_epoch: Callback | None = None,
    processes: Processes = ALONE,
) -> History:
    """Train `model` in place, and return one entry per epoch.

    Every random number of an epoch derives from (seed, epoch), so equal arguments give equal weights,
    bit for bit on the same machine's CPU, whether or not the training was interrupted and resumed.

    Args:
        model: on its device already; its parameters are those of `optimiser`.
        train: images in memory: an `ImageSet`, or what is made one, a pair (x, y) of tensors or arrays, or a Dataset or
            DataLoader of such pairs (read once).
        objective: see `robustsnn.objectives`; the sum of the means of its terms is minimised. One with `at`
            is asked for each epoch's objective, one with `updates` makes several steps per batch.
        schedule: factor on each group's learning rate, per epoch.
        step: augmentation, precision, constraints on the weights, CUDA graphs.
        validation: images on which the accuracy is logged each epoch; a `Validation` also says what attacks them, and
            whether the weights of the best epoch are those to end with.
        run: folder to keep the training in; a `RunFolder` also says what its config is, and whether to resume.
        progress: told about every update; None shows it on a terminal or in a notebook.
        on_epoch: called after every epoch with its entry, the line of `metrics.jsonl`.
        processes: each calls `fit` with equal arguments, and takes its share of every batch; `batch_size` is that
            of all together. Only the first one writes. They end with equal weights.

    Raises UserError if the loss is no longer finite; the last complete epoch stays in the folder's `state/`.
    """
    train = image_set(train, "train")
    check_arguments(model, optimiser, objective, schedule, step)
    check_whole("epochs", epochs)
    check_whole("batch_size", batch_size)
    check_seed(seed)
    judging = validation if validation is None or isinstance(validation, Validation) else Validation(validation)
    check_watched(objective, judging)
    select = "last" if judging is None else judging.select
    if progress is not None:
        check_progress(progress)
    folder = run if run is None or isinstance(run, RunFolder) else RunFolder(run)
    if step.graphs and (isinstance(objective, Updating) or processes.count > 1):
        raise UserError("graphs=True is for one process and an objective of one loss per batch; leave it out")
    if step.average is not None and processes.count > 1:
        raise UserError(f"average={step.average} is for one process so far; leave it out, or train in one")
    recorded = Graphs(model, step.precision) if step.graphs else None
    base = [group["lr"] for group in optimiser.param_groups]
    best: dict[str, torch.Tensor] | None = None
    out = folder if processes.first else None  # the others read what the first one writes
    claim = nullcontext() if out is None else claimed(out.place, overwrite=out.overwrite)
    with undisturbed(), torch.enable_grad(), claim, displayed(progress) as shown:
        average = None if step.average is None else Average(model, step.average)
        averaging = step if average is None else replace(step, constraints=(*step.constraints, average))
        history = (
            [] if folder is None else folder.epochs_done(model, optimiser, average, epochs, judged=select != "last")
        )
        where = next(model.parameters()).device
        processes.agree("the number of epochs done before", len(history), where)
        processes.spread([tensor.detach() for tensor in model.state_dict().values()])
        if out is not None and not history:
            known = {"objective": repr(objective), "epochs": epochs, "batch_size": batch_size, "seed": seed}
            write_config(out.place, out.config, model, device=str(where), commonest=train.commonest, **known)
        writer = log.tensorboard(out.place, len(history)) if out is not None and out.tensorboard else None

        steps = math.ceil(len(train) / batch_size)
        for epoch in range(len(history), epochs):
            started = time.perf_counter()
            now = _of_epoch(objective, epoch, epochs, history)
            factor = schedule(epoch, epochs)
            for group, lr in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = lr * factor

            def tell(done: int, loss: float, epoch: int = epoch) -> None:
                shown(epoch * steps + done, epochs * steps, f"epoch {epoch + 1}/{epochs}, loss {loss:.3f}")

            at = {"epoch": epoch, "batch_size": batch_size, "seed": seed}
            figures = one_epoch(
                model, train, now, optimiser, averaging, **at, tell=tell, processes=processes, graphs=recorded
            )
            entry: dict[str, Any] = {
                "epoch": epoch + 1,
                "epochs": epochs,
                "seconds": round(time.perf_counter() - started, 3),
                "learning_rate": base[0] * factor,
                **({"lam": now.lam} if hasattr(now, "lam") else {}),
                "train": figures,
            }
            shows = average if judging is not None else None
            with nullcontext() if shows is None else weights_come_back(model):
                if shows is not None:
                    shows.put(model, train, now, step, **at)
                if judging is not None:
                    entry |= validate(model, judging, batch_size, seed, epoch, processes)
                history.append(entry)
                if select != "last" and best_epoch(history, select) == epoch + 1:
                    best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
                    if out is not None:
                        out.keep_best(model, epoch + 1)
            if out is not None:
                out.keep(model, optimiser, average, history)
            if writer is not None:
                log.write(writer, entry)
            if on_epoch is not None and processes.first:
                on_epoch(entry)
        for group, lr in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = lr  # as it was given, so that the optimiser can be used again
        if writer is not None:
            writer.close()
        if best is not None:
            model.load_state_dict(best)
        elif select != "last" and folder is not None:
            folder.load_best(model)
        elif average is not None:
            last = _of_epoch(objective, epochs - 1, epochs, history[:-1])
            average.put(model, train, last, step, epoch=epochs - 1, batch_size=batch_size, seed=seed)
        if out is not None:
            out.end(model, best_epoch(history, select))
        model.eval()
        if out is not None and out.identity is None:
            write_witness(out.place, model, train.take(min(8, len(train))).floats(where)[0])
        said = learned(history, train.commonest, len(train), steps * epochs)
        if said and processes.first:
            warnings.warn(said, Advice, stacklevel=2)
    return history


def _of_epoch(objective: Objective | Updating | Changing, epoch: int, epochs: int, history: History) -> Any:
    """The objective of one epoch, counted from 0."""
    return objective.at(epoch, epochs, history) if isinstance(objective, Changing) else objective
