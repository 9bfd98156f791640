"""The training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet, batches
from robustsnn.errors import UserError
from robustsnn.files import write_atomic
from robustsnn.losses import correct
from robustsnn.modes import evaluating, precision
from robustsnn.objectives import Objective
from robustsnn.progress import Progress, silent
from robustsnn.seeds import derived, generator
from robustsnn.train.checkpoint import load_state, load_weights, save_state, save_weights

History: TypeAlias = list[dict[str, Any]]
"""One entry per epoch: epoch, epochs, seconds, learning_rate, train {loss, accuracy, terms}, validation."""

Schedule: TypeAlias = Callable[[int, int], float]
"""(epoch from 0, epochs) -> factor on the learning rate."""


_ADVICE = "try a lower learning rate, a smaller lambda, or float32"


def constant(epoch: int, epochs: int) -> float:
    """1."""
    return 1.0


def cosine(epoch: int, epochs: int) -> float:
    """(1 + cos(pi epoch / epochs)) / 2, from 1 down towards 0 (Loshchilov and Hutter 2017, no restarts)."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageSet, batch_size: int = 256) -> float:
    """Share of `data` that the model classifies correctly, in eval mode."""
    device = next(model.parameters()).device
    with evaluating(model):
        hits = sum(int(correct(model(x), y).sum()) for x, y in batches(data, batch_size, device=device))
    return hits / len(data)


def fit(
    model: nn.Module,
    train: ImageSet,
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    *,
    epochs: int,
    batch_size: int,
    schedule: Schedule = cosine,
    validation: ImageSet | None = None,
    augment: Augment | None = None,
    select: Literal["last", "validation"] = "last",
    autocast: Literal["float32", "bfloat16"] = "float32",
    seed: int = 0,
    run: Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    identity: dict[str, str] | None = None,
    progress: Progress = silent,
) -> History:
    """Train `model` in place, and return one entry per epoch.

    Every random number of an epoch derives from (seed, epoch), so equal arguments give equal weights,
    bit for bit on the same machine's CPU, whether or not the training was interrupted and resumed.

    Args:
        model: on its device already; its parameters are those of `optimiser`.
        train, validation: images in memory. Validation accuracy (clean) is logged each epoch.
        objective: see `robustsnn.objectives`; the sum of the means of its terms is minimised.
        schedule: factor on each group's learning rate, per epoch.
        augment: drawn anew for each batch.
        select: end with the weights of the last epoch, or of the epoch with the best validation accuracy
            (the first of equals). Test data has no place here.
        autocast: precision of convolutions and matrix products.
        run: folder for `metrics.jsonl`, `state/` (after every epoch) and `weights.safetensors` (at the end).
        resume: continue from `run/state` if there is one.
        tensorboard: write event files to `run/tensorboard` too (extra `tensorboard`).
        identity: what the run depends on (digests of config and data, say). It is written into weights and
            state, and a state with another identity is not resumed.
        progress: told about every batch.

    Raises UserError if the loss is no longer finite; the last complete epoch stays in `run/state`.
    """
    if epochs < 1:
        raise UserError(f"epochs={epochs}: at least 1 is needed")
    if select not in ("last", "validation"):
        raise UserError(f"select={select!r}: allowed are 'last' and 'validation'")
    if select == "validation" and validation is None:
        raise UserError("select='validation' needs a validation set; give one, or select='last'")
    if (resume or tensorboard) and run is None:
        raise UserError("resume and tensorboard need a run folder; give run=...")
    device = next(model.parameters()).device
    base = [group["lr"] for group in optimiser.param_groups]
    about = identity or {}
    history: History = []
    best: dict[str, torch.Tensor] | None = None
    if resume and run is not None and (run / "state" / "last.safetensors").exists():
        saved = load_state(run / "state" / "last.safetensors", model, optimiser)
        for name, value in about.items():
            if saved.get(name) != value:
                raise UserError(f"{run} was begun with another {name}; restore it, or train into another folder")
        history = saved["history"]
    writer = _tensorboard(run, len(history)) if tensorboard and run is not None else None

    steps = math.ceil(len(train) / batch_size)
    for epoch in range(len(history), epochs):
        started = time.perf_counter()
        factor = schedule(epoch, epochs)
        for group, lr in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = lr * factor
        draws = generator(seed, "train", epoch)
        sums: dict[str, float] = {}
        hits = 0
        model.train()
        # Layers that draw from torch's global generator (dropout) repeat too; the caller's state is kept.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derived(seed, "layers", epoch))
            for step, (x, y) in enumerate(batches(train, batch_size, generator=draws, augment=augment, device=device)):
                with precision(autocast, device):
                    terms, logits = objective(model, x, y, generator=draws)
                loss = torch.stack([term.mean() for term in terms.values()]).sum()
                if not math.isfinite(loss.item()):
                    raise UserError(_diverged(epoch, step, terms))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                for name, term in {"loss": loss, **terms}.items():
                    sums[name] = sums.get(name, 0.0) + term.detach().mean().item() * len(x)
                hits += int(correct(logits.detach(), y).sum())
                text = f"epoch {epoch + 1}/{epochs}, loss {loss.item():.3f}"
                progress(epoch * steps + step + 1, epochs * steps, text)
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            raise UserError(f"the weights are not finite after epoch {epoch + 1}; {_ADVICE}")
        entry: dict[str, Any] = {
            "epoch": epoch + 1,
            "epochs": epochs,
            "seconds": round(time.perf_counter() - started, 3),
            "learning_rate": base[0] * factor,
            "train": {name: total / len(train) for name, total in sums.items()} | {"accuracy": hits / len(train)},
        }
        if validation is not None:
            entry["validation"] = {"accuracy": accuracy(model, validation, batch_size), "n": len(validation)}
        history.append(entry)
        if select == "validation" and _best_epoch(history) == epoch + 1:
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            if run is not None:
                save_weights(run / "state" / "best.safetensors", model, epoch=epoch + 1)
        if run is not None:
            write_atomic(run / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history))
            save_state(run / "state" / "last.safetensors", model, optimiser, history=history, **about)
        if writer is not None:
            _log(writer, entry)
    for group, lr in zip(optimiser.param_groups, base, strict=True):
        group["lr"] = lr  # as it was given, so that the optimiser can be used again
    if writer is not None:
        writer.close()
    if select == "validation":
        _restore_best(model, best, run)
    if run is not None:
        chosen = _best_epoch(history) if select == "validation" else len(history)
        save_weights(run / "weights.safetensors", model, epoch=chosen, **about)
    model.eval()
    return history


def _best_epoch(history: History) -> int:
    return max(history, key=lambda entry: (entry["validation"]["accuracy"], -entry["epoch"]))["epoch"]


def _restore_best(model: nn.Module, best: dict[str, torch.Tensor] | None, run: Path | None) -> None:
    if best is not None:
        model.load_state_dict(best)
    elif run is not None:
        load_weights(run / "state" / "best.safetensors", model)


def _diverged(epoch: int, step: int, terms: dict[str, torch.Tensor]) -> str:
    bad = [name for name, term in terms.items() if not bool(term.isfinite().all())]
    return (
        f"the loss is not finite in epoch {epoch + 1}, batch {step + 1} (terms: {', '.join(bad) or 'their sum'}); "
        f"{_ADVICE}"
    )


def _tensorboard(run: Path, epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("tensorboard is not installed; pip install 'robustsnn[tensorboard]'") from None
    return SummaryWriter(run / "tensorboard", purge_step=epoch + 1)


def _log(writer: Any, entry: dict[str, Any]) -> None:
    for part in ("train", "validation"):
        for name, value in entry.get(part, {}).items():
            if name != "n":
                writer.add_scalar(f"{part}/{name}", value, entry["epoch"])
    writer.add_scalar("learning_rate", entry["learning_rate"], entry["epoch"])
