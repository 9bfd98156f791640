"""Input gradients: norms and measures of sparsity against closed forms, and what `gradients` makes of a network."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import Linear, images, spiking
from robustsnn.encoders.rate import Poisson
from robustsnn.evaluation.samples import input_gradient
from robustsnn.ground.errors import UserError
from robustsnn.models import Plan, vgg
from robustsnn.neurons import ASSG, IF, RGA, STBP, Arctan, gradient_rule
from robustsnn.studies.gradients.measure import gradients
from robustsnn.studies.shared import norms
from robustsnn.studies.shared.medians import Proportion, median, rank_correlation, share

X, Y = images(7, (1, 8, 8), low=0.0, high=1.0), torch.arange(7) % 4
RULES = {"own": None, "arctan": STBP(Arctan()), "assg": ASSG()}

entries = st.one_of(st.just(0.0), st.floats(1e-3, 10), st.floats(-10, -1e-3))
vectors = st.lists(entries, min_size=2, max_size=30).map(lambda v: torch.tensor([v], dtype=torch.float64))
nonzero = vectors.filter(lambda v: bool(v.any()))


class Constant(nn.Module):
    """Logits that depend on the pixels with weight zero: connected, and constant."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.5])


@settings(deadline=None)
@given(vectors)
def test_norms_are_ordered(g):
    l0, l1, l2 = norms.l0(g).item(), norms.l1(g).item(), norms.l2(g).item()
    assert l2 <= l1 * (1 + 1e-12)
    assert l1 <= math.sqrt(l0) * l2 * (1 + 1e-12)
    assert (l0 == 0) == (l1 == 0) == (l2 == 0)


@settings(deadline=None)
@given(nonzero, st.floats(1e-30, 1e30), st.randoms(use_true_random=False))
def test_sparsity_depends_neither_on_scale_nor_sign_nor_order(g, scale, random):
    order = list(range(g.shape[1]))
    random.shuffle(order)
    other = -scale * g[:, order]
    for measure in (norms.gini, norms.hoyer, lambda rows: norms.near_zero(rows, 0.0)):
        assert measure(other).item() == pytest.approx(measure(g).item(), abs=1e-12)


@settings(deadline=None)
@given(nonzero)
def test_sparsity_is_between_equal_entries_and_a_single_one(g):
    n = g.shape[1]
    assert -1e-12 <= norms.gini(g).item() <= 1 - 1 / n + 1e-12
    assert 0 <= norms.hoyer(g).item() <= 1
    # Robin Hood: moving magnitude from the largest to the smallest entry makes it less sparse.
    a = g.abs().sort(1).values
    shift = (a[0, -1] - a[0, 0]) / 4
    shared = a.clone()
    shared[0, -1] -= shift
    shared[0, 0] += shift
    assert norms.gini(shared).item() <= norms.gini(a).item() + 1e-12
    assert norms.hoyer(shared).item() <= norms.hoyer(a).item() + 1e-12


@pytest.mark.parametrize("n", [2, 5, 64])
def test_closed_forms_of_gini_and_hoyer(n):
    one, equal = torch.zeros(1, n), -torch.full((1, n), 0.3)
    one[0, n // 2] = -1e-25  # its square is zero in float32
    assert norms.gini(one).item() == pytest.approx(1 - 1 / n)
    assert norms.hoyer(one).item() == pytest.approx(1)
    assert norms.gini(equal).item() == pytest.approx(0, abs=1e-12)
    assert norms.hoyer(equal).item() == pytest.approx(0, abs=1e-12)
    k = torch.arange(1.0, n + 1)[None]  # magnitudes 1 .. n
    assert norms.gini(k).item() == pytest.approx((n - 1) / (3 * n))
    l2 = math.sqrt(n * (n + 1) * (2 * n + 1) / 6)
    assert norms.hoyer(k).item() == pytest.approx((math.sqrt(n) - n * (n + 1) / 2 / l2) / (math.sqrt(n) - 1))
    assert norms.l2(one).item() == pytest.approx(1e-25)
    assert norms.near_zero(one, 0.5).item() == pytest.approx(1 - 1 / n)
    assert math.isnan(norms.gini(0 * one).item())
    assert math.isnan(norms.hoyer(0 * one).item())
    assert norms.near_zero(0 * one, 0.0).item() == 1


def test_gradients_are_those_of_autograd_under_each_rule():
    model = spiking()
    found = gradients(model, (X, Y), rules=RULES, keep=7)
    heat = found.heatmaps()
    assert heat["gradient"].shape == (3, 7, 1, 8, 8)
    for i, (label, rule) in enumerate(RULES.items()):
        with gradient_rule(model, rule):
            expected = input_gradient(model, X, Y)
        assert heat["rule"][i] == label
        assert torch.allclose(torch.from_numpy(heat["gradient"][i]), expected, rtol=1e-4, atol=1e-7)
        flat = expected.flatten(1).double()
        measures = found.spreads[label].measures
        assert measures["l0"].tolist() == (flat != 0).sum(1).tolist()
        assert measures["l1"].tolist() == pytest.approx(flat.abs().sum(1).tolist(), rel=1e-4)
        assert measures["l2"].tolist() == pytest.approx(flat.norm(dim=1).tolist(), rel=1e-4)
    with torch.no_grad():
        probability = torch.softmax(model(X).double(), 1)[torch.arange(7), Y]
    assert heat["value"].tolist() == pytest.approx(probability.tolist())
    assert np.array_equal(heat["image"], X.numpy())


def test_a_confident_network_keeps_its_gradient():
    model = Linear().double()
    with torch.no_grad():
        model.weight *= 30
    x = images(20).double()
    y = model(x).argmax(1)
    lead = model(x).sort(1).values.diff(dim=1)[:, -1]
    sure = (lead > 20) & (lead < 33)  # float32 rounds the probability to one
    assert sure.any()
    measures = gradients(model, (x[sure], y[sure])).spreads["own"].measures
    assert (measures["l0"] == 16).all()


def test_histograms_count_every_entry():
    found = gradients(spiking(), (X, Y), rules=RULES, bins=11, keep=7)
    values = found.heatmaps()["gradient"].reshape(3, 7, 64).astype(np.float64)
    for g, spread in zip(values, found.spreads.values(), strict=True):
        unit = g / np.abs(g).max(1, keepdims=True)
        assert spread.normalised.counts == tuple(np.histogram(unit, 11, (-1, 1))[0].tolist())
        for sign, counts in ((-1, spread.magnitudes.negative), (1, spread.magnitudes.positive)):
            logs = np.log10(sign * g[sign * g > 0]).clip(-12, 2)
            assert counts == tuple(np.histogram(logs, 56, (-12, 2))[0].tolist())


def assert_same(a: object, b: object) -> None:
    """Structure and counts equal, floats within rounding."""
    if isinstance(a, dict):
        assert isinstance(b, dict)
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert isinstance(b, list)
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, str):
        assert a == b
    else:
        assert a == pytest.approx(b, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("encoder", [None, Poisson(3)])
def test_batch_size_does_not_matter_and_nothing_is_left_behind(encoder):
    torch.manual_seed(1)
    model = (
        spiking()
        if encoder is None
        else vgg(Plan(((6,), (8,)), (12,)), image=(1, 8, 8), classes=4, neuron=IF(), steps=3, encoder=encoder)
    )
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rules = [layer.rule for layer in model.modules() if hasattr(layer, "rule")]
    state = torch.random.get_rng_state()
    found = [gradients(model, (X, Y), rules=RULES, batch_size=size, keep=2).to_dict() for size in (1, 3, 64)]
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert rules == [layer.rule for layer in model.modules() if hasattr(layer, "rule")]


def test_a_constant_network_has_null_and_no_nan():
    found = gradients(Constant(), (images(3), torch.tensor([0, 1, 2])))
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    (rule,) = shown["rules"]
    assert rule["zero"] == 3
    assert rule["l1"]["mean"] == 0
    assert rule["sparsity"]["mean"] == 1
    assert rule["gini"]["mean"] is rule["hoyer"]["interval"] is None
    assert rule["samples"]["gini"] == [None] * 3
    assert sum(rule["normalised"]["counts"]) == sum(rule["magnitudes"]["positive"]) == 0


class Detached(Linear):
    """Logits without gradient at the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


class Broken(Linear):
    """A NaN in one logit."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * torch.tensor([1, math.nan, 1])


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (Linear(), {"rules": {}}, "at least one"),
        (Linear(), {"rules": {"rga": RGA()}}, "no robustsnn neuron layers"),
        (Linear(), {"tolerances": (1.0,)}, r"in \[0, 1\)"),
        (Linear(), {"bins": 0}, "bins=0"),
        (Linear(), {"keep": -1}, "keep=-1"),
        (Linear(), {"batch_size": 0}, "batch_size=0"),
        (Linear(), {"loss": lambda logits, y: logits}, "one loss per sample"),
        (Linear(2), {}, "label 2"),
        (Detached(), {}, "no gradient with respect to its input"),
        (Broken(), {}, "not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(model, options, reason):
    with pytest.raises(UserError, match=reason):
        gradients(model, (images(3), torch.tensor([0, 1, 2])), **options)


def test_no_images_are_kept_and_no_tolerances_asked():
    found = gradients(Linear(), (images(3), torch.tensor([0, 1, 2])), keep=0, tolerances=())
    assert found.heatmaps()["gradient"].shape == (1, 0, 1, 4, 4)
    assert found.to_dict()["rules"][0]["near"] == []


def test_the_interval_of_the_median_covers_it():
    draws = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        low, high = median(draws.exponential(size=20)).interval
        hits += low <= math.log(2) <= high
    assert 0.93 <= hits / 400 <= 0.99  # exactly 95.9 % of all
    assert median(np.arange(5.0)).interval is None
    assert median(np.arange(6.0)).interval == (0, 5)  # 1 - 2 / 2^6
    assert median(np.array([math.nan, 3.0])).median == 3


def test_ranks_and_shares():
    a = np.array([1.0, 5.0, math.nan, 2.0, 9.0])
    assert rank_correlation(a, np.exp(a)) == {"value": pytest.approx(1), "n": 4}
    assert rank_correlation(a, -a)["value"] == pytest.approx(-1)
    assert rank_correlation(a, np.ones(5))["value"] is None
    assert share(np.array([], bool)) == Proportion(None, 0, None)
    assert share(np.array([True, False])).share == 0.5
