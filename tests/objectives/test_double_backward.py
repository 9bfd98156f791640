"""SR by double backward: the limit of the finite differences, and the exact gradient on spiking networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import Step, images, spiking
from robustsnn.ground.errors import UserError
from robustsnn.neurons import LIF, PDSG, STBP, Arctan, Neurons, Sigmoid, gradient_rule
from robustsnn.objectives import SparsityRegularised


def draws():
    return torch.Generator().manual_seed(0)


class Smooth(nn.Module):
    """Two layers with a smooth nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 10), nn.Tanh(), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(3 * x)


def value_and_gradient(model: nn.Module, x: Tensor, y: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    terms, _ = SparsityRegularised(1.0, **options)(model, x, y, generator=draws())
    gradients = torch.autograd.grad(terms["sparsity"].sum(), list(model.parameters()), materialize_grads=True)
    return terms["sparsity"].detach(), torch.cat([g.flatten() for g in gradients])


def test_finite_differences_converge_to_it_in_value_and_gradient():
    model, x, y = Smooth(), images(5), torch.tensor([0, 1, 2, 0, 1])
    value, gradient = value_and_gradient(model, x, y, form="double-backward")
    errors = []
    for h in (1e-1, 1e-2, 1e-3):
        near, slope = value_and_gradient(model, x, y, h=h)
        errors.append(
            [((near - value).norm() / value.norm()).item(), ((slope - gradient).norm() / gradient.norm()).item()]
        )
    for first, second, third in zip(*errors, strict=True):
        assert second < first / 5
        assert third < 0.01
        assert first > 0.01


def test_its_value_is_the_l1_norm_and_h_has_no_effect():
    model, x, y = spiking(), images(5, (1, 8, 8)), torch.tensor([0, 1, 2, 3, 1])
    leaf = x.clone().requires_grad_()
    f = torch.softmax(model(leaf), 1)[torch.arange(5), y]
    norm = torch.autograd.grad(f.sum(), leaf)[0].abs().flatten(1).sum(1)
    assert norm.min() > 0
    for h in (0.01, 0.5):
        value, _ = value_and_gradient(model, x, y, form="double-backward", h=h)
        torch.testing.assert_close(value, norm)


class Stepwise(nn.Module):
    """Integrate-and-fire with hard reset as a plain loop."""

    def __init__(self, steps: int, surrogate: Any) -> None:
        super().__init__()
        self.steps, self.surrogate = steps, surrogate

    def forward(self, current: Tensor) -> Tensor:
        voltage, spikes = torch.zeros_like(current[0]), []
        for t in range(self.steps):
            potential = voltage + current[t if len(current) > 1 else 0]
            spikes.append(Step.apply(potential - 1, self.surrogate))
            voltage = potential * (1 - spikes[-1])
        return torch.stack(spikes)


@pytest.mark.parametrize("surrogate", [Arctan(), Sigmoid()], ids=repr)
def test_on_a_spiking_network_the_gradient_is_that_of_plain_loops(surrogate):
    model, x, y = spiking().double().train(), images(5, (1, 8, 8)).double(), torch.tensor([0, 1, 2, 3, 1])
    plain = copy.deepcopy(model)
    for i, layer in enumerate(model.body):
        if isinstance(layer, Neurons):
            assert layer.neuron == LIF()
            layer.rule = STBP(surrogate)
            plain.body[i] = Stepwise(layer.steps, surrogate)
    value, gradient = value_and_gradient(model, x, y, form="double-backward")
    expected_value, expected = value_and_gradient(plain, x, y, form="double-backward")
    assert gradient.any()
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())


def test_a_rule_without_second_derivatives_is_refused():
    model, x, y = spiking(), images(2, (1, 8, 8)), torch.tensor([0, 1])
    with gradient_rule(model, PDSG()), pytest.raises(UserError, match="PDSG"):
        SparsityRegularised(1.0, form="double-backward")(model, x, y, generator=draws())
