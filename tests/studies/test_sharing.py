"""Shared sparsity: correlations against their definitions, depth from the graph, and planted couplings."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from helpers import Linear, images, spiking
from robustsnn.encoders import Rate
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy, margin
from robustsnn.models import Plan, vgg, wide_resnet
from robustsnn.neurons import IF, STBP, Arctan, Triangle
from robustsnn.statistics.correlation import pearson, spearman
from robustsnn.studies.theory.depth import depths
from robustsnn.studies.theory.sharing import sharing

X, Y = images(8, (1, 8, 8), low=0.0, high=1.0), torch.arange(8) % 4


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12))
def test_correlations_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = [float(p) for p, _ in pairs], [float(q) for _, q in pairs]
    for mine, theirs in ((pearson(a, b), stats.pearsonr), (spearman(a, b), stats.spearmanr)):
        if len(set(a)) < 2 or len(set(b)) < 2:
            assert mine is None
            continue
        assert mine is not None
        assert mine.value == pytest.approx(theirs(a, b)[0], abs=1e-9)
        if mine.interval is None:
            assert abs(mine.value) == pytest.approx(1)
        else:
            assert mine.interval[0] < mine.value < mine.interval[1]


def test_fishers_interval() -> None:
    a, b = [1.0, 2, 3, 4, 5, 6, 7], [2.0, 1, 4, 3, 7, 5, 6]
    expected = stats.pearsonr(a, b).confidence_interval(0.95)
    found = pearson(a, b)
    assert found is not None
    assert found.interval == pytest.approx((expected.low, expected.high))
    ranks = spearman(a, b)
    assert ranks is not None
    assert ranks.interval is not None
    half = math.atanh(ranks.interval[1]) - math.atanh(ranks.value)
    assert half == pytest.approx(1.959964 * math.sqrt((1 + ranks.value**2 / 2) / 4), rel=1e-6)
    assert pearson([1.0, 2, 3], [1.0, 3, 2]).interval is None  # type: ignore[union-attr]


class Branches(nn.Module):
    """Registered in another order than they are run: a, b twice, c, all around a shortcut, then d; e is not used."""

    def __init__(self) -> None:
        super().__init__()
        for name in "edcba":
            setattr(self, name, nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x.flatten(1)).relu()
        return self.d(self.c(self.b(self.b(h))) + h)


def test_depth_is_the_longest_way_from_the_input() -> None:
    model, leaf = Branches(), torch.rand(2, 1, 2, 2, requires_grad=True)
    weights = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    found = depths(model(leaf), leaf, weights)
    assert found == {"a.weight": 1, "b.weight": 2, "c.weight": 4, "d.weight": 5}
    assert depths(torch.ones(2), leaf, weights) == {}


def test_depth_in_a_residual_network() -> None:
    torch.manual_seed(0)
    model = wide_resnet(image=(1, 8, 8), classes=4, neuron=IF(), steps=2, depth=10, width=1)
    model.requires_grad_(True)
    leaf = X[:1].clone().requires_grad_()
    found = depths(model(leaf), leaf, {name: p for name, p in model.named_parameters() if p.ndim > 1})
    assert found["body.0.0.weight"] == 1
    assert (found["body.1.conv1.0.weight"], found["body.1.conv2.0.weight"]) == (2, 3)
    assert found["body.2.shortcut.0.weight"] == found["body.2.conv1.0.weight"] == 4
    assert max(found.values()) == found["body.8.weight"] == 8


class Gated(nn.Module):
    """logits = V (m * (W x)) with m = (x > 0): the zeros of a sample's pixels are those of its gradients."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        self.far = nn.Parameter(torch.randn(4, 6, generator=draws))
        self.near = nn.Parameter(torch.randn(6, generator=draws)[None])

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.near.abs()) @ self.far.T


def gates(n: int) -> Tensor:
    return torch.stack([(torch.arange(6) <= i % 6).float() * (0.5 + 0.1 * i) for i in range(n)])


def test_a_planted_coupling_is_found() -> None:
    """The gradient at `near` is x times a vector without zeros, so it has the zeros of x; that at the input has none.
    A relu of x in front gives the input gradient the same zeros."""

    class Masked(Gated):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.relu())

    n = 8
    x, y = gates(n), torch.arange(n) % 4
    shares = [(5 - i % 6) / 6 for i in range(n)]
    found = sharing(Masked(), (x, y))
    near, far = found.tensors
    assert (near.name, near.depth, far.name, far.depth) == ("near", 1, "far", 2)
    assert found.input_sparsity == near.sparsity == pytest.approx(sum(shares) / n)
    assert near.pearson is not None
    assert near.pearson.value == pytest.approx(1)
    assert near.pearson.interval is None
    assert near.ratio.value == pytest.approx(1)
    assert far.pearson is not None
    assert far.pearson.value == pytest.approx(1)
    assert found.trend is None or found.undefined == 0


def test_no_variance_is_no_correlation() -> None:
    x, y = gates(8), torch.arange(8) % 4
    found = sharing(Gated(), (x, y))  # the input gradient has no zeros at all
    assert not found.input_varies
    assert found.input_sparsity == 0
    assert [(t.pearson, t.spearman, t.ratio.value) for t in found.tensors] == [(None, None, None)] * 2
    assert (found.undefined, found.trend, found.grows_towards_input) == (2, None, None)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["tensors"][0]["pearson"] is None


def test_sparsities_are_those_of_autograd() -> None:
    model = spiking(steps=2)
    rule = STBP(Triangle())
    for layer in model.modules():
        if hasattr(layer, "rule"):
            layer.rule = STBP(Arctan())
    found = sharing(model, (X, Y), rule=rule, loss=margin, samples=6)
    assert (found.n, found.rule, found.loss) == (6, repr(rule), "margin")
    for layer in model.modules():
        if hasattr(layer, "rule"):
            layer.rule = rule
    inputs: list[float] = []
    zeros: dict[str, list[float]] = {tensor.name: [] for tensor in found.tensors}
    for i in range(6):
        model.zero_grad()
        leaf = X[i : i + 1].clone().requires_grad_()
        margin(model(leaf), Y[i : i + 1]).sum().backward()
        assert leaf.grad is not None
        inputs.append(float((leaf.grad == 0).double().mean()))
        for name, values in zeros.items():
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            values.append(float((gradient == 0).double().mean()))
    assert [t.depth for t in found.tensors] == [1, 2, 3, 4]
    assert found.input_sparsity == pytest.approx(sum(inputs) / 6)
    for tensor in found.tensors:
        assert tensor.sparsity == pytest.approx(sum(zeros[tensor.name]) / 6)
        expected = pearson(inputs, zeros[tensor.name])
        assert (tensor.pearson is None) == (expected is None)
        if tensor.pearson is not None and expected is not None:
            assert tensor.pearson.value == pytest.approx(expected.value, abs=1e-6)


def test_behind_the_encoder() -> None:
    torch.manual_seed(0)
    model = vgg(Plan(((4,),), (6,)), image=(1, 8, 8), classes=4, neuron=IF(), steps=3, encoder=Rate(3)).eval()
    found = sharing(model, (X, Y), at="code")
    code = model.encoder(X[:1]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model.read(code), Y[:1]).sum(), code)
    one = sharing(model, (X[:1].expand(4, -1, -1, -1), Y[:1].expand(4)), at="code")
    assert one.input_sparsity == pytest.approx(float((gradient == 0).double().mean()))
    assert not one.input_varies
    assert found.at == "code"


def test_wrong_input_is_named() -> None:
    model = spiking()
    with pytest.raises(UserError, match="allowed are pixels, code"):
        sharing(model, (X, Y), at="spikes")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no encoder"):
        sharing(Linear(image=(1, 8, 8)), (X, Y % 3), at="code")
    with pytest.raises(UserError, match="samples=3"):
        sharing(model, (X, Y), samples=3)
    with pytest.raises(UserError, match="no weight matrices"):
        sharing(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), (X, Y))


def test_the_model_is_left_as_it_was() -> None:
    model = spiking().train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    sharing(model, (X, Y), samples=4)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
