"""Logit pairing: which images are paired, and what a pair costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import images, spiking
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.objectives import AdversarialLogitPairing, CleanLogitPairing, Natural

Y = torch.tensor([0, 1, 2, 3, 1, 2])
ATTACK = pgd(0.1, 3, keep="last")


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_adversarial_pairs_are_images_and_their_attacked_twins(share):
    model, x = spiking(), images(6, (1, 8, 8))
    terms, logits = AdversarialLogitPairing(0.7, ATTACK, share=share)(model, x, Y, generator=draws())
    z, w = model(x), model(ATTACK(model, x, Y, generator=draws()))
    torch.testing.assert_close(terms["pairing"], 0.7 * ((z - w) ** 2).sum(1))
    torch.testing.assert_close(terms["cross_entropy"], share * cross_entropy(z, Y) + (1 - share) * cross_entropy(w, Y))
    torch.testing.assert_close(logits, z)


def test_batch_norms_see_clean_and_attacked_images_in_one_batch():
    model, x = spiking().train(), images(6, (1, 8, 8))
    seen = []

    def note(module, given):
        if module.training:
            seen.append(len(given[0]))

    hook = model.register_forward_pre_hook(note)
    AdversarialLogitPairing(0.7, ATTACK)(model, x, Y, generator=draws())
    hook.remove()
    assert seen == [12]


class Number(nn.Module):
    """The first pixel as first logit; remembers what it was shown."""

    def forward(self, x):
        self.shown = x
        return torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], 1)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 9), seed=st.integers(0, 2**20))
def test_clean_pairs_are_one_cycle_through_the_batch(n, seed):
    numbers = 2.0 ** torch.arange(n)  # each difference tells its pair
    x = numbers[:, None, None, None].expand(n, 1, 2, 2)
    terms, _ = CleanLogitPairing(1.0, 0.0)(Number(), x, torch.zeros(n, dtype=torch.int64), generator=draws(seed))
    distances = (numbers[:, None] - numbers).square()
    partner = [[j for j in range(n) if distances[i, j] == terms["pairing"][i]] for i in range(n)]
    assert all(len(found) == 1 for found in partner)
    at, visited = 0, set()
    while at not in visited:
        visited.add(at)
        at = partner[at][0]
    assert len(visited) == n


def test_different_draws_pair_differently():
    x = (2.0 ** torch.arange(9))[:, None, None, None].expand(9, 1, 2, 2)
    y = torch.zeros(9, dtype=torch.int64)
    found = [CleanLogitPairing(1.0, 0.0)(Number(), x, y, generator=draws(seed))[0]["pairing"] for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_noise_is_gaussian_of_the_given_size():
    model, x = Number(), torch.full((50, 1, 20, 20), 0.5)
    CleanLogitPairing(1.0, 0.2)(model, x, torch.zeros(50, dtype=torch.int64), generator=draws())
    noise = (model.shown - x) / 0.2
    assert abs(noise.mean().item()) < 4 / 20_000**0.5
    assert abs(noise.std().item() - 1) < 4 / 40_000**0.5
    assert abs((noise**4).mean().item() - 3) < 0.3  # normal and not uniform


def test_without_noise_and_weight_it_is_natural_training():
    model, x = spiking(), images(6, (1, 8, 8))
    terms, logits = CleanLogitPairing(0.0, 0.0)(model, x, Y, generator=draws())
    expected, _ = Natural()(model, x, Y, generator=draws())
    torch.testing.assert_close(terms["cross_entropy"], expected["cross_entropy"])
    assert torch.equal(terms["pairing"], torch.zeros(6))
    assert torch.equal(logits, model(x))


def test_a_batch_of_one_has_no_pair():
    terms, _ = CleanLogitPairing(1.0, 0.1)(spiking(), images(1, (1, 8, 8)), Y[:1], generator=draws())
    assert torch.equal(terms["pairing"], torch.zeros(1))


def test_bad_arguments():
    for make in (
        lambda: AdversarialLogitPairing(-1.0, ATTACK),
        lambda: AdversarialLogitPairing(1.0, ATTACK, share=1.5),
        lambda: CleanLogitPairing(float("nan"), 0.1),
        lambda: CleanLogitPairing(1.0, -0.1),
    ):
        with pytest.raises(UserError, match="LogitPairing"):
            make()
