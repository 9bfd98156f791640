"""AWP: the size and the sense of the move, where the step is taken, and what is left of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import Counting, Linear, images
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.names.config import ObjectiveConfig, ScheduleConfig, TrainingAttackConfig
from robustsnn.objectives import (
    MART,
    TRADES,
    Adversarial,
    AdversarialLogitPairing,
    Natural,
    OneStep,
    Scheduled,
    SparsityRegularised,
    WarmUp,
    WeightPerturbed,
)
from robustsnn.runs.build import build_objective
from robustsnn.training.fit import constant, fit

Y = torch.tensor([0, 1, 2, 0, 1, 2])
PGD = pgd(0.1, 2, keep="last")


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def linear() -> nn.Module:
    return Linear(3).double()


def moved(model: nn.Module, x: torch.Tensor, gamma: float) -> list[torch.Tensor]:
    """v of each weight of two axes, by its formula."""
    weights = [w for w in model.parameters() if w.ndim > 1]
    slopes = torch.autograd.grad(cross_entropy(model(x), Y).mean(), weights)
    return [gamma * w.detach().norm() * g / g.norm() for w, g in zip(weights, slopes, strict=True)]


def test_the_loss_is_that_of_weights_moved_by_the_formula_and_they_are_moved_back() -> None:
    model, x, gamma = linear(), images(6).double(), 0.3
    before = [p.detach().clone() for p in model.parameters()]
    v = moved(model, x, gamma)
    updates = WeightPerturbed(Natural(), gamma).updates(model, x, Y, generator=draws())
    terms, logits = next(updates)
    for weight, old, move in zip((w for w in model.parameters() if w.ndim > 1), before, v, strict=False):
        torch.testing.assert_close(weight.detach(), old + move)
        torch.testing.assert_close((weight.detach() - old).norm(), gamma * old.norm())
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(model(x), Y))
    assert logits.requires_grad
    assert list(updates) == []
    for p, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old)


def test_to_first_order_the_loss_rises_by_gamma_times_weight_times_slope() -> None:
    model, x, gamma = linear(), images(6).double(), 1e-6
    weights = [w for w in model.parameters() if w.ndim > 1]
    here = cross_entropy(model(x), Y).mean()
    slopes = torch.autograd.grad(here, weights)
    expected = gamma * sum(w.norm() * g.norm() for w, g in zip(weights, slopes, strict=True))
    terms, _ = next(WeightPerturbed(Natural(), gamma).updates(model, x, Y, generator=draws()))
    torch.testing.assert_close(terms["cross_entropy"].mean() - here, expected, rtol=1e-4, atol=0)


def test_a_step_of_fit_is_the_gradient_there_taken_from_here() -> None:
    model, there, x, gamma, lr = Linear(3), Linear(3), images(6), 0.2, 0.5
    start = [p.detach().clone() for p in model.parameters()]
    v = iter(moved(there, x, gamma))
    with torch.no_grad():
        for p in there.parameters():
            p.add_(next(v) if p.ndim > 1 else 0)
    slopes = torch.autograd.grad(cross_entropy(there(x), Y).mean(), list(there.parameters()))
    optimiser = torch.optim.SGD(model.parameters(), lr)
    fit(model, (x, Y), WeightPerturbed(Natural(), gamma), optimiser, epochs=1, batch_size=6, schedule=constant)
    for p, old, slope in zip(model.parameters(), start, slopes, strict=True):
        torch.testing.assert_close(p.detach(), old - lr * slope, rtol=1e-4, atol=1e-5)


def test_an_iterator_that_is_dropped_leaves_the_weights_where_they_were() -> None:
    model, x = linear(), images(6).double()
    before = [p.detach().clone() for p in model.parameters()]
    updates = WeightPerturbed(Natural(), 0.5).updates(model, x, Y, generator=draws())
    next(updates)
    updates.close()
    for p, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old)


def test_norms_see_the_batch_once_and_vectors_stay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)).train()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    vectors = [p.detach().clone() for p in model.parameters() if p.ndim == 1]
    updates = WeightPerturbed(Natural(), 0.5).updates(model, images(6, (1, 8, 8)), Y, generator=draws())
    next(updates)
    assert all(
        torch.equal(p, old) for p, old in zip((p for p in model.parameters() if p.ndim == 1), vectors, strict=True)
    )
    list(updates)
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 1


@pytest.mark.parametrize(
    "over",
    [Adversarial(PGD), SparsityRegularised(0.1), OneStep(0.1, 0.1), TRADES(1.0, PGD), MART(1.0, PGD)],
    ids=lambda over: type(over).__name__,
)
def test_points_are_crafted_once_and_terms_are_the_objectives_own(over) -> None:
    model, x = Counting(3), images(6)
    over(model, x, Y, generator=draws())
    alone, model.passes = model.passes, 0
    over.inputs(model, x, Y, draws())
    crafting, model.passes = model.passes, 0
    terms, _ = next(WeightPerturbed(over, 0.01).updates(model, x, Y, generator=draws()))
    assert model.passes == 2 * alone - crafting
    assert set(terms) == set(over(model, x, Y, generator=draws())[0])


def test_a_loss_without_slope_moves_nothing() -> None:
    model, x = linear(), images(6).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    terms, _ = next(WeightPerturbed(Natural(), 0.5).updates(model, x, Y, generator=draws()))
    assert terms["cross_entropy"].isfinite().all()
    assert all(not p.any() for p in model.parameters())


def test_by_its_name_in_a_config() -> None:
    attack = TrainingAttackConfig("2/255", steps=2)
    made = build_objective(ObjectiveConfig("trades", lam=6.0, attack=attack, perturbation=0.005))
    assert isinstance(made, WeightPerturbed)
    assert isinstance(made.over, TRADES)
    assert (made.gamma, made.lam) == (0.005, 6.0)
    warm = ScheduleConfig("warm_up", {"epochs": 4})
    made = build_objective(ObjectiveConfig("sparsity", lam=0.4, schedule=warm, perturbation=0.01))
    assert isinstance(made, WeightPerturbed)
    assert made.over == Scheduled(SparsityRegularised(0.4), WarmUp(epochs=4))
    assert made.at(1, 8, ()) == WeightPerturbed(SparsityRegularised(0.1), 0.01)
    assert not made.needs_robust_validation
    assert build_objective(ObjectiveConfig("awp")) == WeightPerturbed(Natural(), 0.005)
    by_name = build_objective(ObjectiveConfig("awp", options={"gamma": 0.01}, attack=attack))
    assert by_name == build_objective(ObjectiveConfig("adversarial", attack=attack, perturbation=0.01))
    with pytest.raises(UserError, match=r"objective\.perturbation=0\.01.*inputs and at_points"):
        build_objective(ObjectiveConfig("clean_pairing", lam=0.1, options={"noise": 0.1}, perturbation=0.01))


def test_what_chooses_no_points_is_refused() -> None:
    with pytest.raises(UserError, match="inputs and at_points"):
        WeightPerturbed(AdversarialLogitPairing(1.0, PGD))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="gamma"):
        WeightPerturbed(Natural(), 0.0)
