"""Input-gradient regularisation: its formula, its limit, and how it is tied to SR."""

from __future__ import annotations

import math

import pytest
import torch

from helpers import Linear, images, spiking
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy, true_probability
from robustsnn.objectives import Adversarial, GradientRegularised, SparsityRegularised


def draws():
    return torch.Generator().manual_seed(0)


Y = torch.tensor([0, 1, 2, 0, 1])


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_it_is_the_formula(norm):
    model, x = spiking(), images(5, (1, 8, 8))
    terms, logits = GradientRegularised(0.3, h=0.05, norm=norm)(model, x, Y, generator=draws())
    leaf = x.clone().requires_grad_()
    here = cross_entropy(model(leaf), Y)
    (g,) = torch.autograd.grad(here.sum(), leaf)
    d = g / g.square().sum((1, 2, 3), keepdim=True).sqrt() if norm == "l2" else g.sign() / 8
    torch.testing.assert_close(d.flatten(1).norm(dim=1), torch.ones(5), rtol=0.1, atol=0)
    expected = 0.15 * ((cross_entropy(model(x + 0.05 * d), Y) - here) / 0.05) ** 2
    torch.testing.assert_close(terms["gradient"], expected)
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(model(x), Y))
    assert torch.equal(logits, model(x))


@pytest.mark.parametrize(("norm", "order", "scale"), [("l2", 2, 1.0), ("l1", 1, 4.0)])
def test_the_quotient_tends_to_the_norm_of_the_gradient(norm, order, scale):
    model, x = Linear(3), images(5)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(leaf), Y).sum(), leaf)
    expected = g.flatten(1).norm(order, dim=1) / scale
    terms, _ = GradientRegularised(2.0, h=2e-3, norm=norm)(model, x, Y, generator=draws())
    torch.testing.assert_close(terms["gradient"].sqrt(), expected, rtol=0.01, atol=1e-3)


def test_sr_is_gr_of_the_cross_entropy_times_the_probability():
    """grad CE = -grad f / f, so ||grad f||_1 = f sqrt(N) (GR's quotient), sample by sample."""
    model, x = Linear(3), images(5)
    lam, h = 2.0, 1e-3
    gr, logits = GradientRegularised(lam, h=h * math.sqrt(16), norm="l1")(model, x, Y, generator=draws())
    sr, _ = SparsityRegularised(1.0, h=h)(model, x, Y, generator=draws())
    quotient = (2 * gr["gradient"] / lam).sqrt()
    f = true_probability(logits, Y)
    assert f.max() / f.min() > 1.5  # the factor is seen
    torch.testing.assert_close(f * math.sqrt(16) * quotient, sr["sparsity"], rtol=0.02, atol=1e-3)


def test_over_adversarial_it_is_taken_at_the_attacked_images():
    model, x = spiking(), images(5, (1, 8, 8))
    attack = pgd(0.1, 3, keep="last")
    star, _ = GradientRegularised(0.2, Adversarial(attack))(model, x, Y, generator=draws())
    plain, _ = GradientRegularised(0.2)(model, attack(model, x, Y, generator=draws()), Y, generator=draws())
    for name in ("cross_entropy", "gradient"):
        torch.testing.assert_close(star[name], plain[name])


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_a_gradient_of_zero_costs_nothing(norm):
    model = Linear(3)
    model.weight.data.zero_()
    terms, _ = GradientRegularised(1.0, norm=norm)(model, images(5), Y, generator=draws())
    assert torch.equal(terms["gradient"], torch.zeros(5))
    terms["gradient"].sum().backward()
    assert torch.equal(model.weight.grad, torch.zeros_like(model.weight))


@pytest.mark.parametrize("bad", [{"lam": -1.0}, {"lam": math.inf}, {"lam": 1.0, "h": 0.0}, {"lam": 1.0, "norm": "x"}])
def test_bad_arguments(bad):
    with pytest.raises(UserError, match="GradientRegularised"):
        GradientRegularised(**bad)
