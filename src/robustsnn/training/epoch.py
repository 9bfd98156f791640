"""One pass over the training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from robustsnn.data.batches import ImageSet, batches
from robustsnn.ground.distributed import ALONE, Processes
from robustsnn.ground.door import ask
from robustsnn.ground.errors import UserError, in_short
from robustsnn.ground.modes import precision
from robustsnn.ground.seeds import generator, seeded
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import check_logits, correct
from robustsnn.objectives import Objective
from robustsnn.objectives.natural import total
from robustsnn.training.distributed import average_statistics, go_on, over_the_batch, see, share_of, sum_gradients
from robustsnn.training.graphs import Graphs, recordable
from robustsnn.training.log import Means
from robustsnn.training.step import TrainingStep


@runtime_checkable
class Updating(Protocol):
    """An objective that updates the weights several times per batch; it need not be callable.

    `updates` yields (terms, logits) once per update, as a call of an `Objective` returns them. Before the
    iterator goes on, the trainer has differentiated the sum of the means of the terms, made one optimiser
    step and applied the constraints. So what comes after a `yield`

    - sees the new weights,
    - finds in `leaf.grad` the gradient of that loss for every leaf of its own that it used in the forward
      (free adversarial training, Shafahi et al. 2019, takes its input gradient from there). The trainer
      clears gradients of the optimiser's parameters only; those of leaves are the iterator's to clear,
    - must not use the graph of what it has yielded; it is freed.

    It is called in train mode, runs under the trainer's autocast, and draws from `generator` alone.
    """

    def updates(
        self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator
    ) -> Iterator[tuple[dict[str, Tensor], Logits]]: ...


def _blame(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """UserError if the model is why a step failed: its output is no logits, or has fewer classes than the labels."""
    with torch.no_grad():
        check_logits(ask(model, x), y)


def _updates(
    objective: Objective | Updating, model: nn.Module, x: Images, y: Labels, draws: torch.Generator, autocast: str
) -> Iterator[tuple[dict[str, Tensor], Logits]]:
    """(terms, logits) of each update of a batch; autocast is on while the objective works, and off between."""
    if not isinstance(objective, Updating):
        with precision(autocast, x.device):
            try:
                made = objective(model, x, y, generator=draws)
            except (RuntimeError, IndexError, TypeError, AttributeError, ValueError):
                _blame(model, x, y)
                raise
        if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], dict):
            raise UserError(f"objective {objective!r:.80} returned no pair of terms {{name: [B]}} and logits [B, K]")
        yield made
        return
    several = objective.updates(model, x, y, generator=draws)
    while True:
        with precision(autocast, x.device):
            one = next(several, None)
        if one is None:
            return
        yield one


def one_epoch(
    model: nn.Module,
    data: ImageSet,
    objective: Objective | Updating,
    optimiser: torch.optim.Optimizer,
    how: TrainingStep,
    *,
    epoch: int,
    batch_size: int,
    seed: int,
    tell: Callable[[int, float], None],
    processes: Processes = ALONE,
    graphs: Graphs | None = None,
) -> dict[str, float]:
    """Train for one epoch, counted from 0; returns loss, terms and accuracy, as means over all updates.

    `tell` gets the number of batches done and the loss. UserError if a loss or a weight is not finite. Each of
    several `processes` takes its share of every batch; the update is that of the whole batch.
    """
    draws, of_constraints = generator(seed, "train", epoch), generator(seed, "constraints", epoch)
    device = next(model.parameters()).device
    means = Means()
    model.train()
    # Layers that draw from torch's global generator (dropout) repeat too; the caller's state is kept.
    with seeded(seed, "layers", epoch, *([processes.rank] if processes.rank else [])):
        walk = batches(
            data,
            batch_size,
            generator=draws,
            augment=how.augment,
            device=device,
            rows=lambda n: processes.share(n).rows,
        )
        for step, (x, y) in enumerate(walk):
            share = processes.share(min(batch_size, len(data) - step * batch_size))
            own = draws
            if processes.count > 1:
                see(model, share)
                own = share_of(draws, share)
            # A graph belongs to one shape: the last, smaller batch takes the usual way.
            record = graphs is not None and len(x) == batch_size and recordable(objective)
            if record:
                made = iter([graphs.step(objective, x, y, generator=own)])  # type: ignore[union-attr]
            else:
                made = _updates(objective, model, x, y, own, how.precision)
            for terms, logits in made:
                loss = total(terms)
                figures, hits = over_the_batch(loss, terms, correct(logits.detach(), y).sum(), processes, share)
                if not math.isfinite(figures["loss"]):
                    raise UserError(
                        f"{_diverged(epoch, step, figures)}; {_advice(objective, optimiser, how.precision)}"
                    )
                if not record and not loss.requires_grad:
                    raise UserError(
                        f"the loss of {objective!r:.80} does not depend on the weights of {type(model).__name__}: "
                        "leave out what cuts the graph in its forward: detach, no_grad, numpy"
                    )
                if not record:
                    optimiser.zero_grad(set_to_none=True)
                    (loss * share.weight).backward()
                sum_gradients(model, processes)
                average_statistics(model, processes, share)
                optimiser.step()
                for constraint in how.constraints:
                    constraint(model, generator=of_constraints)
                for name, mean in figures.items():
                    means.add(name, mean * share.total, share.total)
                means.add("accuracy", hits, share.total)
                tell(step + 1, figures["loss"])
            go_on(draws, own, processes, device)
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise UserError(
            f"the weights are not finite after epoch {epoch + 1}; {_advice(objective, optimiser, how.precision)}"
        )
    return means()


def _diverged(epoch: int, step: int, figures: dict[str, float]) -> str:
    bad = [name for name, mean in figures.items() if name != "loss" and not math.isfinite(mean)]
    return f"the loss is not finite in epoch {epoch + 1}, batch {step + 1} (terms: {', '.join(bad) or 'their sum'})"


def _advice(objective: Objective | Updating, optimiser: torch.optim.Optimizer, autocast: str) -> str:
    rates = ", ".join(dict.fromkeys(f"{group['lr']:.3g}" for group in optimiser.param_groups))
    precise = ", or take train.precision=float32" if autocast == "bfloat16" else ""
    tried = f"the learning rate was {rates}, the objective {in_short(objective, 200)}"
    return f"{tried}: lower train.lr or train.weight_decay, or objective.lam and the numbers of its options{precise}"
