"""Objectives: their formulas, their limits on linear models, and what a step costs."""

import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.objectives import Adversarial, Natural, SparsityRegularised


def draws():
    return torch.Generator().manual_seed(0)


def batch(n=6, image=(1, 8, 8), classes=4):
    return images(n, image), torch.arange(n) % classes


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_sparsity_is_the_formula_of_the_paper(lam):
    model, (x, y) = spiking(), batch()
    terms, logits = SparsityRegularised(lam, h=0.05)(model, x, y, generator=draws())
    leaf = x.clone().requires_grad_()
    f = torch.softmax(model(leaf), 1)[torch.arange(6), y]
    (g,) = torch.autograd.grad(f.sum(), leaf)
    moved = torch.softmax(model(x + 0.05 * g.sign()), 1)[torch.arange(6), y]
    torch.testing.assert_close(terms["sparsity"], lam * (moved - f).abs() / 0.05)
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(model(x), y))
    torch.testing.assert_close(logits, model(x))


def test_reference_code_form_is_squared_and_two_way():
    model, (x, y) = spiking(1), batch()
    terms, _ = SparsityRegularised(0.3, h=0.05, form="reference-code")(model, x, y, generator=draws())
    leaf = x.clone().requires_grad_()
    z = model(leaf)
    other = z.clone()
    other[torch.arange(6), y] = -torch.inf
    j = other.argmax(1)

    def f(z):
        a, b = z[torch.arange(6), y].exp(), z[torch.arange(6), j].exp()
        return a / (a + b)

    (g,) = torch.autograd.grad(f(z).sum(), leaf)
    expected = 0.3 * ((f(model(x + 0.05 * g.sign())) - f(z)) / 0.05) ** 2
    torch.testing.assert_close(terms["sparsity"], expected)


def test_reference_code_form_does_not_overflow():
    class Loud(nn.Module):
        def forward(self, x):
            return torch.stack([900 * x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)

    terms, _ = SparsityRegularised(1.0, form="reference-code")(
        Loud(), images(3), torch.zeros(3, dtype=torch.int64), generator=draws()
    )
    assert bool(terms["sparsity"].isfinite().all())


def test_difference_quotient_tends_to_the_l1_norm_of_the_gradient():
    model, x = Linear(3).double(), images(5).double()
    y = torch.tensor([0, 1, 2, 0, 1])
    leaf = x.clone().requires_grad_()
    f = torch.softmax(model(leaf), 1)[torch.arange(5), y]
    norm = torch.autograd.grad(f.sum(), leaf)[0].abs().flatten(1).sum(1)

    errors = []
    for h in (1e-1, 1e-2, 1e-3):
        terms, _ = SparsityRegularised(1.0, h=h)(model, x, y, generator=draws())
        errors.append((terms["sparsity"] - norm).abs().max().item())
    assert errors[1] < errors[0] / 4
    assert errors[2] < 0.01 * norm.max()


def test_the_gradient_reaches_both_ends_and_not_the_direction():
    model, x = Linear(3).double(), images(4).double()
    y = torch.tensor([0, 1, 2, 0])
    terms, _ = SparsityRegularised(1.0, h=0.05)(model, x, y, generator=draws())
    got = torch.autograd.grad(terms["sparsity"].sum(), model.weight)[0]
    leaf = x.clone().requires_grad_()
    f = lambda x: torch.softmax(model(x), 1)[torch.arange(4), y]  # noqa: E731
    d = torch.autograd.grad(f(leaf).sum(), leaf)[0].sign()
    expected = torch.autograd.grad(((f(x + 0.05 * d) - f(x)).abs() / 0.05).sum(), model.weight)[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


class Counting(nn.Module):
    """Counts forward passes, and backward passes that reach the input."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.forwards, self.weights = inner, 0, 0
        first = next(m for m in inner.modules() if isinstance(m, nn.Conv2d))
        first.weight.register_hook(lambda g: setattr(self, "weights", self.weights + 1) or None)

    def forward(self, x):
        self.forwards += 1
        return self.inner(x)


@pytest.mark.parametrize(
    ("objective", "forwards"),
    [
        (Natural(), 1),
        (SparsityRegularised(0.1), 2),
        (Adversarial(pgd(0.1, 5, keep="last")), 6),
        (SparsityRegularised(0.1, Adversarial(pgd(0.1, 5, keep="last"))), 7),
    ],
)
def test_a_step_makes_no_pass_too_many(objective, forwards):
    model, (x, y) = Counting(spiking().train()), batch()
    terms, _ = objective(model, x, y, generator=draws())
    assert model.forwards == forwards
    assert model.weights == 0  # no weight gradient before the loss is differentiated
    assert all(p.grad is None for p in model.parameters())
    sum(t.mean() for t in terms.values()).backward()
    assert model.weights == 1
    assert all(t.shape == (6,) for t in terms.values())


def test_adversarial_trains_on_the_attacked_images_in_train_mode():
    model, (x, y) = spiking().train(), batch()
    attack = pgd(0.1, 3, keep="last")
    z = attack(model, x, y, generator=draws())
    statistics = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    terms, _ = Adversarial(attack)(model, x, y, generator=draws())
    assert model.training
    after = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    # One training forward moved the statistics; crafting did not.
    model.load_state_dict(statistics, strict=False)
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(model(z), y))
    for k, v in model.state_dict().items():
        if "running" in k:
            torch.testing.assert_close(v, after[k])


def test_sparsity_over_adversarial_is_sparsity_at_the_attacked_images():
    model, (x, y) = spiking(), batch()
    attack = pgd(0.1, 3, keep="last")
    star, _ = SparsityRegularised(0.2, Adversarial(attack))(model, x, y, generator=draws())
    plain, _ = SparsityRegularised(0.2)(model, attack(model, x, y, generator=draws()), y, generator=draws())
    for name in ("cross_entropy", "sparsity"):
        torch.testing.assert_close(star[name], plain[name])


def test_lambda_zero_has_the_gradient_of_the_wrapped_objective():
    model, (x, y) = spiking(), batch()
    grads = []
    for objective in (Natural(), SparsityRegularised(0.0)):
        terms, _ = objective(model, x, y, generator=draws())
        grads.append(torch.autograd.grad(sum(t.mean() for t in terms.values()), list(model.parameters())))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "bad", [{"lam": -1.0}, {"lam": float("nan")}, {"lam": 1.0, "h": 0.0}, {"lam": 1.0, "form": "x"}]
)
def test_bad_arguments(bad):
    with pytest.raises(UserError):
        SparsityRegularised(**bad)
