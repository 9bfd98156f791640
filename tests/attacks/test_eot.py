"""Expectation over transformation: gradients of random models are means over draws."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import Attack, Linf, Streams, apgd, pgd
from robustsnn.attacks.step import GradientStep
from robustsnn.losses import correct, margin, targeted_margin
from robustsnn.neurons import ASSG, Memory
from robustsnn.seeds import seeded


class Shaky(nn.Module):
    """Linear in the image times noise of mean 1: its expected margin is that of the linear model."""

    def __init__(self, inner, spread=1.0):
        super().__init__()
        self.inner, self.spread = inner, spread

    def forward(self, x):
        return self.inner(x * (1 + self.spread * (torch.rand_like(x) - 0.5)))


@dataclass(frozen=True)
class Recording:
    """Stays where it is and writes down the gradients that it is shown."""

    seen: list = field(default_factory=list, compare=False)
    label = "recording"

    def init(self, z):
        return ()

    def update(self, state, now):
        self.seen.append(now.gradient)
        return now.z, state


def gradients(model, x, y, draws, **options):
    step = Recording()
    with seeded(0, "test", draws):
        Attack(Linf(0.0), step, loss=margin, steps=1, keep="last", draws=draws, **options).run(model, x, y)
    return step.seen[0]


def test_the_mean_gradient_tends_to_the_true_one_as_one_over_root_draws():
    linear, x = Linear(2), images(30)
    y = linear(x).argmax(1)
    w = (linear.weight[1 - y] - linear.weight[y]).detach().view_as(x)
    spread = w.abs() / 12**0.5  # standard deviation of uniform noise of width 1, times |w|
    z_scores = {
        draws: ((gradients(Shaky(linear), x, y, draws) - w) / (spread / draws**0.5)).flatten() for draws in (1, 16, 400)
    }
    for draws, scores in z_scores.items():
        assert scores.std() == pytest.approx(1, abs=0.15)
        assert abs(scores.mean()) < 0.2
        assert scores.abs().max() < (3**0.5 + 1e-4 if draws == 1 else 5)


def test_draws_change_nothing_for_a_model_that_repeats_itself():
    model, x = Linear(4), images(20)
    y = model(x).argmax(1)
    for attack in (
        pgd(0.03, 4, restarts=2),
        apgd(0.03, 6),
        Attack(Linf(0.03), GradientStep(0.03), loss=targeted_margin, steps=2, targets=3),
    ):
        once = attack.run(model, x, y, generator=Streams(range(20)))
        twice = replace(attack, draws=2).run(model, x, y, generator=Streams(range(20)))  # halves add up exactly
        assert torch.equal(once.images, twice.images)
        assert torch.equal(2 * once.forwards, twice.forwards)
        assert torch.equal(2 * once.backwards, twice.backwards)


def test_a_rules_memory_moves_at_the_first_draw_alone(monkeypatch):
    model, x = spiking(), images(16, (1, 8, 8))
    y = model(x).argmax(1)
    attack = replace(pgd(0.02, 8, rule=ASSG(), loss=margin, keep="last"), draws=1)

    def found(draws):
        return replace(attack, draws=draws).run(model, x, y, generator=Streams(range(16))).images

    once = found(1)
    assert torch.equal(found(2), once)
    assert torch.equal(found(4), once)
    monkeypatch.setattr(Memory, "hold", lambda self, held: None)
    assert not torch.equal(found(4), once)


class Coin(nn.Module):
    """Right or wrong by lot at a known probability, per sample and pass, whatever the image."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def forward(self, x):
        lot = (torch.rand(len(x)) < self.wrong).float()
        return torch.stack([1 - lot, lot], 1) + 0 * x.flatten(1).sum(1, keepdim=True)


def test_a_sample_is_left_alone_once_all_draws_misclassify_it():
    x, y = images(400), torch.zeros(400, dtype=torch.int64)
    attack = Attack(Linf(0.05), GradientStep(0.01), steps=1, draws=2)
    with seeded(3, "coin"):
        attempt = attack.run(Coin(0.5), x, y)
    # Both draws are wrong for a quarter: those are not moved, and not looked at again.
    stopped = attempt.forwards == 2
    assert 60 < int(stopped.sum()) < 140
    assert torch.equal(attempt.images[stopped], x[stopped])
    assert set(attempt.forwards.tolist()) == {2, 4}
    assert set(attempt.backwards.tolist()) == {2}


def test_more_draws_break_more_of_a_shaky_model():
    """Against strong noise the signs of one draw are often wrong; those of the mean are not."""
    linear, x = Linear(2), images(80)
    y = linear(x).argmax(1)
    noisy = Shaky(linear, spread=4.0)
    best = margin(linear(x), y) + 0.05 * (linear.weight[1] - linear.weight[0]).abs().sum()
    reached = {}
    for draws in (1, 64):
        with seeded(0, "test"):
            z = Attack(Linf(0.05), GradientStep(0.05), loss=margin, steps=1, keep="last", draws=draws)(noisy, x, y)
        reached[draws] = margin(linear(z), y)
    assert (best - reached[64]).mean() < 0.3 * (best - reached[1]).mean()
    assert int((~correct(linear(x + 0), y)).sum()) == 0
