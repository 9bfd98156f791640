"""Expectation over transformation: gradients of random models are means over draws."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import (
    L2,
    Attack,
    CornerSearch,
    Linf,
    MinimumNorm,
    RandomSearch,
    RayS,
    Square,
    Streams,
    Transfer,
    apgd,
    autoattack,
    pgd,
    reliable,
)
from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.passes import differentiate, judged
from robustsnn.attacks.sparse import Flips, SparseFlips
from robustsnn.attacks.step import GradientStep
from robustsnn.attacks.transfer import Source
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import seeded
from robustsnn.losses import correct, margin, targeted_margin
from robustsnn.neurons import ASSG, Memory


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


# Attackers with a search of their own

SEARCHES = [
    RandomSearch(Linf(0.03), "corners", 30),
    Square(Linf(0.02), 40),
    RayS(Linf(0.02), 40),
    CornerSearch(Linf(0.02), 40),
    Square(L2(0.1), 40),
    MinimumNorm(Linf(0.02), steps=8, restarts=2),
    MinimumNorm(L2(0.05), steps=8, targets=2),
    SparseFlips(Flips(3), rounds=10),
]
each_search = pytest.mark.parametrize("attack", SEARCHES, ids=lambda a: f"{a.label}-{a.threat.norm}")


def inputs(attack, n=30):
    x = images(n)
    return x.round() if isinstance(attack, SparseFlips) else x


class Lucky(nn.Module):
    """A model that misclassifies at chance in a share of the passes of each sample, and counts the passes."""

    def __init__(self, inner, wrong):
        super().__init__()
        self.inner, self.wrong, self.passes = inner, wrong, 0

    def forward(self, x):
        self.passes += len(x)
        return self.inner(x) * (1 - 2 * (torch.rand(len(x), 1) < self.wrong).float())


@each_search
def test_draws_change_nothing_in_the_search_of_a_model_that_repeats_itself(attack):
    x = inputs(attack)
    model = Linear(3)
    y = model(x).argmax(1)
    once = attack.run(model, x, y, generator=Streams(range(30)))
    assert torch.equal(replace(attack, draws=1).run(model, x, y, generator=Streams(range(30))).images, once.images)
    twice = replace(attack, draws=2).run(model, x, y, generator=Streams(range(30)))  # halves add up exactly
    assert torch.equal(once.images, twice.images)
    assert torch.equal(2 * once.forwards, twice.forwards)
    assert torch.equal(2 * once.backwards, twice.backwards)


@each_search
def test_one_unlucky_draw_gives_up_no_sample_and_all_passes_are_counted(attack):
    attack = replace(attack, threat=replace(attack.threat, eps=1 if attack.threat.norm == "L0" else 1e-4))
    x = inputs(attack, 60)
    linear = Linear(2)
    y = linear(x).argmax(1)
    far = (margin(linear(x), y).abs() > 0.5 * margin(linear(x), y).abs().median()).nonzero()[:, 0]
    x, y = x[far], y[far]
    left = {}
    for draws in (1, 10):
        model = Lucky(linear, 0.3)  # ten wrong draws in a row: 6e-6
        with seeded(0, "lucky"):
            attempt = replace(attack, draws=draws).run(model, x, y, generator=Streams(range(len(x))))
        assert int(attempt.forwards.sum()) == model.passes
        assert set((attempt.forwards % draws).tolist()) == {0}
        left[draws] = int((attempt.forwards == draws).sum())
    assert left[1] > 0.15 * len(x)  # given up at the clean image, by a single draw
    assert left[10] == 0


@each_search
def test_draws_of_a_search_are_named_where_there_are_several(attack):
    names = {"Linf": Linf, "L2": L2, "Flips": Flips} | {type(a).__name__: type(a) for a in SEARCHES}
    assert "draws" not in repr(attack)
    many = replace(attack, draws=10)
    assert repr(many) == repr(attack)[:-1] + ", draws=10)"
    assert eval(repr(many), names) == many != attack
    assert many.label == attack.label
    with pytest.raises(UserError, match="draws=0"):
        replace(attack, draws=0)


class Half(nn.Module):
    """NaN in every second pass."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.passes = inner, 0

    def forward(self, x):
        self.passes += 1
        logits = self.inner(x)
        return logits * torch.nan if self.passes % 2 else logits


@each_search
def test_nan_in_some_draws_breaks_nothing_and_leaves_images_clean_of_it(attack):
    x = inputs(attack)
    model = Linear(3)
    y = model(x).argmax(1)
    attack = replace(attack, threat=replace(attack.threat, eps=0 * attack.threat.eps), draws=2)
    attempt = attack.run(Half(model), x, y)
    torch.testing.assert_close(attempt.images, x, rtol=0, atol=1e-6)
    assert bool((attempt.forwards > 2).all()) or attack.threat.norm == "L0"
    everything = replace(attack, draws=1).run(nn.Sequential(model, nn.Threshold(torch.inf, torch.nan)), x, y)
    assert everything.forwards.tolist() == [1] * 30  # all NaN: misclassified


def test_with_draws_reaches_every_member_and_keeps_the_price_of_square():
    source = Source("a", Linear(4))
    for suite in (reliable(0.03, sources=(source,)), autoattack(0.03)):
        changed = suite.with_draws(10)
        pairs = list(zip(suite.members(), changed.members(), strict=True))
        assert len(pairs) == len(suite.members())
        for (_, before), (_, after) in pairs:
            inner = after.attack if isinstance(after, Transfer) else after
            assert inner.draws == 10
            if isinstance(after, Square | RayS | CornerSearch):
                assert after.queries * after.draws == before.queries
            elif isinstance(after, Transfer):
                assert after == replace(before, attack=replace(before.attack, draws=10))
            else:
                assert after == replace(before, draws=10)
        assert changed.with_draws(3) == changed  # an explicit number stays
    assert reliable(0.03).with_draws(1) == reliable(0.03)


def test_a_query_and_a_gradient_are_means_and_one_right_draw_keeps_the_sample():
    class Turning(Linear):
        """Multiplies its logits by 1, -3, 1, -3, ..."""

        passes = 0

        def forward(self, x):
            self.passes += 1
            return super().forward(x) * (1 if self.passes % 2 else -3)

    model, plain, x = Turning(2), Linear(2), images(10)
    y = plain(x).argmax(1)
    w = (plain.weight[1 - y] - plain.weight[y]).detach().view_as(x)
    attempt, at = Attempt.none(x), torch.arange(10)
    slope = differentiate(model, x, y, lambda z: margin(z, y), 2, Memory([]), attempt, at)
    verdict = judged(model, x, y, 2)
    torch.testing.assert_close(slope.gradient, -w)
    torch.testing.assert_close(verdict.logits, -plain(x).detach())
    for value in (slope.loss, slope.margin, verdict.loss):
        torch.testing.assert_close(value, -margin(plain(x), y).detach())
    assert bool(slope.stands.all())
    assert bool(verdict.stands.all())
    model.forward(x)  # now the first draw is the wrong one
    assert not bool(judged(model, x, y, 1).stands.any())


def test_the_last_point_is_compared_by_the_mean_loss_of_its_draws_too():
    class Torn(nn.Module):
        """Margin -0.5 at x = 0.5; elsewhere -0.1 in each draw by turns of the rivals, -3.05 in the mean logits."""

        passes = 0

        def forward(self, x):
            self.passes += 1
            rivals = [0.9, -5.0] if self.passes % 2 else [-5.0, 0.9]
            moved = (x != 0.5).flatten(1).any(1, keepdim=True)
            z = torch.where(moved, torch.tensor([1.0, *rivals]), torch.tensor([1.0, 0.5, 0.5]))
            return z + 0 * x.flatten(1).sum(1, keepdim=True)

    x, y = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    for loss, targets in ((margin, 0), (targeted_margin, 1)):
        attack = Attack(Linf(0.1), GradientStep(0.1), loss=loss, steps=1, draws=2, targets=targets)
        assert not bool((attack(Torn(), x, y) == x).flatten(1).all(1).any())


@pytest.mark.parametrize("attack", [MinimumNorm(Linf(0.02), ASSG(), steps=6), SparseFlips(Flips(4), ASSG(), rounds=6)])
def test_a_rules_memory_moves_at_the_first_draw_of_a_search_alone(attack, monkeypatch):
    model, x = spiking(), images(16, (1, 8, 8), low=0.0, high=1.0)
    x = x.round() if isinstance(attack, SparseFlips) else x
    y = model(x).argmax(1)

    def found(draws):
        return replace(attack, draws=draws).run(model, x, y, generator=Streams(range(16))).images

    once = found(1)
    assert torch.equal(found(4), once)
    monkeypatch.setattr(Memory, "hold", lambda self, held: None)
    assert not torch.equal(found(4), once)
