"""The training loop."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn

from robustsnn.attacks import Attacker
from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet
from robustsnn.data.given import Data, image_set
from robustsnn.ground.claim import claimed
from robustsnn.ground.distributed import ALONE, Processes
from robustsnn.ground.door import check_progress, check_seed, check_whole
from robustsnn.ground.errors import Advice, UserError
from robustsnn.ground.files import path_of, write_atomic
from robustsnn.ground.modes import undisturbed
from robustsnn.ground.progress import Callback, Progress, displayed
from robustsnn.objectives import Objective
from robustsnn.objectives.constraints import Constraint
from robustsnn.objectives.schedule import Changing
from robustsnn.training import log
from robustsnn.training.arguments import check_arguments, learned
from robustsnn.training.checkpoint import load_state, load_weights, save_state, save_weights
from robustsnn.training.epoch import Updating, one_epoch
from robustsnn.training.folder import check_config, write_config, write_witness
from robustsnn.training.graphs import Graphs
from robustsnn.training.log import History
from robustsnn.training.validation import Select, best_epoch, validate
from robustsnn.training.validation import accuracy as accuracy

Schedule: TypeAlias = Callable[[int, int], float]
"""(epoch from 0, epochs) -> factor on the learning rate."""


def constant(epoch: int, epochs: int) -> float:
    """1."""
    return 1.0


def cosine(epoch: int, epochs: int) -> float:
    """(1 + cos(pi epoch / epochs)) / 2, from 1 down towards 0 (Loshchilov and Hutter 2017, no restarts)."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


def fit(
    model: nn.Module,
    train: Data,
    objective: Objective | Updating | Changing,
    optimiser: torch.optim.Optimizer,
    *,
    epochs: int,
    batch_size: int,
    schedule: Schedule = cosine,
    validation: Data | None = None,
    validation_attack: Attacker | None = None,
    attacked: int | None = None,
    augment: Augment | None = None,
    constraints: Sequence[Constraint] = (),
    select: Select = "last",
    autocast: Literal["float32", "bfloat16"] = "float32",
    seed: int = 0,
    run: Path | str | None = None,
    config: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    identity: dict[str, str] | None = None,
    progress: Progress | None = None,
    on_epoch: Callback | None = None,
    processes: Processes = ALONE,
    graphs: bool = False,
) -> History:
    """Train `model` in place, and return one entry per epoch.

    Every random number of an epoch derives from (seed, epoch), so equal arguments give equal weights,
    bit for bit on the same machine's CPU, whether or not the training was interrupted and resumed.

    Args:
        model: on its device already; its parameters are those of `optimiser`.
        train, validation: images in memory: an `ImageSet`, or what is made one, a pair (x, y) of tensors or arrays, or
            a Dataset or DataLoader of such pairs (read once). Validation accuracy (clean) is logged each epoch.
        objective: see `robustsnn.objectives`; the sum of the means of its terms is minimised. One with `at`
            is asked for each epoch's objective, one with `updates` makes several steps per batch.
        schedule: factor on each group's learning rate, per epoch.
        validation_attack: the robust accuracy against it is logged each epoch too.
        attacked: how many validation images it gets, the first ones; None is all.
        augment: drawn anew for each batch.
        constraints: applied to the weights after each optimiser step, in this order.
        select: end with the weights of the last epoch, or of the epoch with the best validation accuracy,
            clean or robust (the first of equals). Test data has no place here.
        autocast: precision of convolutions and matrix products.
        run: folder for `config.yaml`, `metrics.jsonl`, `state/` (after every epoch) and `weights.safetensors` (at the
            end).
        config: what its `config.yaml` says, in the form of a config: {"model": {"name": "mine:Net", "options": {}},
            "data": {"name": "digits"}} is enough for the command line to load the run.
        resume: continue from `run/state` if there is one.
        overwrite: replace files of others that are in a folder which is no run; UserError otherwise.
        tensorboard: write event files to `run/tensorboard` too (extra `tensorboard`).
        identity: what the run depends on (digests of config and data, say). It is written into weights and
            state, and a state with another identity is not resumed.
        progress: told about every update; None shows it on a terminal or in a notebook.
        on_epoch: called after every epoch with its entry, the line of `metrics.jsonl`.
        processes: each calls `fit` with equal arguments, and takes its share of every batch; `batch_size` is that
            of all together. Only the first one writes. They end with equal weights.
        graphs: record steps as CUDA graphs, see `training.graphs`: the same weights, in half of the time where a GPU
            waits for its CPU. On a CPU nothing is recorded.

    Raises UserError if the loss is no longer finite; the last complete epoch stays in `run/state`.
    """
    train = image_set(train, "train")
    validation = None if validation is None else image_set(validation, "validation")
    check_arguments(
        model,
        optimiser,
        objective,
        schedule,
        autocast,
        augment,
        constraints,
        validation_attack,
    )
    check_whole("epochs", epochs)
    check_whole("batch_size", batch_size)
    check_seed(seed)
    attacked = check_validation(objective, validation, validation_attack, attacked, select)
    if (resume or tensorboard) and run is None:
        raise UserError("resume and tensorboard need a run folder; give run=...")
    if config is not None and run is None:
        raise UserError("config is what the run folder says; give run=... too")
    check_config(config)
    if progress is not None:
        check_progress(progress)
    run = None if run is None else path_of("run", run)
    if graphs and (isinstance(objective, Updating) or processes.count > 1):
        raise UserError("graphs=True is for one process and an objective of one loss per batch; leave it out")
    recorded = Graphs(model, autocast) if graphs else None
    base = [group["lr"] for group in optimiser.param_groups]
    about = identity or {}
    history: History = []
    best: dict[str, torch.Tensor] | None = None
    out = run if processes.first else None  # the others read what the first one writes
    claim = nullcontext() if out is None else claimed(out, overwrite=overwrite)
    with undisturbed(), torch.enable_grad(), claim, displayed(progress) as shown:
        if resume and run is not None and (run / "state" / "last.safetensors").exists():
            saved = load_state(run / "state" / "last.safetensors", model, optimiser)
            for name, value in about.items():
                if saved.get(name) != value:
                    raise UserError(f"{run} was begun with another {name}; restore it, or train into another folder")
            history = log.checked(saved.get("history"), run / "state" / "last.safetensors", epochs, select != "last")
        where = next(model.parameters()).device
        processes.agree("the number of epochs done before", len(history), where)
        processes.spread([tensor.detach() for tensor in model.state_dict().values()])
        if out is not None and not history:
            known = {"objective": repr(objective), "epochs": epochs, "batch_size": batch_size, "seed": seed}
            write_config(out, config, model, device=str(where), commonest=train.commonest, **known)
        writer = log.tensorboard(out, len(history)) if tensorboard and out is not None else None

        steps = math.ceil(len(train) / batch_size)
        for epoch in range(len(history), epochs):
            started = time.perf_counter()
            now: Any = objective.at(epoch, epochs, history) if isinstance(objective, Changing) else objective
            factor = schedule(epoch, epochs)
            for group, lr in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = lr * factor

            def tell(done: int, loss: float, epoch: int = epoch) -> None:
                shown(epoch * steps + done, epochs * steps, f"epoch {epoch + 1}/{epochs}, loss {loss:.3f}")

            figures = one_epoch(
                model,
                train,
                now,
                optimiser,
                epoch=epoch,
                batch_size=batch_size,
                augment=augment,
                constraints=constraints,
                autocast=autocast,
                seed=seed,
                tell=tell,
                processes=processes,
                graphs=recorded,
            )
            entry: dict[str, Any] = {
                "epoch": epoch + 1,
                "epochs": epochs,
                "seconds": round(time.perf_counter() - started, 3),
                "learning_rate": base[0] * factor,
                **({"lam": now.lam} if hasattr(now, "lam") else {}),
                "train": figures,
            }
            if validation is not None:
                entry |= validate(model, validation, validation_attack, attacked, batch_size, seed, epoch, processes)
            history.append(entry)
            if select != "last" and best_epoch(history, select) == epoch + 1:
                best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
                if out is not None:
                    save_weights(out / "state" / "best.safetensors", model, epoch=epoch + 1)
            if out is not None:
                write_atomic(
                    out / "metrics.jsonl", "".join(json.dumps(line, sort_keys=True) + "\n" for line in history)
                )
                save_state(out / "state" / "last.safetensors", model, optimiser, history=history, **about)
            if writer is not None:
                log.write(writer, entry)
            if on_epoch is not None and processes.first:
                on_epoch(entry)
        for group, lr in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = lr  # as it was given, so that the optimiser can be used again
        if writer is not None:
            writer.close()
        if select != "last":
            _restore_best(model, best, run)
        if out is not None:
            save_weights(out / "weights.safetensors", model, epoch=best_epoch(history, select), **about)
        model.eval()
        if out is not None and identity is None:
            write_witness(out, model, train.take(min(8, len(train))).floats(where)[0])
        said = learned(history, train.commonest, len(train), steps * epochs)
        if said and processes.first:
            warnings.warn(said, Advice, stacklevel=2)
    return history


def check_validation(
    objective: Objective | Updating | Changing,
    validation: ImageSet | None,
    attack: Attacker | None,
    attacked: int | None,
    select: Select,
) -> int:
    """How many validation images are attacked; UserError where the arguments of `fit` do not go together."""
    if select not in get_args(Select):
        raise UserError(f"select={select!r}: allowed are {', '.join(map(repr, get_args(Select)))}")
    if validation is None and (select != "last" or attack is not None):
        what = f"select={select!r}" if select != "last" else "validation_attack"
        raise UserError(f"{what} needs a validation set; give one, or select='last' and no validation_attack")
    watches = getattr(objective, "needs_robust_validation", False)
    if attack is None and (select == "validation-robust" or watches):
        what = f"select={select!r}" if select == "validation-robust" else f"{objective!r}"
        raise UserError(f"{what} needs the robust accuracy on validation images; give validation_attack")
    if attacked is not None and (attack is None or validation is None or not 1 <= attacked <= len(validation)):
        at_most = len(validation) if validation is not None else 0
        raise UserError(f"attacked={attacked}: with a validation_attack, 1 to {at_most} validation images")
    return attacked if attacked is not None else len(validation) if validation is not None else 0


def _restore_best(model: nn.Module, best: dict[str, torch.Tensor] | None, run: Path | None) -> None:
    if best is not None:
        model.load_state_dict(best)
    elif run is not None:
        load_weights(run / "state" / "best.safetensors", model)
