"""TRADES: the divergence, the inner ascent of it, and both ends of the outer one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Linear, images, spiking
from robustsnn.attacks import Linf, pgd
from robustsnn.ground.errors import UserError
from robustsnn.losses import DivergenceFrom, cross_entropy, divergence
from robustsnn.objectives import TRADES, Adversarial


def draws():
    return torch.Generator().manual_seed(0)


Y = torch.tensor([0, 1, 2, 0, 1, 2])
ATTACK = pgd(0.1, 4, keep="last")


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**20), temperature=st.floats(0.3, 5), size=st.floats(0.1, 40))
def test_divergence_is_kullback_leibler(seed, temperature, size):
    z, w = size * torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(seed))
    logs = [F.log_softmax(v.double() / temperature, 1) for v in (z, w)]
    expected = F.kl_div(logs[1], logs[0], reduction="none", log_target=True).sum(1).float()
    torch.testing.assert_close(divergence(z, w, temperature), expected, rtol=1e-3, atol=1e-4)
    assert divergence(z, w, temperature).min() > -1e-5
    torch.testing.assert_close(divergence(z, z + 3, temperature), torch.zeros(7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_terms_are_the_formula_with_gradient_at_both_ends(temperature):
    model, x = Linear(3), images(6)
    objective = TRADES(3.0, ATTACK, temperature=temperature)
    terms, logits = objective(model, x, Y, generator=draws())
    attacked = objective.craft(model, x, Y, draws())
    z, w = model(x), model(attacked)
    p, q = ((v / temperature).softmax(1) for v in (z, w))
    moved = 3 * temperature**2 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(terms["divergence"], moved)
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(z, Y))
    assert torch.equal(logits, z)
    found = torch.autograd.grad(terms["divergence"].sum(), model.weight)[0]
    expected = torch.autograd.grad(moved.sum(), model.weight, retain_graph=True)[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    half = torch.autograd.grad(divergence(z.detach(), w, temperature).sum(), model.weight)[0]
    assert not torch.allclose(3 * temperature**2 * half, expected, rtol=0.1, atol=1e-3)


def test_crafting_ascends_the_divergence_within_the_threat_whatever_the_label():
    model, x = spiking(), images(6, (1, 8, 8))
    objective = TRADES(1.0, ATTACK)
    attacked = objective.craft(model, x, Y, draws())
    assert torch.equal(attacked, objective.craft(model, x, (Y + 1) % 3, draws()))
    assert not torch.equal(attacked, ATTACK(model, x, Y, generator=draws()))  # not the ascent of cross-entropy
    assert Linf(0.1).distance(attacked, x).max() <= 0.1 + 1e-6
    random = Linf(0.1).sample(x, draws())
    assert divergence(model(x), model(attacked)).mean() > 2 * divergence(model(x), model(random)).mean()


def test_a_batch_of_one_is_crafted_as_in_company():
    """In eval mode samples do not see each other, so each ascends from its own clean prediction."""
    model, x = Linear(3), images(6)
    objective = TRADES(1.0, pgd(0.1, 4, random_start=True, keep="last"))
    for i in range(3):
        alone = objective.craft(model, x[i : i + 1], Y[i : i + 1], draws())
        together = objective.craft(model, x[[i, 5]], Y[[i, 5]], draws())[:1]
        torch.testing.assert_close(alone, together)


def test_crafting_leaves_the_model_as_it_was():
    model, x = spiking().train(), images(6, (1, 8, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    TRADES(1.0, ATTACK).craft(model, x, Y, draws())
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_step_makes_no_pass_too_many():
    model, x = spiking(), images(6, (1, 8, 8))
    calls = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    TRADES(1.0, ATTACK)(model, x, Y, generator=draws())
    hook.remove()
    assert len(calls) == 1 + 4 + 2


def test_over_adversarial_the_first_term_is_at_the_attacked_images():
    model, x = spiking(), images(6, (1, 8, 8))
    inner = pgd(0.05, 2, random_start=False, keep="last")
    fixed = pgd(0.1, 3, random_start=False, keep="last")
    there, _ = TRADES(1.0, fixed, Adversarial(inner))(model, x, Y, generator=draws())
    plain, _ = TRADES(1.0, fixed)(model, inner(model, x, Y), Y, generator=draws())
    torch.testing.assert_close(there["cross_entropy"], plain["cross_entropy"])


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="keep='last'"):
        TRADES(1.0, pgd(0.1, 3))
    with pytest.raises(UserError, match="lam"):
        TRADES(-1.0, ATTACK)
    with pytest.raises(UserError, match="temperature"):
        TRADES(1.0, ATTACK, temperature=0.0)
    with pytest.raises(UserError, match="the samples must be the same"):
        DivergenceFrom(torch.zeros(3, 2))(torch.zeros(2, 2), Y[:2])
