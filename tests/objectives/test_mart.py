"""MART: the boosted cross-entropy, and the weight of an image that is wrong anyway."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Linear, images
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.losses import boosted_cross_entropy
from robustsnn.objectives import MART

Y = torch.tensor([0, 1, 2, 0, 1, 2])
ATTACK = pgd(0.1, 3, keep="last")


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**20), size=st.floats(0.1, 8), classes=st.integers(2, 6))
def test_boosted_cross_entropy_is_its_formula(seed, size, classes):
    draws = torch.Generator().manual_seed(seed)
    z = size * torch.randn(5, classes, generator=draws, dtype=torch.float64)
    y = torch.randint(classes, (5,), generator=draws)
    p = z.softmax(1)
    true = p.gather(1, y[:, None])[:, 0]
    rival = p.scatter(1, y[:, None], 0).amax(1)
    torch.testing.assert_close(boosted_cross_entropy(z, y), -true.log() - (1 - rival).log())


def test_it_stays_exact_where_one_minus_p_is_nothing():
    """p_rival = 1 - 2e-35: in float32 1 - p is 0 and its logarithm infinite."""
    z = torch.tensor([[0.0, 80.0, 0.0]], requires_grad=True)
    loss = boosted_cross_entropy(z, torch.tensor([0]))
    torch.testing.assert_close(loss.detach(), torch.tensor([80.0 + 80.0 - torch.tensor(2.0).log().item()]))
    (slope,) = torch.autograd.grad(loss.sum(), z)
    torch.testing.assert_close(slope, torch.tensor([[-1.5, 2.0, -0.5]]))


def test_terms_are_the_formula():
    model, x = Linear(3), images(6)
    objective = MART(5.0, ATTACK)
    terms, logits = objective(model, x, Y, generator=torch.Generator().manual_seed(0))
    there = ATTACK(model, x, Y, generator=torch.Generator().manual_seed(0))
    p, q = model(x).softmax(1), model(there).softmax(1)
    apart = F.kl_div(q.log(), p, reduction="none").sum(1)
    wrong = 1 - p.gather(1, Y[:, None])[:, 0]
    torch.testing.assert_close(terms["divergence"], 5 * apart * wrong)
    torch.testing.assert_close(terms["boosted"], boosted_cross_entropy(model(there), Y))
    assert torch.equal(logits, model(x))


def test_wrong_numbers_are_refused():
    with pytest.raises(UserError, match="lam"):
        MART(-1.0, ATTACK)
