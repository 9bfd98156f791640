"""Suites: what they hold, and what fitting them to a model, a space or a schedule does."""

from dataclasses import replace

import pytest
import torch

import robustsnn.attacks
import robustsnn.attacks.start
import robustsnn.attacks.step
import robustsnn.losses
import robustsnn.neurons
from helpers import Linear, images
from robustsnn.attacks import (
    Attack,
    CornerSearch,
    GradedSearch,
    Linf,
    MinimumNorm,
    RandomSearch,
    RayS,
    Source,
    Square,
    Suite,
    Transfer,
    autoattack,
    exhaustive,
    fgsm,
    paper_sr,
    paper_sr_10,
    paper_trail,
    quick,
    reliable,
)
from robustsnn.attacks.ladder import KINDS, STRONG, WIDE
from robustsnn.attacks.step import APGD, SAPGD, GradientStep
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy, dlr, margin, targeted_dlr, targeted_margin
from robustsnn.neurons import ASSG, BPTR, HART, PDSG, RGA, STBP, ResetFlow

EPS = 8 / 255
SOURCES = (Source("a", Linear(4)), Source("b", Linear(4, seed=1)))
BUILDERS = [paper_sr, paper_sr_10, paper_trail, autoattack, quick, reliable, exhaustive]
each_builder = pytest.mark.parametrize("build", BUILDERS, ids=lambda f: f.__name__)


def cost(attack):
    """Backward passes of a sample that stands to the end."""
    if isinstance(attack, Attack | MinimumNorm):
        return attack.steps * attack.restarts * max(1, attack.targets)
    return cost(attack.attack) if isinstance(attack, Transfer) else 0


@each_builder
def test_every_member_is_named_by_its_constructor_call_and_has_a_label(build):
    names = {}
    for module in (robustsnn.attacks, robustsnn.attacks.start, robustsnn.attacks.step, robustsnn.losses):
        names |= vars(module)
    names |= vars(robustsnn.neurons)
    suite = build("8/255")
    assert suite == build(EPS)
    for column, attack in suite.members():
        again = eval(repr(attack), names)
        assert repr(again) == repr(attack)
        assert attack.threat == Linf(EPS)
        assert column
        assert attack.label
        assert attack.black_box == (not cost(attack) and not isinstance(attack, GradedSearch))
    labels = [(column, attack.label) for column, attack in suite.members()]
    assert len(set(labels)) == len(labels)


@each_builder
def test_encoded_twin_differs_in_its_space_alone(build):
    suite = build(EPS)
    twin = suite.encoded()
    assert twin.name == f"{suite.name}-encoded"
    assert twin.threat == Linf(EPS, space="encoded")
    pairs = zip(suite.members(), twin.members(), strict=True)
    assert all((a, replace(b, threat=suite.threat)) == (c, d) for (a, d), (c, b) in pairs)
    if build not in (paper_trail, autoattack):
        with pytest.raises(UserError, match="cannot be shown to the encoded space"):
            build(EPS, sources=SOURCES).encoded()


@each_builder
def test_twin_on_the_grid_differs_in_its_levels_alone(build):
    suite = build(EPS)
    twin = suite.on_grid()
    assert twin.name == f"{suite.name}-8bit"
    assert twin.threat == Linf(EPS, levels=255)
    assert all("levels=255" in repr(attack) for _, attack in twin.members())
    pairs = zip(suite.members(), twin.members(), strict=True)
    assert all((a, replace(b, threat=suite.threat)) == (c, d) for (a, d), (c, b) in pairs)
    if build not in (paper_trail, autoattack):
        assert build(EPS, sources=SOURCES).on_grid().threat == Linf(EPS, levels=255)


def test_grids_are_for_linf():
    with pytest.raises(UserError, match="defined for Linf, not for L2"):
        quick(0.5, norm="L2").on_grid()


@pytest.mark.parametrize("build", [paper_trail, autoattack])
def test_suites_without_black_box_columns_refuse_sources(build):
    with pytest.raises(UserError, match="no black-box columns"):
        build(EPS, sources=SOURCES)


def test_black_box_columns_of_the_paper_are_crafted_on_every_source_under_every_rule():
    suite = paper_sr(EPS, sources=SOURCES)
    white, black = suite.columns[:6], suite.columns[6:]
    assert [name for name, _ in black] == [f"BB {name}" for name, _ in white]
    for (_, own), (_, crafted) in zip(white, black, strict=True):
        assert [(a.source, a.attack) for a in crafted] == [(source, attack) for source in SOURCES for attack in own]
        assert all(a.black_box for a in crafted)
    assert white == paper_sr(EPS).columns


def test_quick_costs_about_a_tenth_of_reliable_and_that_a_tenth_of_exhaustive():
    first, full, all_of_it = (build(EPS).without_decisions().passes for build in (quick, reliable, exhaustive))
    assert 8 * first < full
    assert 7 * full < all_of_it < 15 * full


def test_reliable_holds_what_is_known_to_break_networks():
    suite = reliable(EPS, sources=SOURCES)
    attacks = [attack for _, attack in suite.members()]
    assert suite.survivors_only
    kinds = {type(rule) for rule in KINDS}
    assert kinds == {type(None), STBP, RGA, BPTR, HART, PDSG, ASSG, ResetFlow}
    assert {rule.flow for rule in KINDS if isinstance(rule, ResetFlow)} == {"attached", "detached"}
    plain = [a for a in attacks if isinstance(a, Attack)]
    assert {repr(attack.rule) for attack in plain} >= {repr(rule) for rule in (*KINDS, *STRONG)}
    assert any(isinstance(a, CornerSearch) and a.queries >= 25_000 for a in attacks)
    assert any(isinstance(a, Square) for a in attacks)
    assert any(isinstance(a, RayS) and a.queries == 5000 for a in attacks)
    assert any(isinstance(a, RandomSearch) and a.kind == "corners" for a in attacks)
    assert any(isinstance(a, MinimumNorm) for a in attacks)
    assert {a.source for a in attacks if isinstance(a, Transfer)} == set(SOURCES)
    published = [a for a in plain if isinstance(a.step, SAPGD) and a.steps == 300 and isinstance(a.rule, ResetFlow)]
    assert [a.rule.rule.degree for a in published] == [0.84, 0.86, 0.87, 0.9, 0.92]
    assert {a.rule.flow for a in published} == {"detached"}
    assert any(a.targets >= 3 for a in plain)
    assert any(isinstance(a.step, GradientStep) and a.steps == 50 for a in plain)


def test_exhaustive_holds_all_of_reliable_first():
    full = [attack for _, attack in reliable(EPS).members()]
    more = [attack for _, attack in exhaustive(EPS).members()]
    assert more[: len(full)] == full
    assert {repr(rule) for rule in WIDE} <= {repr(getattr(attack, "rule", 0)) for attack in more[len(full) :]}


def test_in_l2_there_are_no_corners_and_square_takes_their_place():
    for build in (quick, reliable, exhaustive):
        kinds = {type(attack) for _, attack in build(1.0, norm="L2").members()}
        assert not kinds & {CornerSearch, GradedSearch}
        assert Square in kinds


def test_autoattack_is_the_standard_four():
    suite = autoattack(EPS)
    ce, towards, nearest, square = (attack for _, attack in suite.members())
    assert suite.survivors_only
    assert (ce.loss, ce.steps, ce.step, ce.restarts) == (cross_entropy, 100, APGD(2 * EPS), 1)
    assert (towards.loss, towards.steps, towards.targets) == (targeted_dlr, 100, 9)
    assert (nearest.steps, nearest.targets, square.queries) == (100, 9, 5000)


def test_trail_paper_steps_scale_with_eps():
    (_, (one,)), (_, (seven,)) = paper_trail("8/255").columns
    assert (one.step, one.steps, seven.steps) == (GradientStep(EPS), 1, 7)
    assert seven.step.alpha == pytest.approx(0.01)
    assert paper_trail("4/255").columns[1][1][0].step.alpha == pytest.approx(0.005)
    assert one.rule is seven.rule is None
    train = paper_trail("8/255", batch_statistics=True)
    assert train.name != paper_trail("8/255").name
    assert all(a.batch_statistics and a.keep == "last" for _, a in train.members())


def test_for_classes_puts_the_margin_in_place_of_losses_that_are_not_defined():
    suite = Suite(
        "s",
        (
            ("a", (fgsm(EPS), fgsm(EPS, loss=dlr))),
            ("b", (Attack(Linf(EPS), GradientStep(EPS), loss=targeted_dlr, targets=2), Square(Linf(EPS)))),
            ("c", (Transfer(SOURCES[0], fgsm(EPS, loss=dlr)),)),
        ),
    )
    assert suite.for_classes(4) == suite
    attacks = [attack for _, attack in suite.members()]
    three, two = ([attack for _, attack in suite.for_classes(classes).members()] for classes in (3, 2))
    towards = replace(attacks[2], loss=targeted_margin)
    assert three == [*attacks[:2], towards, *attacks[3:]]
    plain = fgsm(EPS, loss=margin)
    assert two == [attacks[0], plain, towards, attacks[3], Transfer(SOURCES[0], plain)]
    for build in BUILDERS:
        model, x = Linear(2), images(4)
        y = model(x).argmax(1)
        for _, attack in build(EPS).for_classes(2).without_rules().members():
            if cost(attack):
                short = replace(attack, steps=1)
                assert short.run(model, x, y).images.shape == x.shape


def test_without_rules_keeps_one_of_what_becomes_equal():
    suite = reliable(EPS).without_rules().without_decisions()
    attacks = [attack for _, attack in suite.members()]
    assert all(getattr(attack, "rule", None) is None for attack in attacks)
    assert len({repr(attack) for attack in attacks}) == len(attacks)
    assert {type(a) for a in attacks} == {Attack, CornerSearch, GradedSearch, MinimumNorm, RandomSearch, Square}
    own = [attack for _, attack in reliable(EPS).without_decisions().members() if getattr(attack, "rule", None) is None]
    assert {repr(attack) for attack in own} <= {repr(attack) for attack in attacks}


def test_with_draws_reaches_every_attack_that_takes_means():
    for _, attack in reliable(EPS).with_draws(10).members():
        assert getattr(attack, "draws", 10) == 10
    twice = Suite("s", (("a", (replace(fgsm(EPS), draws=3),)),))
    assert twice.with_draws(10) == twice  # an explicit number stays


def test_merged_runs_the_short_attacks_first_and_keeps_a_good_order():
    suite = paper_sr(EPS)
    merged = suite.merged()
    steps = [attack.steps for _, attack in merged.members()]
    assert merged.survivors_only
    assert steps == sorted(steps)
    assert {repr(a) for _, a in merged.members()} == {repr(a) for _, a in suite.members()}
    assert [a for _, a in reliable(EPS).merged().members()] == [a for _, a in reliable(EPS).members()]


def test_quick_and_full_suites_run_on_a_model_without_neurons():
    model, x = Linear(4), images(12)
    y = model(x).argmax(1)
    expected = margin(model(x), y)
    w = (model.weight[None] - model.weight[y][:, None]).abs().sum(2)
    gaps = model(x) - model(x).gather(1, y[:, None]) + 0.02 * w
    breakable = gaps.scatter(1, y[:, None], -torch.inf).amax(1) >= 0
    assert (expected < 0).all()
    broken = torch.zeros(12, dtype=torch.bool)
    for _, attack in quick(0.02).without_rules().members():
        broken |= margin(model(attack.run(model, x, y).images), y) >= 0
    assert torch.equal(broken, breakable)
    assert 0 < int(broken.sum()) < 12
