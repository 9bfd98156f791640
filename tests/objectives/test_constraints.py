"""Constraints: what they do to singular values and mixtures, exactly."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.models import wide_resnet16
from robustsnn.neurons import IF
from robustsnn.objectives.constraints import ConvexShortcuts, OrthogonalRetraction, project_simplex


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    layer.weight.data.copy_(weight)
    return layer


def with_values(values, rows, columns, seed=0):
    """A random [rows, columns] matrix with these singular values."""
    g = draws(seed)
    u = torch.linalg.qr(torch.randn(rows, rows, generator=g, dtype=torch.float64)).Q
    v = torch.linalg.qr(torch.randn(columns, columns, generator=g, dtype=torch.float64)).Q
    k = min(rows, columns)
    return u[:, :k] * torch.tensor(values, dtype=torch.float64) @ v[:, :k].T


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize("beta", [0.002, 0.1])
def test_retraction_is_a_gradient_step_of_a_quarter_beta(shape, beta):
    w = torch.randn(shape, generator=draws(), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad((w @ w.T - torch.eye(shape[0])).square().sum(), w)
    layer = linear(w.detach())
    OrthogonalRetraction(beta)(layer, generator=draws())
    torch.testing.assert_close(layer.weight.detach(), w.detach() - beta / 4 * gradient)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.floats(0.0, 2.0), min_size=3, max_size=3),
    st.sampled_from([(3, 4), (4, 3), (3, 3)]),
    st.floats(1e-4, 0.5),
)
def test_each_singular_value_moves_by_the_cubic_and_the_vectors_stay(values, shape, beta):
    w = with_values(values, *shape)
    layer = linear(w)
    OrthogonalRetraction(beta)(layer, generator=draws())
    moved = layer.weight.detach()
    expected = [s * (1 + beta * (1 - s * s)) for s in values]
    torch.testing.assert_close(moved, with_values(expected, *shape), rtol=0, atol=1e-12)
    for s, t in zip(values, expected, strict=True):
        if 0 < beta * s * (s + 1) <= 1:
            assert min(s, 1) - 1e-12 <= t <= max(s, 1) + 1e-12  # towards 1 and not beyond
        if s > 1e-3 and abs(s - 1) > 1e-3 and beta * s * (s + 1) < 2:
            assert abs(t - 1) < abs(s - 1)


def test_orthonormal_rows_are_fixed_and_iteration_finds_them():
    fixed = with_values([1.0] * 3, 3, 6)
    layer = linear(fixed)
    OrthogonalRetraction(0.01)(layer, generator=draws())
    torch.testing.assert_close(layer.weight.detach(), fixed)
    layer = linear(with_values([0.3, 1.0, 1.9], 3, 6))
    for _ in range(12):
        OrthogonalRetraction(0.5)(layer, generator=draws())
    torch.testing.assert_close(layer.weight.detach() @ layer.weight.detach().T, torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_a_matrix_of_output_channels(memory):
    conv = nn.Conv2d(2, 3, 3).to(memory_format=memory)
    alike = linear(conv.weight.detach().reshape(3, 18))
    bias = conv.bias.detach().clone()
    OrthogonalRetraction(0.1)(nn.Sequential(nn.BatchNorm2d(2), conv), generator=draws())
    OrthogonalRetraction(0.1)(alike, generator=draws())
    torch.testing.assert_close(conv.weight.reshape(3, 18), alike.weight)
    assert conv.weight.is_contiguous(memory_format=memory)
    assert torch.equal(conv.bias, bias)


def test_large_linear_layers_move_a_share_of_their_rows_as_a_matrix_of_their_own():
    w = 0.1 * torch.randn(20, 30, generator=draws(), dtype=torch.float64)
    retraction = OrthogonalRetraction(0.1, rows=20, share=0.3)
    layer, again, other = linear(w), linear(w), linear(w)
    retraction(layer, generator=draws(1))
    moved = (layer.weight.detach() != w).any(1)
    assert moved.sum() == 6
    part = linear(w[moved])
    OrthogonalRetraction(0.1)(part, generator=draws())
    torch.testing.assert_close(layer.weight.detach()[moved], part.weight.detach())
    retraction(again, generator=draws(1))
    retraction(other, generator=draws(2))
    assert torch.equal(again.weight, layer.weight)
    assert not torch.equal(other.weight, layer.weight)
    # A row fewer, or a convolution of that size, moves as a whole.
    for whole in (linear(w[:19]), nn.Conv2d(30, 20, 1)):
        before = whole.weight.detach().clone()
        retraction(whole, generator=draws(1))
        assert bool((whole.weight != before).flatten(1).any(1).all())


def test_the_limit_of_growth_is_where_the_cubic_says():
    beta = 0.02
    limit = math.sqrt(1 + 2 / beta)
    shrinks = linear(with_values([0.999 * limit, 0.5, 0.1], 3, 5))
    OrthogonalRetraction(beta)(shrinks, generator=draws())
    assert torch.linalg.matrix_norm(shrinks.weight.detach(), 2) < 0.999 * limit
    values = [1.001 * limit, 0.5, 0.1]
    grows = nn.Sequential(linear(with_values(values, 3, 5)))
    before = grows[0].weight.detach().clone()
    assert abs(values[0] * (1 + beta * (1 - values[0] ** 2))) > values[0]
    with pytest.raises(UserError, match=r"singular value of 0 is 10.06.*10.05.*use beta below 0.02"):
        OrthogonalRetraction(beta)(grows, generator=draws())
    assert torch.equal(grows[0].weight, before)


def test_many_values_just_below_the_limit_are_no_error():
    beta = 0.02  # their Frobenius norm is beyond the limit, the spectral norm is not
    layer = linear(with_values([9.0] * 6, 6, 6))
    OrthogonalRetraction(beta)(layer, generator=draws())
    s = 9 * (1 + beta * (1 - 81))
    torch.testing.assert_close(torch.linalg.svdvals(layer.weight.detach()), torch.full((6,), abs(s)).double())


def test_weights_beyond_float_are_an_error_too():
    with pytest.raises(UserError, match="inf"):
        OrthogonalRetraction(0.01)(linear(torch.full((2, 2), 1e30)), generator=draws())


reals = st.lists(st.floats(-5, 5), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(reals)
def test_projection_meets_the_optimality_conditions(values):
    v = torch.tensor(values, dtype=torch.float64)
    p = project_simplex(v)
    assert bool((p >= 0).all())
    assert abs(p.sum().item() - 1) < 1e-12
    # KKT: v - p is one number where p > 0, and no larger where p = 0.
    tau = (v - p)[p > 0].mean()
    assert bool(((v - p)[p > 0] - tau).abs().max() < 1e-12)
    assert bool(((v - p)[p == 0] <= tau + 1e-12).all())
    torch.testing.assert_close(project_simplex(p), p, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_projection_is_the_nearest_over_all_faces(values):
    """Brute force: the projection onto the affine hull of each face, where that lies in the face."""
    v = torch.tensor(values, dtype=torch.float64)
    candidates = []
    for size in (1, 2, 3):
        for face in itertools.combinations(range(3), size):
            p = torch.zeros(3, dtype=torch.float64)
            p[list(face)] = v[list(face)] - (v[list(face)].sum() - 1) / size
            if bool((p >= 0).all()):
                candidates.append(p)
    nearest = min(candidates, key=lambda p: (p - v).norm().item())
    torch.testing.assert_close(project_simplex(v), nearest, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=6))
def test_projection_does_not_expand(pairs):
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    assert (project_simplex(a) - project_simplex(b)).norm() <= (a - b).norm() + 1e-12


def test_projection_of_huge_values_and_of_rows():
    torch.testing.assert_close(project_simplex(torch.tensor([3e9, 1.0])), torch.tensor([1.0, 0.0]))
    rows = torch.randn(4, 3, generator=draws())
    torch.testing.assert_close(project_simplex(rows), torch.stack([project_simplex(row) for row in rows]))


def test_shortcuts_become_convex_and_nothing_else_changes():
    model = wide_resnet16(image=(1, 8, 8), classes=3, neuron=IF(), steps=2)
    mixtures = {n: p for n, p in model.named_parameters() if "mix" in n}
    assert len(mixtures) == 6
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    constraint = ConvexShortcuts()
    constraint(model, generator=draws())
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())  # (1/2, 1/2) is convex
    with torch.no_grad():
        for p in mixtures.values():
            p.copy_(torch.tensor([1.4, -0.2]))
    constraint(model, generator=draws())
    assert all(p.tolist() == [1.0, 0.0] for p in mixtures.values())
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n not in mixtures)


def test_a_mixture_may_be_a_module():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.ParameterDict({"weight": nn.Parameter(torch.tensor([2.0, 0.0]))})
            self.mixed = nn.Parameter(torch.tensor([2.0, 0.0]))

    model = nn.Sequential(Block())
    ConvexShortcuts()(model, generator=draws())
    assert model[0].mix["weight"].tolist() == [1.0, 0.0]
    assert model[0].mixed.tolist() == [2.0, 0.0]


def test_a_network_without_mixtures_is_refused():
    with pytest.raises(UserError, match="no parameter of that name"):
        ConvexShortcuts()(nn.Linear(2, 2), generator=draws())


@pytest.mark.parametrize(
    "bad", [{"beta": 0}, {"beta": 0.6}, {"beta": math.nan}, {"beta": 0.1, "rows": 0}, {"beta": 0.1, "share": 0.0}]
)
def test_bad_arguments(bad):
    with pytest.raises(UserError):
        OrthogonalRetraction(**bad)
