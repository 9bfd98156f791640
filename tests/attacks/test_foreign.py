"""Attacks of other libraries: taken where they keep the threat, refused and counted where not."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch

import robustsnn
from helpers import Linear, images
from robustsnn.attacks import L2, Foreign, Linf, Suite, pgd
from robustsnn.evaluation import Effort, run_suite
from robustsnn.ground.errors import Advice, UserError
from robustsnn.losses import cross_entropy

EPS, X = 0.2, images(12)
Y = Linear()(X).argmax(1)


class Theirs:
    """A one-step attack in the manner of such libraries: bound to a model, and leaving it in eval mode."""

    def __init__(self, model, eps=EPS, times=1.0):
        self.model, self.eps, self.times = model, eps, times

    def __call__(self, x, y):
        self.model.eval()
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(self.model(leaf), y).sum(), leaf)
        return (x + self.times * self.eps * gradient.sign()).clamp(0, 1)

    def __repr__(self):
        return f"Theirs(eps={self.eps}, times={self.times})"


def test_it_is_a_member_of_a_suite_and_judged_as_ours():
    model = Linear().train()
    theirs = Foreign(Theirs(model), Linf(EPS))
    found = run_suite(model, (X, Y), Suite("s", (("theirs", (theirs,)), ("ours", (robustsnn.attacks.fgsm(EPS),)))))
    assert (found.broken[0] == found.broken[1]).all()
    assert found.broken[0].any()
    assert found.forwards[0].tolist() == [2] * 12  # its own, and the one that judges
    assert found.backwards[0].tolist() == [1] * 12
    assert model.training


def test_points_outside_are_refused_and_counted_and_rounding_is_not():
    model = Linear()

    def mixed(x, y):
        z = Theirs(model)(x, y)
        z[0] = x[0] + 2 * EPS
        z[1, 0, 0, 0] = torch.nan
        z[2] = -1.0
        return z + 5e-7 * (z - x).sign().nan_to_num()

    with pytest.warns(Advice, match=r"mixed: 3 of 12 images lie outside Linf\(eps=51/255\)"):
        z = Foreign(mixed, Linf(EPS), name="mixed")(model, X, Y)
    assert torch.equal(z[:3], X[:3])
    assert float((z[3:].double() - X[3:].double()).abs().max()) <= EPS
    assert float((z[3:] - X[3:]).abs().amin()) > 0.9 * EPS - 0.3  # moved, and not clipped to somewhere else


@pytest.mark.parametrize("threat", [Linf(EPS), L2(EPS)])
def test_a_ball_that_is_too_large_breaks_nothing(threat):
    model = Linear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = run_suite(model, (X, Y), Suite("s", (("a", (Foreign(Theirs(model, times=1.5), threat),)),)))
    assert "12 of 12" in str(said[0].message)
    assert not found.broken.any()
    assert found.distance.max() == 0


def test_what_returns_other_things_is_refused_and_what_changes_the_model_is_an_error():
    model = Linear()
    for wrong in (lambda x, y: None, lambda x, y: x[:1], lambda x, y: (x, x)):
        with pytest.raises(UserError, match="wrong returned"):
            Foreign(wrong, Linf(EPS), name="wrong")(model, X, Y)

    def poison(x, y):
        model.bias.data += 1
        return x

    with pytest.raises(RuntimeError, match="changed the weights"):
        Foreign(poison, Linf(EPS), name="poison")(model, X, Y)
    with pytest.raises(UserError, match="has no name"):
        Foreign(lambda x, y: x, Linf(EPS))


def made(eps):
    """A suite by name, made before there is a model."""
    return Suite("mine", (("theirs", (Foreign(partial(Theirs, eps=eps), Linf(eps), of_model=True),)),))


def test_a_list_is_a_suite_of_names_of_ours_and_of_theirs():
    model = Linear()
    suite = ["fgsm", pgd(EPS, 3), Theirs(model)]
    result = robustsnn.evaluate(model, (X, Y), suite=suite, eps=EPS).to_dict()
    assert list(result["columns"]) == ["fgsm-ce/own", "pgd-ce/own", "test_foreign.Theirs"]
    by_name = robustsnn.evaluate(model, (X, Y), suite=f"{__name__}:made", eps=EPS).to_dict()
    assert by_name["columns"]["theirs"] == result["columns"]["test_foreign.Theirs"]
    with pytest.raises(UserError, match="give both one eps"):
        robustsnn.evaluate(model, (X, Y), suite=suite, eps=2 * EPS)
    with pytest.raises(UserError, match="at least one attack"):
        robustsnn.evaluate(model, (X, Y), suite=[], eps=EPS)


def test_random_numbers_are_those_of_the_evaluation():
    model = Linear()
    noise = Foreign(lambda x, y: (x + EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1), Linf(EPS), name="noise")
    suite = Suite("s", (("a", (noise,)),))
    first, again = (run_suite(model, (X, Y), suite, Effort(seed=1)) for _ in range(2))
    assert first.equals(again)
    assert not first.equals(run_suite(model, (X, Y), suite, Effort(seed=2)))


def test_torchattacks_takes_our_networks_for_what_they_are():
    """A model with attributes mean and std would be attacked on images that it normalises once more."""
    torchattacks = pytest.importorskip("torchattacks")
    from helpers import spiking

    model = spiking()
    attack = torchattacks.PGD(model, eps=EPS, alpha=EPS / 4, steps=5)
    assert attack.normalization_used is None
    assert not hasattr(model, "mean")
    assert not hasattr(model, "std")
    x = images(8, (1, 8, 8))
    found = run_suite(model, (x, model(x).argmax(1)), Suite("s", (("a", (Foreign(attack, Linf(EPS)),)),)))
    assert found.broken.any()


def foolbox_s(model):
    foolbox = pytest.importorskip("foolbox")
    bounded, attack = foolbox.PyTorchModel(model.eval(), bounds=(0, 1)), foolbox.attacks.LinfPGD(steps=5)
    return lambda x, y: attack(bounded, x, y, epsilons=EPS)[1]


def adversarial_library_s(model):
    attacks = pytest.importorskip("adv_lib.attacks")
    return lambda x, y: attacks.pgd_linf(model, x, y, EPS, steps=5)


def adversarial_library_s_minimum(model):
    attacks = pytest.importorskip("adv_lib.attacks")
    return lambda x, y: attacks.fmn(model, x, y, norm=torch.inf, steps=20)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [foolbox_s, adversarial_library_s, adversarial_library_s_minimum])
def test_attacks_of_other_packages_are_members_of_a_suite(make):
    from helpers import spiking

    model, x = spiking(), images(8, (1, 8, 8))
    theirs = Foreign(make(model), Linf(EPS), name="theirs")
    suite = Suite("s", (("theirs", (theirs,)), ("ours", (pgd(EPS, 5),))))
    found = run_suite(model, (x, model(x).argmax(1)), suite)
    assert found.broken[0].any()
    assert (found.distance[0] <= EPS).all()
    assert (found.forwards[0][found.attacked[0]] > 4).all()  # of each image: it was their attack that ran
