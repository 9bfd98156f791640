"""Evaluation: closed forms, worst cases, intervals, resuming, and lies that must be caught."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import Attack, Attempt, CornerSearch, Linf, Suite, fgsm, paper_sr_10, pgd, quick
from robustsnn.attacks.step import APGD
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation import Effort, Judge, evaluate, input_gradient, pictures, run_suite
from robustsnn.evaluation.fitting import most_passes
from robustsnn.ground.errors import UserError
from robustsnn.losses import margin
from robustsnn.records.outcome import Outcomes, rate
from robustsnn.runs.folder import summary
from robustsnn.statistics.binomial import clopper_pearson

EPS = 0.08


def suite(*attacks, column="all"):
    return Suite("test", ((column, attacks),))


def problem(n=60):
    model, x = Linear(2), images(n)
    y = model(x).argmax(1)
    y[:5] = 1 - y[:5]  # wrong from the start
    return model, x, y


def test_linear_model_has_its_exact_robust_accuracy():
    model, x, y = problem()
    w = (model.weight[1] - model.weight[0]).abs().sum()
    eps = 0.03
    expected = (margin(model(x), y) + eps * w < 0).detach().numpy()
    found = run_suite(model, (x, y), suite(fgsm(eps), pgd(eps, 5)), Effort(batch_size=16))
    assert 10 < expected.sum() < 50
    assert np.array_equal(found.standing(), expected)
    assert np.array_equal(found.correct, np.arange(60) >= 5)
    assert not found.attacked[:, :5].any()  # what is wrong already is not attacked
    assert not found.attacked[1][found.broken[0]].any()  # survivors only
    assert found.distance[found.broken].max() <= eps + 1e-6


def test_outcomes_agree_with_the_model_and_count_all_passes():
    model, x, y = problem(20)

    class Counting(torch.nn.Module):
        n = 0

        def forward(self, x):
            Counting.n += len(x)
            return model(x)

    found = run_suite(Counting(), (x, y), suite(pgd(EPS, 4)), Effort(batch_size=7), judge=Judge())
    assert np.allclose(found.clean_margin, margin(model(x), y).detach())
    # Plus one clean forward per image, and one image twice to see whether it has a gradient and how many classes.
    assert int(found.forwards.sum()) + 20 + 2 == Counting.n
    assert found.label.tolist() == y.tolist()
    assert np.array_equal(found.predicted == found.label, found.correct)


@dataclass(frozen=True)
class Liar:
    """Claims what it likes."""

    threat: Linf
    images: str
    label = "liar"
    black_box = False
    passes = 0

    def run(self, model, x, y, *, generator=None):
        moved = {"outside": x + 0.2, "bright": x + (1 - x) + 1e-3, "nan": x * float("nan"), "lazy": x}[self.images]
        return Attempt(
            moved, *(Attempt.none(x).__dict__[k] for k in ("forwards", "backwards", "zero_gradient", "nan_gradient"))
        )


@pytest.mark.parametrize("lie", ["outside", "bright", "nan"])
def test_attacks_that_leave_the_threat_are_caught(lie):
    model, x, y = problem(8)
    with pytest.raises(RuntimeError, match=r"budget|range"):
        run_suite(model, (x, y), suite(Liar(Linf(EPS), lie)))


def test_success_is_judged_by_fresh_forwards_not_by_claims():
    model, x, y = problem(8)
    assert not run_suite(model, (x, y), suite(Liar(Linf(EPS), "lazy"))).broken.any()


def test_the_cost_named_beforehand_is_that_of_the_suite_as_it_fits_the_model():
    model, x, y = problem(8)
    made = [quick(0.01), quick(EPS)]
    fitted = [each.without_rules().without_smoothing().without_decisions().passes for each in made]
    assert most_passes(model, x, made) == sum(fitted) < sum(each.passes for each in made)
    settled = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3))
    nn.init.zeros_(settled[1].weight[0])
    nn.init.constant_(settled[1].bias[0], 1e4)  # nothing breaks it
    y = torch.zeros_like(y)
    entry = evaluate(settled, (x, y), quick, EPS).to_dict()
    assert entry["passes"] == most_passes(settled, x, made[1:])
    judged = len(entry["attacks"])  # one forward pass after each attack
    assert sum(entry["cost"].values()) == 8 * (entry["passes"] + judged)


def test_worst_case_is_element_wise_and_columns_are_complete():
    model, x, y = problem()
    two = Suite("two", (("weak", (pgd(EPS, 1, alpha=0.001),)), ("strong", (fgsm(EPS), pgd(EPS, 2)))))
    found = run_suite(model, (x, y), two)
    assert np.array_equal(found.attacked[1], found.correct)  # the second column starts anew
    assert np.array_equal(found.standing(), found.standing([0]) & found.standing([1, 2]))


@pytest.mark.parametrize("last", [fgsm(0.04), CornerSearch(Linf(0.04), 30)], ids=lambda attack: attack.label)
def test_interrupted_evaluation_continues_to_identical_outcomes(last, tmp_path):
    model = spiking()
    x = images(30, (1, 8, 8), low=0.0, high=1.0)
    y = model(x).argmax(1)
    attacks = suite(pgd(0.04, 2), pgd(0.04, 3), last)
    whole = run_suite(model, (x, y), attacks, Effort(batch_size=8, out=tmp_path / "whole"))
    for stop in (1, 5, 9):

        class Stop(Exception):
            pass

        def interrupt(done, total, text, stop=stop):
            if done == stop:
                raise Stop

        out = tmp_path / str(stop)
        with pytest.raises(Stop):
            run_suite(model, (x, y), attacks, Effort(batch_size=8, out=out), progress=interrupt)
        again = run_suite(model, (x, y), attacks, Effort(batch_size=8, out=out))
        for name in Outcomes.__dataclass_fields__:
            assert np.array_equal(getattr(again, name), getattr(whole, name)), name


class Asked(Linear):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return super().forward(x)


@pytest.mark.parametrize("together", [True, False])
def test_a_search_goes_on_from_the_worst_points_of_its_own_column_of_survivors_alone(together):
    """Of a linear network PGD finds the worst corner; a search from there asks it first."""
    model, x = Asked(), images(6)
    y, threat = Linear()(x).argmax(1), Linf(1e-4)
    found = Suite("s", (("a", (pgd(1e-4, 20, loss=margin),)), ("b", (CornerSearch(threat, 1),))), together)
    outcomes = run_suite(model, (x, y), found)
    assert not outcomes.broken.any()
    assert outcomes.images is None  # kept for the search, not for the caller
    shown = model.seen[-2]  # the last one is the judge's
    worst = torch.where(shown > x, threat.bounds(x)[1], threat.bounds(x)[0])
    assert torch.equal(shown, worst)  # a corner in either case
    gained = margin(Linear()(shown), y)
    best = torch.from_numpy(outcomes.margin[0])
    assert bool((gained >= best - 1e-6).all()) == together


def folders(out):
    return sorted(path.name for path in out.iterdir())


def test_outcomes_are_found_again_by_the_same_evaluation_alone(tmp_path):
    model, x, y = problem(8)
    one = suite(fgsm(EPS))
    run_suite(model, (x, y), one, Effort(out=tmp_path))
    (first,) = folders(tmp_path)
    stamp = (tmp_path / first / "batch-00000.npz").stat().st_mtime_ns
    run_suite(model, (x, y), one, Effort(out=tmp_path))
    assert folders(tmp_path) == [first]
    assert (tmp_path / first / "batch-00000.npz").stat().st_mtime_ns == stamp
    run_suite(model, (x, y), one, Effort(out=tmp_path, resume=False))
    assert (tmp_path / first / "batch-00000.npz").stat().st_mtime_ns != stamp
    others = [
        (model, (x, y), suite(fgsm(EPS + 1e-9)), {}),
        (model, (x, y), suite(Attack(Linf(EPS), APGD(EPS, rho=0.75 + 1e-9))), {}),
        (model, (x, 1 - y), one, {}),
        (model, (x, y), one, {"seed": 1}),
        (model, (x, y), one, {"batch_size": 7}),
        (model, (x, y), one, {"candidates": [True] * 7 + [False]}),
        (model, (x, y), one, {"candidates": [False] * 8}),
        (Linear(2, seed=9), (x, y), one, {}),
    ]
    for number, (network, data, attacks, options) in enumerate(others):
        effort = {name: options.pop(name) for name in ("seed", "batch_size") if name in options}
        run_suite(network, data, attacks, Effort(out=tmp_path, **effort), **options)
        assert len(folders(tmp_path)) == number + 2


def test_models_that_differ_in_an_attribute_alone_do_not_share_outcomes(tmp_path):
    class Scaled(Linear):
        def forward(self, x):
            return super().forward(x) * float(self.scale["logits"]) + float(self.shift[-1])

    _, x, y = problem(4)
    model = Scaled(2)
    for number, (scale, shift) in enumerate([(1.5, 0.0), (1.5 + 1e-6, 0.0), (1.5, 1e-9)]):
        model.scale, model.shift = {"logits": torch.tensor(scale)}, np.full(2000, shift) * (np.arange(2000) == 1500)
        model.shift[-1] = 0
        for _ in range(2):  # the same finds its own again
            run_suite(model, (x, y), suite(fgsm(EPS)), Effort(out=tmp_path))
        assert len(folders(tmp_path)) == number + 1


def test_a_curve_that_is_resumed_with_other_radii_is_that_of_a_fresh_one(tmp_path, unchecked):
    model = spiking()
    x = images(40, (1, 8, 8), low=0.0, high=1.0)
    y = model(x).argmax(1)

    def figures(eps, curve, out=None):
        entry = evaluate(model, (x, y), lambda e: suite(pgd(e, 3)), eps, Effort(out=out), curve=curve).to_dict()
        return [(point["eps"], point["accuracy"]) for point in entry["curve"]]

    figures(0.05, [0.1], out=tmp_path)
    assert figures(0.001, [0.1], out=tmp_path) == figures(0.001, [0.1])
    assert figures(0.1, [0.02, 0.05], out=tmp_path) == figures(0.1, [0.02, 0.05])


def test_damaged_outcomes_are_named(tmp_path):
    model, x, y = problem(8)
    run_suite(model, (x, y), suite(fgsm(EPS)), Effort(out=tmp_path))
    (path,) = tmp_path.rglob("batch-00000.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"batch-00000.npz is damaged"):
        run_suite(model, (x, y), suite(fgsm(EPS)), Effort(out=tmp_path))


def test_a_suite_has_one_threat_and_no_attack_twice():
    with pytest.raises(UserError, match="share one threat"):
        suite(fgsm(EPS), fgsm(0.1))
    with pytest.raises(UserError, match="twice"):
        Suite("s", (("a", (fgsm(EPS),)), ("b", (fgsm(EPS),))))
    with pytest.raises(UserError, match="at least one"):
        Suite("s", (("a", ()),))


def test_eps_zero_is_refused():
    model, x, y = problem(4)
    with pytest.raises(UserError, match="eps=0"):
        evaluate(model, (x, y), paper_sr_10, 0, curve=[0.1])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_inverts_the_binomial_tails(case):
    hits, n = case
    low, high = clopper_pearson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    if hits:
        assert binom.sf(hits - 1, n, low) == pytest.approx(0.025, rel=1e-6)
    if hits < n:
        assert binom.cdf(hits, n, high) == pytest.approx(0.025, rel=1e-6)


def test_results_entry():
    model = spiking()
    x = images(40, (1, 8, 8), low=0.0, high=1.0)
    y = model(x).argmax(1)
    y[:4] = (y[:4] + 1) % 4
    entry = evaluate(model, (x, y), paper_sr_10, 0.03, Effort(batch_size=20), curve=[0.01, 0.06]).to_dict()
    json.dumps(entry, allow_nan=False)
    right = entry["clean"].pop("right")
    assert entry["clean"] == rate(np.arange(40) >= 4)
    assert (right["n"], right["bits"]) == (40, "0fffffffff")
    assert int(entry["worst_case"]["right"]["bits"], 16).bit_count() == 40 * entry["worst_case"]["accuracy"]
    assert list(entry["columns"]) == ["FGSM", "RFGSM", "PGD10", "APGD10"]
    assert [p["eps"] for p in entry["curve"]] == [0.0, 0.01, 0.03, 0.06]
    accuracies = [p["accuracy"] for p in entry["curve"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert entry["worst_case"]["accuracy"] == accuracies[2]
    assert entry["worst_case"]["accuracy"] <= min(c["accuracy"] for c in entry["columns"].values())
    assert len(entry["attacks"]) == 16
    for text, attack in entry["attacks"].items():
        assert text.startswith("Attack(threat=Linf(eps=0.03)")
        assert attack["column"] in entry["columns"]
        assert attack["broken"] <= attack["attacked"] <= 36
    points = entry["depth"]["points"]
    assert points[0] == {"passes": 1, **rate(np.arange(40) < 40 * points[0]["accuracy"])}
    assert accuracies[0] >= points[0]["accuracy"] >= points[-1]["accuracy"] == accuracies[2]
    assert entry["depth"]["survivors"]["n"] == entry["depth"]["next_doubling"]["standing"] == 40 * accuracies[2]
    assert entry["worst_case"]["at_most"] == bool(entry["depth"]["at_most"])
    assert ("at most" in summary(entry)) == entry["worst_case"]["at_most"]
    last = [a for a in entry["attacks"].values() if a["column"] == "PGD10"][-1]
    assert last["accuracy"] == entry["columns"]["PGD10"]["accuracy"]


def test_model_without_neurons_is_evaluated_by_its_own_gradient():
    model, x, y = problem(20)
    entry = evaluate(model, (x, y), paper_sr_10, EPS).to_dict()
    assert len(entry["attacks"]) == 4
    assert not any("rule" in text for text in entry["attacks"])


def test_a_random_model_is_flagged():
    class Noisy(torch.nn.Module):
        def forward(self, x):
            return Linear(2)(x) + torch.randn(len(x), 2)

    _, x, y = problem(20)
    flags = evaluate(Noisy(), (x, y), lambda e: suite(fgsm(e)), EPS).flags
    assert [flag["name"] for flag in flags if flag["masking"]] == ["random"]


def test_a_model_that_answers_nan_is_flagged_and_wrong_not_random():
    class Nan(torch.nn.Module):
        def forward(self, x):
            return Linear(2)(x) * torch.where(x.flatten(1).mean(1, keepdim=True) > 0.5, torch.nan, 1.0)

    _, x, y = problem(20)
    entry = evaluate(Nan(), (x, y), lambda e: suite(fgsm(e)), EPS).to_dict()
    assert "nan-logits" in [f["name"] for f in entry["flags"]]
    assert "random" not in [f["name"] for f in entry["flags"]]
    assert entry["clean"]["accuracy"] <= float((x.flatten(1).mean(1) <= 0.5).float().mean())


def test_input_gradient_is_that_of_the_true_probability():
    model, x, y = problem(6)
    z = model(x)
    p = torch.softmax(z, 1)
    py = p.gather(1, y[:, None])
    expected = py * (model.weight[y] - p @ model.weight)
    torch.testing.assert_close(input_gradient(model, x, y).flatten(1), expected.detach())


def test_pictures_show_what_the_attack_found():
    model = spiking()
    x = torch.randint(0, 255, (9, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = model(x / 255).argmax(1)
    shown = pictures(model, ImageSet(x, y, ("a", "b", "c", "d"), "test"), paper_sr_10(0.1), count=6)
    assert shown["image"].shape == shown["adversarial"].shape == shown["gradient"].shape == (6, 1, 8, 8)
    assert np.abs(shown["adversarial"] - shown["image"]).max() <= 0.1 + 1e-6
    adversarial = torch.from_numpy(shown["adversarial"])
    assert model(adversarial).argmax(1).tolist() == shown["predicted_adversarial"].tolist()
    assert shown["predicted"].tolist() == shown["label"].tolist() == y[:6].tolist()


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (torch.zeros(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64), "no images"),
        (torch.full((2, 1, 4, 4), 3.0), torch.zeros(2, dtype=torch.int64), "normalise inside"),
        (torch.zeros(2, 1, 4, 4), torch.tensor([0, 7]), "label 7"),
    ],
)
def test_bad_data(x, y, text):
    with pytest.raises(UserError, match=text):
        run_suite(Linear(2), (x, y), suite(fgsm(EPS)))


def test_a_callback_sees_each_attack_on_each_batch():
    model, x, y = problem()
    seen = []
    members = suite(fgsm(EPS), pgd(EPS, 3))
    found = evaluate(model, (x, y), lambda eps: members, EPS, Effort(batch_size=40), on_attack=seen.append)
    assert [(one["attack"], one["batch"], one["batches"]) for one in seen] == [
        (attack.label, batch, 2) for batch in (1, 2) for _, attack in members.members()
    ]
    outcomes = found.outcomes
    for row in (0, 1):
        assert sum(one["broken"] for one in seen[row::2]) == outcomes.broken[row].sum()
        assert sum(one["attacked"] for one in seen[row::2]) == outcomes.attacked[row].sum()
    assert sum(one["standing"] for one in seen[1::2]) == found.standing.sum()
    assert {(one["suite"], one["eps"], one["column"]) for one in seen} == {("test", EPS, "all")}
