"""One-step SR*: its formula, its identity with the direction of SR, and its limits."""

from __future__ import annotations

import pytest
import torch

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks import Linf
from robustsnn.bench.trainee import REGIMES, UNITS
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy, true_probability
from robustsnn.objectives import OneStep, SparsityRegularised


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


X, Y = images(6, (1, 8, 8)), torch.arange(6) % 4


def gradients(model: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of cross-entropy and of the true class's probability."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    (of_loss,) = torch.autograd.grad(cross_entropy(logits, Y).sum(), leaf, retain_graph=True)
    (of_probability,) = torch.autograd.grad(true_probability(logits, Y).sum(), leaf)
    return of_loss, of_probability


@pytest.mark.parametrize(("lam", "noise", "alpha"), [(0.0, 1.0, 1.0), (0.3, 2.0, 1.25), (0.3, 0.0, 0.5)])
def test_it_is_the_formula(lam: float, noise: float, alpha: float) -> None:
    model, eps = spiking(), 8 / 255
    terms, logits = OneStep("8/255", lam, noise, alpha)(model, X, Y, generator=draws())
    start = Linf(noise * eps).sample(X, draws()) if noise else X
    moved = (start + alpha * eps * gradients(model, start)[0].sign()).clamp(0, 1)
    torch.testing.assert_close(logits, model(moved))
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(model(moved), Y))
    if lam:
        apart = true_probability(model(moved), Y) - true_probability(model(start), Y)
        torch.testing.assert_close(terms["sparsity"], lam * apart.abs() / (alpha * eps))
    else:
        assert set(terms) == {"cross_entropy"}


def test_the_step_of_fgsm_is_minus_the_direction_of_sparsity_regularisation() -> None:
    of_loss, of_probability = gradients(spiking(2), X)
    assert torch.equal(of_loss.sign(), -of_probability.sign())


def test_without_noise_the_penalty_is_that_of_sr_a_step_the_other_way() -> None:
    """On a linear model both quotients tend to the l1 norm of the gradient of f_y."""
    model, x, y = Linear(3).double(), images(5).double(), torch.tensor([0, 1, 2, 0, 1])
    one, _ = OneStep(1e-4, 1.0, noise=0.0)(model, x, y, generator=draws())
    other, _ = SparsityRegularised(1.0, h=1e-4)(model, x, y, generator=draws())
    torch.testing.assert_close(one["sparsity"], other["sparsity"], rtol=1e-3, atol=0)


def test_it_costs_two_forwards() -> None:
    model = Counting(3)
    OneStep("8/255", 0.1)(model, images(5), torch.tensor([0, 1, 2, 0, 1]), generator=draws())
    assert model.passes == 2 * 5
    assert UNITS["one-step SR*"] == UNITS["SR"]
    assert isinstance(REGIMES["one-step SR*"], OneStep)


def test_both_ends_carry_gradient_and_the_direction_does_not() -> None:
    model, x, y = Linear(3).double(), images(4).double(), torch.tensor([0, 1, 2, 0])
    weight = next(model.parameters())
    terms, _ = OneStep(0.1, 1.0, noise=0.0)(model, x, y, generator=draws())
    (found,) = torch.autograd.grad(terms["sparsity"].sum(), weight)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)
    ends = true_probability(model(x + 0.1 * g.sign()), y) - true_probability(model(x), y)
    (wanted,) = torch.autograd.grad(ends.abs().sum() / 0.1, weight)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"eps": 0.0}, "eps=0.0"),
        ({"eps": "300/255"}, "eps"),
        ({"eps": 0.1, "lam": -1.0}, "lam=-1.0"),
        ({"eps": 0.1, "alpha": 0.0}, "alpha=0.0"),
        ({"eps": 0.1, "noise": -1.0}, "noise=-1.0"),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        OneStep(**arguments)
