"""Runs towards targets: order, exactness on a linear model, and combinations that make no sense."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Linear, images
from robustsnn.attacks import Attack, Linf, apgd
from robustsnn.attacks.passes import rivals
from robustsnn.attacks.start import Boundary
from robustsnn.attacks.step import APGD, GradientStep
from robustsnn.ground.errors import UserError
from robustsnn.losses import (
    correct,
    cross_entropy,
    dlr,
    margin,
    targeted_cross_entropy,
    targeted_dlr,
    targeted_margin,
)

EPS = 0.02


def problem(classes=5, n=200):
    model, x = Linear(classes, seed=3), images(n, seed=4)
    return model, x, model(x).argmax(1)


def breakable(model, x, y, eps):
    """Which samples have any misclassified point in the ball: some z_j - z_y + eps |w_j - w_y|_1 >= 0."""
    z = model(x)
    gaps = z - z.gather(1, y[:, None]) + eps * (model.weight[None] - model.weight[y][:, None]).abs().sum(2)
    return gaps.scatter(1, y[:, None], -torch.inf).amax(1) >= 0


def broken_by(attack, model, x, y):
    return ~correct(model(attack(model, x, y)), y)


def test_towards_every_rival_a_linear_model_falls_exactly_where_it_can():
    model, x, y = problem()
    expected = breakable(model, x, y, EPS)
    assert 20 < expected.sum() < 180
    # Each run ascends a linear function, so one step of size eps is optimal.
    every = Attack(Linf(EPS), GradientStep(EPS), loss=targeted_margin, steps=1, targets=4)
    assert torch.equal(broken_by(every, model, x, y), expected)
    assert torch.equal(broken_by(replace(every, step=APGD(2 * EPS), start=Boundary(), steps=30), model, x, y), expected)
    # Following the nearest rival alone misses some, but claims nothing impossible.
    for attack in (replace(every, loss=margin, targets=0), replace(every, targets=1)):
        broken = broken_by(attack, model, x, y)
        assert not bool((broken & ~expected).any())
        assert bool((expected & ~broken).any())


@pytest.mark.parametrize("loss", [targeted_dlr, targeted_cross_entropy])
def test_other_targeted_losses_break_much_and_nothing_impossible(loss):
    model, x, y = problem()
    expected = breakable(model, x, y, EPS)
    broken = broken_by(Attack(Linf(EPS), APGD(2 * EPS), Boundary(), None, loss, 30, targets=4), model, x, y)
    assert not bool((broken & ~expected).any())
    assert broken.sum() > 0.9 * expected.sum()


@dataclass(frozen=True)
class Recording:
    """A targeted loss that writes down what it is asked for."""

    seen: list = field(default_factory=list, compare=False)

    def __call__(self, logits, y, target):
        self.seen.append(target.clone())
        return targeted_margin(logits, y, target)


@pytest.mark.parametrize("asked", [1, 3, 9])
def test_targets_are_the_rivals_of_the_clean_image_strongest_first(asked):
    model, x, y = problem(n=20)
    loss = Recording()
    attempt = Attack(Linf(0.0), GradientStep(0.0), loss=loss, steps=1, targets=asked).run(model, x, y)
    order = model(x).argsort(dim=1, descending=True)
    expected = torch.stack([row[row != label] for row, label in zip(order, y, strict=True)])
    runs = min(asked, 4)
    assert len(loss.seen) == runs  # nothing breaks at eps 0, so each run has all samples in its one step
    for run in range(runs):
        assert torch.equal(loss.seen[run], expected[:, run])
    # A look at the clean image, and a pass and a last look in each run.
    assert attempt.forwards.tolist() == [1 + 2 * runs] * 20
    assert attempt.backwards.tolist() == [runs] * 20


@settings(max_examples=50, deadline=None)
@given(classes=st.integers(2, 6), seed=st.integers(0, 2**20))
def test_rivals_are_all_other_classes_once_by_falling_logits(classes, seed):
    draws = torch.Generator().manual_seed(seed)
    z = torch.randint(-2, 3, (5, classes), generator=draws).float()  # ties happen
    y = torch.randint(0, classes, (5,), generator=draws)
    order = torch.stack(rivals(z, y), 1)
    for row, label, found in zip(z.tolist(), y.tolist(), order.tolist(), strict=True):
        others = [j for j in range(classes) if j != label]
        assert found == sorted(others, key=lambda j, row=row: (-row[j], j))


def test_a_sample_that_fell_to_one_target_is_left_alone_by_the_next():
    model, x, y = problem()
    attack = Attack(Linf(EPS), GradientStep(EPS), loss=targeted_margin, steps=1, targets=4)
    first = broken_by(replace(attack, targets=1), model, x, y)
    attempt = attack.run(model, x, y)
    assert first.any()
    assert attempt.backwards[first].tolist() == [1] * int(first.sum())
    standing = correct(model(attempt.images), y)
    assert attempt.backwards[standing].tolist() == [4] * int(standing.sum())


@pytest.mark.parametrize("keep", ["worst", "last"])
def test_who_is_wrong_at_the_start_is_left_alone_unless_the_last_iterate_is_wanted(keep):
    model, x, y = problem(n=20)
    y[:6] = (y[:6] + 1) % 5
    attack = Attack(Linf(EPS), GradientStep(EPS), loss=targeted_margin, steps=2, targets=1, keep=keep)
    attempt = attack.run(model, x, y)
    same = (attempt.images == x).flatten(1).all(1)
    assert same[:6].all() == (keep == "worst")
    assert not same[6:].any()


def test_wrong_combinations_are_refused():
    step = GradientStep(EPS)
    for loss in (cross_entropy, margin, dlr):
        with pytest.raises(UserError, match=r"targets=3 with loss=.*takes no target"):
            Attack(Linf(EPS), step, loss=loss, targets=3)
    for loss in (targeted_margin, targeted_dlr, targeted_cross_entropy):
        with pytest.raises(UserError, match=r"targets=0 with loss=.*needs targets >= 1"):
            Attack(Linf(EPS), step, loss=loss)
    with pytest.raises(UserError, match="keep='last'"):
        Attack(Linf(EPS), step, loss=targeted_margin, targets=2, keep="last")
    for name in ("targets", "draws"):
        with pytest.raises(UserError, match=f"{name}=-1"):
            Attack(Linf(EPS), step, **{name: -1})
    model, x, y = problem(classes=3, n=4)
    with pytest.raises(UserError, match=r"targeted_dlr on 3 classes.*targeted_margin"):
        Attack(Linf(EPS), step, loss=targeted_dlr, targets=2)(model, x, y)
    with pytest.raises(UserError, match=r"dlr on 2 classes"):
        apgd(EPS, 2, loss=dlr)(Linear(2), x, y.clamp_max(1))
