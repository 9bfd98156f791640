"""Objectives where something is zero, exactly at a bound, or left at its default."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import batch_statistics, evaluating
from robustsnn.losses import cross_entropy
from robustsnn.objectives import (
    TRADES,
    Adversarial,
    AdversarialLogitPairing,
    ConvexShortcuts,
    Hire,
    Natural,
    OrthogonalRetraction,
    SparsityRegularised,
    trades,
)
from robustsnn.objectives.schedule import ByValidation, Constant, Cosine, Scheduled, WarmUp

Y = torch.tensor([0, 1, 2, 1])


def draws():
    return torch.Generator().manual_seed(0)


class Blind(Linear):
    """Linear, and the gradient of the first half of the pixels is zero."""

    def __init__(self):
        super().__init__(3)
        with torch.no_grad():
            self.weight[:, :8] = 0


@pytest.mark.parametrize("form", ["paper", "reference-code", "double-backward"])
def test_pixels_without_gradient_are_left_where_they_are(form):
    terms, _ = SparsityRegularised(1.0, h=0.01, form=form)(Blind(), images(4), Y, generator=draws())
    half = Linear(3, (1, 2, 4))
    half.weight.data, half.bias.data = Blind().weight[:, 8:].detach(), Blind().bias.detach()
    seen, _ = SparsityRegularised(1.0, h=0.01, form=form)(half, images(4)[:, :, 2:], Y, generator=draws())
    assert bool((terms["sparsity"] > 0).all())
    torch.testing.assert_close(terms["sparsity"], seen["sparsity"])


def test_noise_without_gradient_is_that_of_the_period_before():
    model, shown = spiking(steps=4), []
    read = model.read

    def dead_corner(code):
        shown.append(code.detach().clone())
        return read(torch.cat([code[..., :4].detach(), code[..., 4:]], -1))

    model.read = dead_corner
    for terms, _ in Hire(0.1, step=0.03).updates(model, images(4, (1, 8, 8)), Y, generator=draws()):
        next(iter(terms.values())).sum().backward()
    first, second = shown[0][0], shown[1][-1]
    assert torch.equal(first[..., :4], second[..., :4])
    assert not torch.equal(first[..., 4:], second[..., 4:])


@pytest.mark.parametrize("missing", ["inputs", "terms"])
def test_half_an_objective_cannot_be_wrapped(missing):
    half = type("Half", (Natural,), {missing: property(lambda _: getattr(None, missing))})()
    with pytest.raises(UserError, match="allowed is a PointObjective"):
        SparsityRegularised(0.1, half)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -0.1])
def test_weights_and_steps_are_finite(value):
    with pytest.raises(UserError, match=r"SparsityRegularised\(lam="):
        SparsityRegularised(value)
    with pytest.raises(UserError, match=r"SparsityRegularised\(h="):
        SparsityRegularised(0.0, h=value)
    with pytest.raises(UserError, match="h=0"):
        SparsityRegularised(0.0, h=0.0)


def test_trades_asks_the_network_that_is_attacked(monkeypatch):
    """p(x) is of the mode in which x' is crafted: with the statistics of the batch, where the attack has them."""
    asked = []

    class Kept(trades.DivergenceFrom):
        def __init__(self, logits, temperature):
            asked.append(logits)
            super().__init__(logits, temperature)

    monkeypatch.setattr(trades, "DivergenceFrom", Kept)
    model, x = spiking(), images(4, (1, 8, 8), low=0.0, high=1.0)
    model.train()
    with torch.no_grad(), evaluating(model):
        usual = model(x)
        with batch_statistics(model):
            of_batch = model(x)
    assert not torch.allclose(usual, of_batch)
    for statistics, expected in ((False, usual), (True, of_batch)):
        attack = replace(pgd(0.05, 1, keep="last"), batch_statistics=statistics)
        TRADES(1.0, attack).craft(model, x, Y, draws())
        torch.testing.assert_close(asked.pop(), expected)


def test_a_singular_value_at_the_limit_is_refused_and_one_below_is_not():
    # beta = 1/4: from s^2 = 1 + 2 / beta = 9 on, where s goes to -s and would grow beyond.
    layer = nn.Linear(1, 1, bias=False)
    retraction = OrthogonalRetraction(0.25)
    layer.weight.data.fill_(3.0)
    with pytest.raises(UserError, match="singular value"):
        retraction(layer, generator=draws())
    layer.weight.data.fill_(2.875)
    retraction(layer, generator=draws())
    assert layer.weight.item() == 2.875 * (1 + 0.25 * (1 - 2.875**2))
    # Of several values the largest decides, not their sum.
    wide = nn.Linear(2, 2, bias=False)
    wide.weight.data = torch.diag(torch.tensor([2.875, 2.875]))
    retraction(wide, generator=draws())
    wide.weight.data = torch.diag(torch.tensor([3.0, 1.0]))
    with pytest.raises(UserError, match="singular value"):
        retraction(wide, generator=draws())


def test_linears_move_in_parts_from_their_number_of_rows_on():
    def moved(outputs, **options):
        torch.manual_seed(0)
        layer = nn.Linear(4, outputs, bias=False)
        before = layer.weight.detach().clone()
        OrthogonalRetraction(0.1, **options)(layer, generator=draws())
        return int((layer.weight != before).any(1).sum())

    assert moved(199) == 199
    assert moved(200) == 60
    assert moved(3, rows=1, share=0.5) == 1
    assert moved(1, rows=1, share=0.1) == 1


@pytest.mark.parametrize("options", [{"share": 1.5}, {"share": 0.0}, {"rows": 0}], ids=str)
def test_parts_of_no_rows_or_more_than_all_are_refused(options):
    OrthogonalRetraction(0.1, share=1.0, rows=1)
    with pytest.raises(UserError, match=next(iter(options))):
        OrthogonalRetraction(0.1, **options)


def test_mixtures_are_parameters_and_those_of_modules_of_the_name():
    model = nn.Module()
    model.mix = nn.Parameter(torch.zeros(2))
    model.block = nn.Module()
    model.block.mix = nn.ParameterDict({"weight": torch.ones(2)})
    model.block.mix.deep = nn.Linear(2, 2)
    assert [p.shape for p in ConvexShortcuts().mixtures(model)] == [(2,), (2,)]


def test_defaults_are_those_of_the_sources():
    assert AdversarialLogitPairing(1.0, pgd(0.1, 1, keep="last")).share == 0.5
    assert TRADES(1.0, pgd(0.1, 1, keep="last")).temperature == 1.0
    rule = ByValidation()
    assert (rule.rate, rule.drop, rule.least, rule.most) == (1.25, 0.02, 1 / 16, 16.0)


def test_schedules_at_their_bounds():
    assert [WarmUp(epochs=1).factor(epoch, 3, ()) for epoch in range(3)] == [0, 1, 1]
    assert [s.needs_robust_validation for s in (Constant(), WarmUp(1), Cosine(), ByValidation())] == [False] * 3 + [
        True
    ]
    past = [{"validation": {"accuracy": a, "robust": 0.0}} for a in (0.75, 0.5)]
    assert ByValidation(drop=0.25).factor(2, 3, past) == 1.25  # a fall of `drop` itself is borne
    assert ByValidation(drop=0.24).factor(2, 3, past) == 1.0


@dataclass(frozen=True)
class Weighted:
    """Has a number, which is no lam."""

    weight: float = 1.0

    def __call__(self, model, x, y, *, generator):
        logits = model(x)
        return {"loss": cross_entropy(logits, y)}, logits


@pytest.mark.parametrize("objective", [Weighted(), Adversarial(pgd(0.1, 1, keep="last")), Natural()], ids=repr)
def test_what_has_no_lam_cannot_be_scheduled(objective):
    with pytest.raises(UserError, match="no weight `lam`"):
        Scheduled(objective, Constant())
