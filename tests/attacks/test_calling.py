"""Attacks towards a class that the caller names."""

from __future__ import annotations

import pytest
import torch

from helpers import Linear, images, spiking
from robustsnn.attacks import L2, CornerSearch, Linf, MinimumNorm, RandomSearch, RayS, Square, Targeted, Towards, pgd
from robustsnn.attacks.threat import verify
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin

X = images(24)
MODEL = Linear()
Y = MODEL(X).argmax(1)
TARGET = (Y + 1 + torch.arange(24) % 2) % 3
ATTACKS = {
    "pgd": pgd(0.3, 20, keep="worst"),
    "square": Square(Linf(0.3), 300),
    "corners": CornerSearch(Linf(0.3), 300),
    "rays": RayS(Linf(0.3), 300),
    "fmn": MinimumNorm(L2(2.0), steps=30),
    "noise": RandomSearch(Linf(0.3), "corners", queries=300),
}


def exact(x, y, target, eps):
    """Whether some point of the Linf ball (inside the data range here) makes a linear model say the target.

    With three classes t wins where some d has w_t d + b_t above both others; by d = eps sign(w_t - w_j) at least each
    pair can be won, which is necessary.
    """
    w, z = MODEL.weight.detach(), MODEL(x).detach()
    ways = []
    for j in range(3):
        gap = (z.gather(1, target[:, None])[:, 0] - z[:, j]) + eps * (w[target] - w[j]).abs().sum(1)
        ways.append((target == j) | (gap > 0))
    return torch.stack(ways).all(0)


@pytest.mark.parametrize("name", ATTACKS)
def test_points_stay_in_the_ball_and_the_model_says_the_target_where_pairs_allow_it(name):
    attack = ATTACKS[name]
    z = attack(MODEL, X, Y, target=TARGET)
    verify(attack.threat, z, X, attack)
    reached = MODEL(z).argmax(1) == TARGET
    if attack.threat.norm == "Linf":
        assert bool((~reached | exact(X, Y, TARGET, 0.3)).all())
    assert float(reached.float().mean()) > (0.2 if name == "noise" else 0.6)


def test_a_gradient_attack_reaches_all_that_can_be_reached():
    z = ATTACKS["pgd"](MODEL, X, Y, target=TARGET)
    possible = exact(X, Y, TARGET, 0.3)
    assert int(possible.sum()) > 0
    assert float((MODEL(z).argmax(1) == TARGET)[possible].float().mean()) > 0.9


def test_the_two_answers_have_the_margin_of_the_target():
    z, model = MODEL(X), Towards(MODEL, 2)
    rest = z[:, :2].amax(1)
    zeros = torch.zeros(24, dtype=torch.int64)
    assert torch.allclose(margin(model(X), zeros), z[:, 2] - rest, atol=1e-5)
    assert torch.equal(correct(model(X), zeros), z.argmax(1) != 2)


def test_a_tie_is_not_the_target():
    class Tied(Linear):
        def forward(self, x):
            return torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0 + 2**-23, 0.0]]) + 0 * x.sum()

    assert correct(Towards(Tied(), 1)(X[:2]), torch.tensor([0, 0])).tolist() == [True, False]


def test_a_class_for_all_is_the_class_of_each_and_neighbours_do_not_matter():
    attack, model = pgd(0.1, 5), spiking()
    x, y = images(6, (1, 8, 8)), torch.tensor([0, 1, 2, 3, 0, 1])
    streams = torch.Generator().manual_seed(1)
    one = attack(model, x, y, target=3, generator=streams)
    streams.manual_seed(1)
    assert torch.equal(one, attack(model, x, y, target=torch.full((6,), 3), generator=streams))
    mixed = torch.tensor([3, 0, 3, 0, 3, 0])
    streams.manual_seed(1)
    assert torch.equal(attack(model, x, y, target=mixed, generator=streams)[mixed == 3], one[mixed == 3])


def test_an_image_that_is_taken_for_its_target_stays_so():
    assert torch.equal(Square(Linf(0.1), 50)(MODEL, X, Y, target=Y), X)
    assert torch.equal(MODEL(pgd(0.3, 5)(MODEL, X, Y, target=Y)).argmax(1), Y)


def test_costs_are_counted_for_each_image():
    attack = Targeted(pgd(0.01, 5), TARGET)
    attempt = attack.run(MODEL, X, Y)
    assert int(attempt.forwards.max()) <= attack.passes
    assert int(attempt.forwards.min()) >= 1
    assert attack.label == "pgd-ce/own to given classes"
    assert Targeted(pgd(0.01, 5), 2).label == "pgd-ce/own to 2"


OTHERS = {
    "label 3 given to a model of 3 classes": 3,
    "target=-1": -1,
    "target=1.5": 1.5,
    r"target of shape \(3,\)": TARGET[:3],
    "give target.long": TARGET.float(),
}


@pytest.mark.parametrize("said", OTHERS)
def test_other_targets_are_refused(said):
    with pytest.raises(UserError, match=said):
        pgd(0.1, 2)(MODEL, X, Y, target=OTHERS[said])
