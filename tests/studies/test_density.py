"""Theorem 4.4: both sides on constructed networks, where the bound holds, is vacuous, or is broken."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import images, spiking
from robustsnn.encoders import Rate
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy, margin
from robustsnn.models import Plan, vgg
from robustsnn.neurons import IF, STBP, Arctan, Triangle
from robustsnn.studies.theory.density import DensityBound, density_bound
from robustsnn.studies.theory.two_layer import sparse_weight, two_layer


def spikes(n: int, steps: int, d: int, per_step: int, seed: int = 0) -> Tensor:
    """`[n, T, 1, 1, d]` with exactly so many spikes at each step."""
    draws = torch.rand(n, steps, d, generator=torch.Generator().manual_seed(seed))
    return (draws.argsort(-1) < per_step).float().view(n, steps, 1, 1, d)


def holding(found: DensityBound, part: str) -> bool:
    (assumption,) = [a for a in found.assumptions if part in a.text]
    return assumption.holds


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 6), st.integers(1, 4), st.data())
def test_dense_weights_break_equation_13_unless_all_inputs_spike(d: int, steps: int, data: st.DataObject) -> None:
    """W2 W1 and W2 S have no zeros, so the left side is d T, the right (T/d)(k/d) d^2 = T k with k spikes a step."""
    k = data.draw(st.integers(1, d))
    model = two_layer((1 + torch.rand(d, d), 1 + torch.rand(d, d)), steps)
    found = density_bound(model, (spikes(2, steps, d, k), torch.arange(2)), samples=2)
    equation = found.bounds[1]
    assert (found.steps, found.inputs, found.k_inputs, found.k_weights) == (steps, d, k, d)
    assert equation.reading == "equation 13"
    assert (equation.left.mean, equation.below.mean, equation.entries) == (d * steps, d * d, d * steps)
    assert equation.right == pytest.approx(steps * k)
    assert equation.holds == equation.vacuous == (k == d)
    assert all(assumption.holds for assumption in found.assumptions)  # and still it is broken


def test_the_bound_holds_for_a_permutation_that_all_inputs_reach() -> None:
    """W1 = W2 = 1: k_W1 = 1, ||W2 W1||_0 = d, ||W2 S||_0 = T k; the right side is (T/d) k d = T k, equal."""
    d, steps, k = 6, 3, 2
    model = two_layer((torch.eye(d), torch.eye(d)), steps)
    found = density_bound(model, (spikes(4, steps, d, k), torch.arange(4)))
    equation = found.bounds[1]
    assert (equation.left.mean, equation.right) == (steps * k, pytest.approx(steps * k))
    assert equation.holds
    assert not equation.vacuous


def test_the_gradient_reading_on_dense_weights() -> None:
    """arctan is nowhere flat: rows of W1's gradient are full at inputs that ever spiked, the input gradient is full."""
    d, steps = 5, 2
    torch.manual_seed(0)
    model = two_layer((torch.rand(d, d), torch.rand(d, d)), steps)
    s = torch.zeros(1, steps, 1, 1, d)
    s[0, 0, 0, 0, 1] = s[0, 1, 0, 0, 3] = 1
    (gradients, _) = density_bound(model, (s, torch.tensor([0]))).bounds
    assert (gradients.left.mean, gradients.entries, gradients.below.mean) == (2 * d, d * d, d)
    assert gradients.right == pytest.approx(steps / d * 1 / d * d)
    assert not gradients.holds
    assert gradients.left.interval() is None


def test_gradients_are_those_of_autograd() -> None:
    d, steps = 8, 3
    model = two_layer((sparse_weight(d, d, 0.4, seed=1), sparse_weight(d, d, 0.4, seed=2)), steps)
    s, y = spikes(5, steps, d, 3), torch.arange(5)
    found = density_bound(model, (s, y), loss=margin, samples=4, rule=STBP(Triangle()))
    for layer in (model.body[2], model.body[4]):
        layer.rule = STBP(Triangle())
    left, below = [], []
    for i in range(4):
        leaf = s[i : i + 1].clone().requires_grad_()
        loss = margin(model(leaf), y[i : i + 1]).sum()
        at, weight = torch.autograd.grad(loss, [leaf, model.body[1].weight])
        left.append(int((weight != 0).sum()))
        below.append(int((at != 0).sum()) / steps)
    assert found.bounds[0].left.mean == sum(left) / 4
    assert found.bounds[0].below.mean == pytest.approx(sum(below) / 4)
    assert not holding(found, "arctan")
    assert (found.n, found.loss) == (4, "margin")


def test_a_column_and_a_row_that_meet_break_equations_15_and_16() -> None:
    """W2 has entries in its first column alone, W1 in its first row: k = 1 each, but every path meets in neuron 1."""
    d = 8
    w1, w2 = torch.zeros(d, d), torch.zeros(d, d)
    w1[0], w2[:, 0] = 1, 1
    s = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]).view(1, 1, 1, 1, d)
    found = density_bound(two_layer((w1, w2), 1), (s, torch.tensor([0])))
    inequality = {a.text.split("(")[-1]: a for a in found.assumptions if a.observed is not None}
    fifteen, sixteen, apart = inequality.values()
    assert (fifteen.observed, fifteen.claimed, fifteen.holds) == (1 / d, 1 / d**2, False)
    assert (sixteen.observed, sixteen.claimed, sixteen.holds) == (1, 1 / d**2, False)
    assert (apart.observed, apart.claimed, apart.holds) == (1 / d, 1 / d**2, False)
    equation = found.bounds[1]
    assert (equation.left.mean, equation.right) == (d, pytest.approx(1 / d * 2 / 1 * d * d))
    assert equation.vacuous


def test_sums_of_independent_entries_break_equation_16_alone() -> None:
    """Random places: the probability of an element is bounded, that of a sum of d of them is up to d times larger."""
    d = 32
    found = density_bound(
        two_layer((sparse_weight(d, d, 0.1, seed=1), sparse_weight(d, d, 0.1, seed=2)), 1),
        (spikes(1, 1, d, 2), torch.tensor([0])),
    )
    assert holding(found, "equation 15")
    assert not holding(found, "equation 16")
    assert holding(found, "independence")


def test_a_convolution_is_the_matrix_that_it_is() -> None:
    torch.manual_seed(0)
    model = vgg(Plan(((3,),), (5,)), image=(2, 4, 4), classes=4, neuron=IF(), steps=2, encoder=Rate(2))
    convolution = model.body[0][0]
    with torch.no_grad():
        convolution.weight[:, 0] = 0
        convolution.weight[1:, 1, 0] = 0
    x, y = images(3, (2, 4, 4), low=0.0, high=1.0), torch.arange(3)
    model.pixel_mean.zero_()
    found = density_bound(model.eval(), (x, y))
    code = model.encoder(x)
    # The columns of the matrix are the answers to single pixels.
    answers = [convolution(pixel.view(1, 2, 4, 4)) for pixel in torch.eye(32)]
    assert found.k_weights == max(int((answer != 0).sum()) for answer in answers)
    assert (found.layer, found.inputs, found.steps) == ("body.0.0", 32, 2)
    assert found.k_inputs == int((code != 0).flatten(2).sum(2).max())
    (bound,) = found.bounds
    assert bound.entries == 54
    assert holding(found, "spikes")
    assert not holding(found, "two linear layers")


def test_direct_coding_is_shown_at_each_step() -> None:
    model, x, y = spiking(steps=4), images(3, (1, 8, 8)), torch.arange(3)
    found = density_bound(model, (x, y))
    assert (found.steps, found.inputs, found.k_inputs) == (4, 64, 64)
    assert not holding(found, "spikes")
    leaf = model.encoder(x[:1]).expand(4, -1, -1, -1, -1).clone().requires_grad_()
    (at,) = torch.autograd.grad(cross_entropy(model.read(leaf), y[:1]).sum(), leaf)
    one = density_bound(model, (x, y), samples=1)
    assert one.bounds[0].below.mean == int((at != 0).sum()) / 4
    assert one.bounds[0].right == pytest.approx(4 / 64 * 64 / found.k_weights * one.bounds[0].below.mean)


def test_a_dead_first_layer_has_no_bound() -> None:
    found = density_bound(two_layer((torch.zeros(3, 3), torch.eye(3)), 2), (spikes(1, 2, 3, 1), torch.tensor([0])))
    assert (found.bounds, found.k_weights) == ((), 0)
    assert not holding(found, "non-zero entry")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["bounds"] == []


def test_networks_without_neurons_are_measured_too() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    found = density_bound(model, (torch.rand(2, 1, 2, 2), torch.tensor([0, 1])))
    assert found.steps == 1
    assert not holding(found, "integrate and fire")
    assert not holding(found, "square")
    assert [bound.reading for bound in found.bounds] == ["gradients"]


def test_wrong_input_is_named() -> None:
    with pytest.raises(UserError, match="no convolution or linear layer"):
        density_bound(nn.Flatten(), (torch.rand(2, 1, 2, 2), torch.tensor([0, 1])))
    with pytest.raises(UserError, match="samples=0"):
        density_bound(spiking(), (images(1, (1, 8, 8)), torch.tensor([0])), samples=0)
    with pytest.raises(UserError, match="W1"):
        two_layer((torch.eye(3), torch.eye(2)), 2)
    with pytest.raises(UserError, match=r"density=2"):
        sparse_weight(2, 2, 2)


def test_the_two_layer_network_is_the_formula() -> None:
    w1, w2 = torch.tensor([[0.6, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    model = two_layer((w1, w2), 3)
    s = torch.tensor([[1.0, 1], [1, 0], [0, 1]]).view(1, 3, 1, 1, 2)
    # Neuron 1 of layer 1 fires at step 2 (1.2 >= 1), neuron 2 at 1 and 3; of layer 2: (0,1,0), and 0.5, 1.0 fires, 0.5.
    assert model(s).tolist() == [[pytest.approx(1 / 3), pytest.approx(1 / 3)]]
    assert isinstance(model.body[2].rule.surrogate, Arctan)
    assert float(model.body[2].rule.surrogate.slope(torch.tensor(0.5))) == pytest.approx(1 / (1 + (torch.pi / 2) ** 2))
