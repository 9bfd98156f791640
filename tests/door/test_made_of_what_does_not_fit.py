"""Every public dataclass, made with what does not fit: refused, in one line, when it is made and not in the middle."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import robustsnn
from helpers import Linear, images
from robustsnn import attacks, evaluation, neurons, objectives, training
from robustsnn.ground.errors import UserError

X, Y = images(4), torch.tensor([0, 1, 2, 0])
THREAT, PGD, SOURCE = attacks.Linf(0.1), attacks.pgd(0.1, 1, keep="last"), attacks.Source("other", Linear())
MADE = [
    *(THREAT, attacks.L2(0.1), attacks.Flips(2), PGD, SOURCE, attacks.Transfer(SOURCE, PGD), attacks.Targeted(PGD, 1)),
    *(attacks.Suite("mine", (("all", (PGD,)),)), attacks.Foreign(abs, THREAT, "abs"), attacks.MinimumNorm(THREAT)),
    *(attacks.CornerSearch(THREAT), attacks.GradedSearch(THREAT), attacks.RandomSearch(THREAT), attacks.RayS(THREAT)),
    *(attacks.Square(THREAT), attacks.SparseFlips(attacks.Flips(2)), PGD.step, attacks.apgd(0.1, 1).step),
    *(attacks.mi_fgsm(0.1, 1).step, attacks.sa_pgd(0.1).step),
    *(neurons.LIF(), neurons.ASSG(), neurons.PDSG(), neurons.HART(), neurons.RGA(), neurons.STBP()),
    *(neurons.ResetFlow(neurons.STBP(), "detached"), neurons.Arctan(), neurons.Exponential(), neurons.Gaussian()),
    *(neurons.Rectangle(), neurons.Sigmoid(), neurons.Triangle()),
    *(objectives.Adversarial(PGD), objectives.TRADES(0.1, PGD), objectives.AdversarialLogitPairing(0.1, PGD)),
    *(objectives.CleanLogitPairing(0.1, 0.1), objectives.GradientRegularised(0.1), objectives.Hire(0.1)),
    *(objectives.MembraneGuard(0.1, 1.0), objectives.OneStep(0.1), objectives.SparsityRegularised(0.1)),
    *(objectives.MART(0.1, PGD), objectives.WeightPerturbed()),
    *(objectives.OrthogonalRetraction(0.01), objectives.ConvexShortcuts(), objectives.Cosine(), objectives.WarmUp(1)),
    *(objectives.ByValidation(), objectives.Scheduled(objectives.SparsityRegularised(0.1), objectives.Constant())),
    *(evaluation.Judge(), evaluation.Shard(), evaluation.Effort(), training.RunFolder("run"), training.TrainingStep()),
    training.Validation((X, Y)),
]
RESULTS = {attacks.Attempt, evaluation.Evaluation, neurons.Record}
"""What this package makes, and people only read."""
BAD: tuple[Any, ...] = (object(), object, torch.rand(3, 3), np.float32(0.1), b"x", {"a": 1}, [1, "x"], float("nan"))


@pytest.mark.parametrize("one", MADE, ids=lambda one: type(one).__name__)
def test_each_field_is_checked_when_it_is_made(one: Any) -> None:
    for field in fields(one):
        for bad in BAD if field.name != "target" else BAD[:2]:  # a class for each image is a tensor
            with pytest.raises(UserError) as caught:
                replace(one, **{field.name: bad})
            assert "\n" not in str(caught.value)
            assert 10 < len(str(caught.value)) < 400


def test_none_is_left_out() -> None:
    rooms = (attacks, neurons, objectives, evaluation, training)
    public = {thing for room in rooms for thing in vars(room).values() if isinstance(thing, type) and fields_of(thing)}
    assert public - RESULTS - {type(one) for one in MADE} == set()


def fields_of(thing: type) -> tuple[Any, ...]:
    return fields(thing) if is_dataclass(thing) else ()


def test_work_without_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"depth=1\d+: a whole number of at least 10 and at most 1000"):
        robustsnn.models.wide_resnet(image=(1, 8, 8), classes=3, neuron=neurons.LIF(), steps=1, depth=1 << 70)
