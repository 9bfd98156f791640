"""Attacks: gradient evaluations per second, and what share of an evaluation they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.attacks import pgd, quick
from robustsnn.bench.network import drawings, network, settle
from robustsnn.bench.options import Options
from robustsnn.bench.timing import now, paired, rounded, spread, titled
from robustsnn.evaluation import Effort, run_suite
from robustsnn.ground.modes import frozen, precision
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.ground.seeds import generator

EPS = "2/255"
_AHEAD = 10.0
"""How far the readout puts class 0 ahead, so that its images stand and the suite does all that it can do to one."""


@dataclass
class Stopwatch:
    """Seconds that a model spent on gradients to its input (forward, loss, backward) and on passes without."""

    device: torch.device
    gradient: float = 0.0
    forward: float = 0.0
    started: float = 0.0

    def begin(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A pass begins; it ends with the gradient, if one is asked for."""
        self.started = now(self.device)
        x = arguments[0]
        if torch.is_grad_enabled() and x.requires_grad:
            x.register_hook(self._arrived)

    def end(self, module: nn.Module, arguments: tuple[Any, ...], made: Any) -> None:
        """A pass ends that no gradient follows."""
        if not (torch.is_grad_enabled() and arguments[0].requires_grad):
            self.forward += now(self.device) - self.started

    def _arrived(self, gradient: Tensor) -> None:
        self.gradient += now(self.device) - self.started


@contextmanager
def watched(model: nn.Module, device: torch.device) -> Iterator[Stopwatch]:
    """A stopwatch on all calls of the model in the block."""
    watch = Stopwatch(device)
    hooks = [model.register_forward_pre_hook(watch.begin), model.register_forward_hook(watch.end)]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


def measure(options: Options, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Every network in every precision, in eval mode: passes per second, and the suite quick from end to end."""
    cases = [(name, autocast) for name in options.several("networks") for autocast in options.several("precisions")]
    found = {}
    for i, (name, autocast) in enumerate(cases):
        tell = part(progress, i, 1, len(cases))
        found[f"{name} {autocast} {options.size()} eval"] = _case(options, name, autocast, device, tell)
    return found


def _case(options: Options, name: str, autocast: str, device: torch.device, progress: Progress) -> dict[str, Any]:
    data = drawings(options.shape, max(options.images, options.batch), options.seed)
    model = network(name, data, options.steps, options.seed, device)
    x, y = data.take(options.batch).floats(device)
    settle(model, x)
    attack = pgd(EPS, options.pgd_steps, keep="last")

    def forward() -> None:
        with torch.no_grad():
            model(x)

    def gradients() -> None:
        attack.run(model, x, y, generator=generator(options.seed, "bench", "pgd"))

    progress = titled(progress, f"{name} {autocast}")
    with precision(autocast, device), frozen(model):
        times = paired({"forward": forward, "pgd": gradients}, options.rounds, device, progress=part(progress, 0, 1, 3))
        found = {
            "forward_ms": times.ms("forward"),
            "gradient_ms": spread(times.seconds["pgd"], 1e3 / options.pgd_steps),
            "gradient_over_forward": times.over("pgd", "forward", 1 / options.pgd_steps),
            "forward_images_per_s": times.per_second("forward", len(x)),
            "gradient_images_per_s": times.per_second("pgd", len(x) * options.pgd_steps),
            "preemptions_per_round": times.preemptions,
        }
    some = data.take(options.images).floats(device)[0]
    return found | {"quick": _suite(options, model, some, autocast, device, part(progress, 1, 2, 3))}


def _suite(
    options: Options, model: nn.Module, x: Tensor, autocast: Any, device: torch.device, progress: Progress
) -> dict[str, Any]:
    """The suite quick on images that stand to its end, since the network is sure of their class; judged in float32."""
    y = torch.zeros(len(x), dtype=torch.int64, device=device)
    with torch.no_grad():
        [*(module for module in model.modules() if isinstance(module, nn.Linear))][-1].bias[0] += _AHEAD
    with watched(model, device) as watch:
        started = now(device)
        outcomes = run_suite(
            model,
            (x, y),
            quick(EPS),
            Effort(options.batch, options.seed, autocast),
            progress=progress,
        )
        taken = now(device) - started
    gradients = int(outcomes.backwards.sum())
    return {
        "images": len(x),
        "standing": int(outcomes.standing().sum()),
        "seconds_s": rounded(taken),
        "images_per_s": rounded(len(x) / taken),
        "gradients_per_image": rounded(gradients / len(x)),
        "gradients_per_s": rounded(gradients / taken),
        "share_in_gradients": rounded(watch.gradient / taken),
        "share_in_forwards": rounded(watch.forward / taken),
    }
