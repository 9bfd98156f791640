"""Each flag is raised by a planted defect, and not by the same model without it."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from defects import EPS, PLANTED, Around, Planted, blind, data, one, plain, spiking, suite
from torch import nn

from helpers import Linear, images
from robustsnn.attacks import Linf, fgsm, paper_sr_10, pgd, quick
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.presets import apgd
from robustsnn.attacks.sparse import Flips, SparseFlips
from robustsnn.attacks.square import Square
from robustsnn.evaluation import Judge, evaluate, run_suite
from robustsnn.evaluation.flags import FLAGS
from robustsnn.evaluation.masking import checks
from robustsnn.evaluation.probe import PROBE, Probe
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import precision
from robustsnn.losses import margin
from robustsnn.neurons import ASSG, RGA
from robustsnn.records.outcome import Outcomes

RULES = {"rules-disagree", "rules-without-effect", "blind-rules", "single-surrogate"}
"""What is asked of networks with neuron layers alone."""
DIFFERENCED = {"unrelated-gradient", "misplaced-gradient", "lost-entries", "blind-rules", "erratic"}
"""What moves images by small steps."""
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "flags.md"


def raised(entry):
    return {flag["name"] for flag in entry["flags"]}


def masking(entry):
    return {flag["name"] for flag in entry["flags"] if flag["masking"]}


@cache
def honest(model, attacks):
    """Flags of an honest model; several defects share one."""
    return raised(evaluate(model(), data(), attacks, EPS).to_dict())


def test_every_flag_has_a_planted_defect():
    assert {planted.flag for planted in PLANTED} == set(FLAGS)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: f"{planted.flag}: {planted.about}")
def test_a_planted_defect_raises_its_flag_and_the_honest_twin_does_not(planted: Planted):
    entry = evaluate(planted.plant(planted.honest()), data(), planted.suite, EPS).to_dict()
    assert planted.flag in raised(entry)
    assert planted.flag not in honest(planted.honest, planted.honest_suite or planted.suite)
    reports = [check for check in entry["checks"] if check["raised"]]
    assert reports == entry["flags"]
    assert all(check["value"] is None or 0 <= abs(check["value"]) <= len(data()[0]) for check in entry["checks"])


@pytest.mark.parametrize("attacks", [quick, paper_sr_10])
@pytest.mark.parametrize("model", [plain, spiking])
def test_honest_networks_raise_no_sign_of_masking(model, attacks):
    entry = evaluate(model(), data(), attacks, 0.08).to_dict()
    assert masking(entry) == set()
    expected = set(FLAGS) - (set() if model is spiking else RULES)
    assert [check["name"] for check in entry["checks"]] == [name for name in FLAGS if name in expected]
    assert 0.1 < entry["worst_case"]["accuracy"] < entry["clean"]["accuracy"]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("model", [plain, spiking])
def test_few_images_are_no_cause_for_alarm(model, n):
    x, y = (tensor[10 : 10 + n] for tensor in data())
    attacks = {plain: one, spiking: lambda eps: suite(apgd(eps, 5, rule=RGA()), apgd(eps, 5, rule=ASSG()))}[model]
    assert masking(evaluate(model(), (x, y), attacks, EPS).to_dict()) == set()


@pytest.mark.parametrize("wrapped", ["channels last", "bfloat16"])
def test_rounding_is_not_taken_for_coupling(wrapped):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = spiking()

        def forward(self, x):
            if wrapped == "bfloat16":
                with precision("bfloat16"):
                    return self.network(x)
            return self.network(x.to(memory_format=torch.channels_last))

    entry = evaluate(Wrapped(), data(12), lambda eps: suite(fgsm(eps), Square(Linf(eps), 5)), 0.02).to_dict()
    assert not raised(entry) & {"coupled", "state", "random"}


def test_attacks_in_encoded_space_pass_through_all_checks():
    def attacks(eps):
        return suite(apgd(eps, 6, loss=margin, rule=ASSG()), pgd(eps, 6, loss=margin, rule=RGA())).encoded()

    entry = evaluate(spiking(), data(10), attacks, 0.03).to_dict()
    assert {check["name"] for check in entry["checks"]} == set(FLAGS)
    assert masking(entry) == set()


def test_attacks_in_the_euclidean_norm_pass_through_all_checks():
    def attacks(eps):
        ascent = apgd(eps, 6, norm="L2", loss=margin, rule=ASSG())
        return suite(ascent, pgd(eps, 6, norm="L2", loss=margin, rule=RGA()), MinimumNorm(ascent.threat, steps=12))

    entry = evaluate(spiking(), data(10), attacks, 0.5).to_dict()
    assert {check["name"] for check in entry["checks"]} == set(FLAGS)
    assert masking(entry) == set()


def test_flips_of_binary_inputs_pass_through_all_checks():
    x, y = data(20)
    x = (x > 0.5).float()
    y = spiking()(x).argmax(1)

    def attacks(flips):
        return suite(SparseFlips(Flips(flips), rounds=20), SparseFlips(Flips(flips), RGA(), rounds=20))

    entry = evaluate(spiking(), (x, y), attacks, 4).to_dict()
    # Without steps of a size there are neither one and twenty of them, nor twice as many, nor differences.
    steps = {"one-step-beats-iterative", "not-converged", *DIFFERENCED}
    assert {check["name"] for check in entry["checks"]} == set(FLAGS) - steps
    assert masking(entry) == set()


def test_gradient_attacks_are_left_out_where_there_is_no_gradient():
    cut = Around(plain(), front=torch.Tensor.detach)
    entry = evaluate(cut, data(), blind, EPS).to_dict()
    assert [attack["black_box"] for attack in entry["attacks"].values()] == [True]
    with pytest.raises(UserError, match="no gradient with respect to its input"):
        evaluate(cut, data(), one, EPS)


def test_a_suite_of_queries_alone_is_no_cause_for_alarm():
    entry = evaluate(plain(), data(), lambda eps: suite(RandomSearch(Linf(eps), "corners", 20)), EPS).to_dict()
    assert masking(entry) == set()


def test_what_black_box_attacks_break_first_does_not_count_against_gradients():
    def attacks(eps):
        return suite(RandomSearch(Linf(eps), "corners", 50), pgd(eps, 20, loss=margin))

    entry = evaluate(plain(), data(), attacks, 0.2).to_dict()
    assert next(iter(entry["attacks"].values()))["broken"] > 1
    assert "black-box-beats-white-box" not in raised(entry)


def test_a_suite_with_too_few_steps_is_not_converged_and_not_masked():
    """Square breaks more than such a suite, but not more than gradients do."""

    def attacks(eps):
        return suite(pgd(eps, 2, alpha=eps / 8, random_start=False, loss=margin))

    flags = raised(evaluate(plain(), data(), attacks, EPS).to_dict())
    assert flags == {"not-converged"}


def test_survivors_beyond_the_probe_are_attacked_longer():
    """The first 64 images all fall to the suite, so only survivors that come later can fall to longer attacks."""
    model, (x, y) = plain(), data(200)

    def attacks(eps):
        return suite(pgd(eps, 2, alpha=eps / 3, random_start=False, loss=margin))

    found = run_suite(model, (x, y), attacks(0.16))
    order = np.argsort(~found.broken[0], kind="stable")
    assert found.broken.sum() >= PROBE
    entry = evaluate(model, (x[order], y[order]), attacks, 0.16).to_dict()
    (check,) = (check for check in entry["checks"] if check["name"] == "not-converged")
    assert check["raised"]
    tried, more = min(PROBE, int(found.standing().sum())), int(re.search(r"break (\d+) of", check["message"])[1])
    assert check["message"].endswith(f"break {more} of {tried} images that the suite left standing")
    assert check["value"] == more / tried
    assert entry["worst_case"]["at_most"]


def test_checks_of_clean_images_are_made_where_none_is_classified_correctly():
    model, x = Linear(2), images(6)
    y = model(x).argmax(1)
    found = Outcomes.empty(1, 6)
    found.clean_margin[:] = np.nan
    attacks = suite(fgsm(EPS))
    made = checks(Probe(model, x[:0], y[:0], np.zeros(0, bool), attacks, Judge(), 0), found)
    assert [(check.flag.name, check.raised) for check in made] == [("nan-logits", True), ("ties", False)]


def plainly(text):
    return re.sub(r"\s+", " ", text)


def test_the_page_on_flags_says_what_the_flags_say():
    page = plainly(PAGE.read_text())
    for flag in FLAGS.values():
        assert f"## {flag.name}" in page
        for words in (flag.raised_if, flag.why, flag.todo):
            assert plainly(words) in page, (flag.name, words)
    for planted in PLANTED:
        assert planted.about in page, planted


def test_the_page_has_the_flags_in_their_order_and_no_other():
    assert re.findall(r"^## ([a-z-]+)$", PAGE.read_text(), re.M) == list(FLAGS)
