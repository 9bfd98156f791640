"""What recipes measure in a trained network beside its accuracy: plain values, to be kept as JSON."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from robustsnn.attacks import fgsm, paper_trail, pgd
from robustsnn.bench.timing import paired
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation import moved
from robustsnn.evaluation.judge import Judge
from robustsnn.ground.modes import frozen
from robustsnn.ground.progress import Progress
from robustsnn.ground.seeds import generator
from robustsnn.ground.units import fraction
from robustsnn.models import Classifier
from robustsnn.names.config import TrainConfig
from robustsnn.objectives.schedule import Changing
from robustsnn.recipes.recipe import Subject
from robustsnn.runs.build import build_constraints, build_objective, build_optimiser
from robustsnn.studies.gradients import measure as of_gradients
from robustsnn.studies.theory import measure as of_theory
from robustsnn.studies.trail import measure as of_trail
from robustsnn.studies.vulnerability import measure as of_vulnerability
from robustsnn.training.epoch import one_epoch
from robustsnn.training.step import TrainingStep
from robustsnn_papers.networks import Defence, Network, radius

REGIMES: tuple[Defence, ...] = ("vanilla", "AT", "RAT", "SR", "SR*")
_ROUNDS = 5
_BATCHES = 4


def gradients(subject: Subject) -> dict[str, Any]:
    """Norms and distribution of grad_x f_y, and the gradient of the first images."""
    found = of_gradients.gradients(subject.model, subject.images, seed=subject.seed, progress=subject.progress)
    shown = found.heatmaps()
    return {**found.to_dict(), "shown": {name: shown[name].tolist() for name in ("image", "label", "gradient")}}


def vulnerability(subject: Subject) -> dict[str, Any]:
    """Random against adversarial vulnerability and accuracy over eps, figure 1 of the SR paper."""
    eps = [radius(k, subject.scale) for k in (1, 2, 4, 6, 8, 12)]
    found = of_vulnerability.vulnerability(
        subject.model, subject.images, eps=eps, seed=subject.seed, progress=subject.progress
    )
    return found.to_dict()


def trail(subject: Subject) -> dict[str, Any]:
    """The gradient sparsity trail of the cross-entropy."""
    found = of_trail.trail(subject.model, subject.images, seed=subject.seed, weights_of=0, progress=subject.progress)
    return found.to_dict()


def moved_statistics(subject: Subject) -> dict[str, list[bool]]:
    """Which images stand where the attacks on the code move the batch statistics that judge, in batches of 16."""
    suite = paper_trail(radius(8, subject.scale)).encoded()
    return moved.moved_statistics(subject.model, subject.images.floats(), suite, batch_size=16, seed=subject.seed)


def theorems(subject: Subject) -> dict[str, Any]:
    """What theorems 4.2 to 4.4 of the trail paper say of a network, or why it cannot be asked."""
    return of_theory.trade_off(subject.model, subject.images, seed=subject.seed, progress=subject.progress).to_dict()


def pictures(subject: Subject) -> dict[str, Any]:
    """The first images, and what FGSM and PGD7 at the trail paper's 8/255 make of them."""
    model, some = subject.model, subject.images.take(min(6, len(subject.images)))
    x, y = some.floats(next(model.parameters()).device)
    eps = fraction(radius(8, subject.scale))
    shown = {"clean": x}
    for name, attack in (("FGSM", fgsm(eps)), ("PGD7", pgd(eps, 7, alpha=0.01 * eps / (8 / 255)))):
        shown[name] = attack(model, x, y, generator=generator(subject.seed, "pictures", name))
    judge = Judge()
    with frozen(model):
        said = {name: judge(model, images, y)[1].tolist() for name, images in shown.items()}
    return {
        "classes": list(some.classes),
        "label": y.tolist(),
        "images": {name: images.cpu().numpy().tolist() for name, images in shown.items()},
        "predicted": said,
    }


def cost(subject: Subject) -> dict[str, Any]:
    """Seconds of an epoch of each regime, from a few batches of each in turn, so that ratios compare like with like."""
    train = Network("CIFAR-10", "VGG-11").config(subject.scale, subject.seed).train
    whole = subject.data.train
    some = whole.take(min(len(whole), _BATCHES * train.batch_size))
    works = {name: _epoch(copy.deepcopy(subject.model), some, name, subject, train) for name in REGIMES}
    device = next(subject.model.parameters()).device
    tell: Progress = lambda done, total, _: subject.progress(done, total, "cost of the regimes")  # noqa: E731
    times = paired(works, _ROUNDS, device, progress=tell)
    seconds = {name: [taken * len(whole) / len(some) for taken in times.seconds[name]] for name in REGIMES}
    return {"seconds_per_epoch": seconds, "images": len(whole), "batch_size": train.batch_size}


def _epoch(
    model: Classifier, data: ImageSet, regime: Defence, subject: Subject, train: TrainConfig
) -> Callable[[], object]:
    """An epoch of that regime, to be called."""
    objective = Network("CIFAR-10", "VGG-11", regime).config(subject.scale, subject.seed).objective
    loss = build_objective(objective)
    assert not isinstance(loss, Changing)  # no regime has a schedule of lambda
    return partial(
        one_epoch,
        model,
        data,
        loss,
        build_optimiser(replace(train, lr=1e-4), model),
        TrainingStep(precision=train.precision, constraints=build_constraints(objective, model)),
        epoch=0,
        batch_size=train.batch_size,
        seed=subject.seed,
        tell=lambda done, loss: None,
    )
