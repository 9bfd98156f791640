"""Attacks by the mean of two rules' gradients."""

from dataclasses import replace

import pytest
import torch

from helpers import images, spiking
from robustsnn.attacks import Attack, Linf, Streams, Suite, apgd, mix_pgd, pgd
from robustsnn.attacks.step import GradientStep
from robustsnn.evaluation.fingerprint import exact
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, cross_entropy
from robustsnn.neurons import ASSG, HART, RGA, STBP, ResetFlow, Triangle, gradient_rule, neuron_layers
from robustsnn.reporting.citations import papers_of

EPS = 0.03


def slope(model, x, y, rule):
    """The input gradient by one rule."""
    leaf = x.clone().requires_grad_()
    with gradient_rule(model, rule):
        return torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)[0]


def right(model, n=30):
    x = images(n, (1, 8, 8))
    return x, model(x).argmax(1)


def test_one_step_goes_by_the_sign_of_the_mean_of_both_gradients_as_they_are():
    model = spiking()
    x, y = right(model)
    hart, stbp = (slope(model, x, y, rule) for rule in (HART(Triangle(2.0)), STBP()))
    z = mix_pgd(EPS, 1, width=2.0).run(model, x, y).images
    torch.testing.assert_close(z, x + EPS * (hart + stbp).sign(), rtol=0, atol=1e-6)
    # They are no multiples of each other, and neither leads everywhere; nor are they brought to one length before.
    scaled = sum(g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for g in (hart, stbp))
    for other in (hart, stbp, scaled):
        assert ((hart + stbp).sign() != other.sign()).float().mean() > 0.005


def test_where_both_rules_agree_it_is_the_attack_by_one_of_them_at_twice_the_gradients():
    model = spiking(steps=1)  # in a single step HART is STBP
    x, y = right(model)
    for one in (pgd(0.006, 5), apgd(0.006, 8)):
        by_one = replace(one, rule=STBP()).run(model, x, y, generator=Streams(range(30)))
        by_both = replace(one, rule=HART(), mix=STBP()).run(model, x, y, generator=Streams(range(30)))
        assert torch.equal(by_one.images, by_both.images)
        assert 0 < int(correct(model(by_both.images), y).sum()) < 30
        assert torch.equal(2 * by_one.backwards, by_both.backwards)
        assert torch.equal(by_one.forwards + by_one.backwards, by_both.forwards)


def test_a_rule_mixed_with_itself_changes_nothing_and_the_own_rule_is_one_to_mix():
    model = spiking()
    x, y = right(model)
    by_one = pgd(EPS, 6, rule=RGA()).run(model, x, y, generator=Streams(range(30))).images
    assert torch.equal(
        replace(pgd(EPS, 6, rule=RGA()), mix=RGA()).run(model, x, y, generator=Streams(range(30))).images, by_one
    )
    for layer in neuron_layers(model):
        layer.rule = RGA()
    assert torch.equal(replace(pgd(EPS, 6), mix=RGA()).run(model, x, y, generator=Streams(range(30))).images, by_one)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("keep", ["worst", "last"])
def test_an_image_that_stands_costs_all_passes(draws, keep):
    model = spiking()
    x, y = right(model, 4)
    attack = replace(mix_pgd(1e-6, 5), draws=draws, keep=keep)
    found = attack.run(model, x, y)
    assert (found.forwards + found.backwards).tolist() == [attack.passes] * 4
    assert attack.passes == draws * (4 * 5 + (keep == "worst"))


def test_it_is_a_value_that_is_printed_told_apart_and_cited():
    attack = mix_pgd(EPS)
    again = eval(repr(attack), {c.__name__: c for c in (Attack, Linf, GradientStep, HART, STBP, Triangle)})
    assert again == attack
    assert attack.label == "pgd-ce/hart-triangle-1+triangle-1"
    assert "mix" not in repr(replace(attack, mix=None))  # so the files of all other attacks are found as before
    suites = [Suite("s", (("c", (a,)),)) for a in (attack, replace(attack, mix=None), replace(attack, mix=RGA()))]
    assert len({repr(exact(suite)) for suite in suites}) == 3
    assert any("Rate and Temporal" in paper for paper in papers_of(repr(attack)))


def test_without_rules_it_is_one_gradient():
    (_, plain), *_ = Suite("s", (("c", (mix_pgd(EPS),)),)).without_rules().members()
    assert (plain.rule, plain.mix, plain.gradients) == (None, None, 1)


@pytest.mark.parametrize(
    ("rule", "mix"), [(ASSG(), STBP()), (None, ASSG()), (ResetFlow(STBP(), "detached"), HART()), (HART(), "stbp")]
)
def test_rules_that_cannot_be_mixed_are_refused(rule, mix):
    with pytest.raises(UserError, match="mix="):
        replace(pgd(EPS, 3, rule=rule), mix=mix)
