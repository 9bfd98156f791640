"""What recipes measure in a trained network beside its accuracy: plain values, to be kept as JSON."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from robustsnn.analysis import gradients, trail, vulnerability
from robustsnn.attacks import fgsm, pgd
from robustsnn.build import build_constraints, build_objective, build_optimiser
from robustsnn.config import TrainConfig
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation.judge import Judge
from robustsnn.models import Classifier
from robustsnn.modes import frozen
from robustsnn.objectives.schedule import Changing
from robustsnn.progress import Progress
from robustsnn.recipes.networks import Defence, Network, Scale, radius
from robustsnn.seeds import generator
from robustsnn.train.epoch import one_epoch
from robustsnn.units import fraction

REGIMES: tuple[Defence, ...] = ("vanilla", "AT", "RAT", "SR", "SR*")
_ROUNDS = 5
_BATCHES = 4


def measure(
    name: str, model: Classifier, data: ImageSet, scale: Scale, seed: int, progress: Progress
) -> dict[str, Any]:
    """One of `MEASURES`, by name."""
    return MEASURES[name](model, data, scale, seed, progress)


def _gradients(model: Classifier, data: ImageSet, scale: Scale, seed: int, progress: Progress) -> dict[str, Any]:
    """Norms and distribution of grad_x f_y, and the gradient of the first images."""
    found = gradients(model, data, seed=seed, progress=progress)
    shown = found.heatmaps()
    return {**found.to_dict(), "shown": {name: shown[name].tolist() for name in ("image", "label", "gradient")}}


def _vulnerability(model: Classifier, data: ImageSet, scale: Scale, seed: int, progress: Progress) -> dict[str, Any]:
    """Random against adversarial vulnerability and accuracy over eps, figure 1 of the SR paper."""
    eps = [radius(k, scale) for k in (1, 2, 4, 6, 8, 12)]
    return vulnerability(model, data, eps=eps, seed=seed, progress=progress).to_dict()


def _trail(model: Classifier, data: ImageSet, scale: Scale, seed: int, progress: Progress) -> dict[str, Any]:
    """The gradient sparsity trail of the cross-entropy."""
    return trail(model, data, seed=seed, weights_of=0, progress=progress).to_dict()


def _pictures(model: Classifier, data: ImageSet, scale: Scale, seed: int, progress: Progress) -> dict[str, Any]:
    """The first images, and what FGSM and PGD7 at the trail paper's 8/255 make of them."""
    x, y = data.take(min(6, len(data))).floats(next(model.parameters()).device)
    eps = fraction(radius(8, scale))
    shown = {"clean": x}
    for name, attack in (("FGSM", fgsm(eps)), ("PGD7", pgd(eps, 7, alpha=0.01 * eps / (8 / 255)))):
        shown[name] = attack(model, x, y, generator=generator(seed, "pictures", name))
    judge = Judge()
    with frozen(model):
        said = {name: judge(model, images, y)[1].tolist() for name, images in shown.items()}
    return {
        "classes": list(data.classes),
        "label": y.tolist(),
        "images": {name: images.cpu().numpy().tolist() for name, images in shown.items()},
        "predicted": said,
    }


def _cost(model: Classifier, data: ImageSet, scale: Scale, seed: int, progress: Progress) -> dict[str, Any]:
    """Seconds of an epoch of each regime, from a few batches of each in turn, so that ratios compare like with like."""
    config = Network("CIFAR-10", "VGG-11").config(scale, seed)
    train = config.train
    some = data.take(min(len(data), _BATCHES * train.batch_size))
    batches = -(-len(some) // train.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in REGIMES}
    copies = {name: copy.deepcopy(model) for name in REGIMES}
    for turn in range(_ROUNDS + 1):
        for number, name in enumerate(REGIMES):
            taken = _epoch_seconds(copies[name], some, name, scale, seed, train)
            if turn:  # the first warms up
                seconds[name].append(taken / batches)
            progress(turn * len(REGIMES) + number + 1, (_ROUNDS + 1) * len(REGIMES), "cost of the regimes")
    return {"seconds_per_step": seconds, "batch_size": train.batch_size, "train": asdict(train)}


def _epoch_seconds(
    model: Classifier, data: ImageSet, regime: Defence, scale: Scale, seed: int, train: TrainConfig
) -> float:
    objective = Network("CIFAR-10", "VGG-11", regime).config(scale, seed).objective
    loss = build_objective(objective)
    assert not isinstance(loss, Changing)  # no regime has a schedule of lambda
    optimiser = build_optimiser(replace(train, lr=1e-4), model)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    one_epoch(
        model,
        data,
        loss,
        optimiser,
        epoch=0,
        batch_size=train.batch_size,
        augment=None,
        constraints=build_constraints(objective, model),
        autocast=train.precision,
        seed=seed,
        tell=lambda done, loss: None,
    )
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "gradients": _gradients,
    "vulnerability": _vulnerability,
    "trail": _trail,
    "pictures": _pictures,
    "cost": _cost,
}
