"""The neuron layer, and swapping the gradient rules of a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.models import Classifier, vgg
from robustsnn.neurons import (
    IF,
    LIF,
    RGA,
    STBP,
    Arctan,
    Gaussian,
    GradientRule,
    Neurons,
    Rectangle,
    Sigmoid,
    Triangle,
    fire,
    gradient_rule,
    neuron_layers,
)

RULES = [STBP(Triangle(2.0)), STBP(Sigmoid()), STBP(Arctan()), STBP(Rectangle()), STBP(Gaussian()), RGA()]


@pytest.fixture
def model() -> Classifier:
    """In eval mode, with the batch-norm statistics of some images."""
    torch.manual_seed(3)
    model = vgg("vgg_small", image=(1, 8, 8), classes=5, neuron=IF(), steps=3)
    with torch.no_grad():
        for _ in range(20):
            model(torch.rand(16, 1, 8, 8))
    return model.eval()


def gradient(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    (result,) = torch.autograd.grad(cross_entropy(logits, torch.zeros(len(x), dtype=torch.long)).sum(), leaf)
    return logits.detach(), result


def test_a_layer_is_fire_without_parameters_or_state():
    layer = Neurons(LIF(tau=0.6), 4, RGA())
    current = torch.rand(4, 7, requires_grad=True)
    expected = fire(current, 4, LIF(tau=0.6), RGA())
    for _ in range(2):
        assert torch.equal(layer(current), expected)
    (ours,) = torch.autograd.grad(layer(current).sum(), current)
    (theirs,) = torch.autograd.grad(expected.sum(), current)
    assert torch.equal(ours, theirs)
    assert not layer.state_dict()
    assert Neurons(IF(), 1).rule == STBP(Triangle())
    assert "tau=0.6" in repr(layer)
    assert "steps=4" in repr(layer)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_layer_without_time_is_refused(steps):
    with pytest.raises(UserError, match=f"steps={steps}, time steps of"):
        Neurons(IF(), steps)


def test_layers_are_found_in_order(model):
    found = neuron_layers(model)
    assert len(found) == 4  # three convolutions and one hidden layer
    assert found == [module for module in model.body if isinstance(module, Neurons)]
    assert neuron_layers(nn.Linear(2, 2)) == []


def test_logits_are_bit_identical_under_every_rule_and_gradients_are_not(model):
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits, own = gradient(model, x)
    seen = [own]
    for rule in RULES:
        assert isinstance(rule, GradientRule)
        with gradient_rule(model, rule):
            swapped_logits, swapped = gradient(model, x)
        assert torch.equal(swapped_logits, logits)
        assert all((swapped - other).abs().max() > 0.01 * swapped.abs().max() > 0 for other in seen)
        seen.append(swapped)
    assert torch.equal(gradient(model, x)[1], own)


def test_every_layer_gets_its_own_rule_back(model):
    layers = neuron_layers(model)
    own = [STBP(Triangle(1 + i)) for i in range(len(layers) - 1)] + [RGA(0.1)]
    for layer, rule in zip(layers, own, strict=True):
        layer.rule = rule

    def rules() -> list[GradientRule]:
        return [layer.rule for layer in layers]

    with gradient_rule(model, RGA()):
        assert rules() == [RGA()] * len(layers)
        with gradient_rule(model, STBP(Sigmoid())):
            assert rules() == [STBP(Sigmoid())] * len(layers)
        assert rules() == [RGA()] * len(layers)
    assert rules() == own
    with pytest.raises(KeyError), gradient_rule(model, RGA()):
        raise KeyError
    assert rules() == own


def test_none_changes_nothing(model):
    before = [layer.rule for layer in neuron_layers(model)]
    with gradient_rule(model, None):
        assert all(layer.rule is rule for layer, rule in zip(neuron_layers(model), before, strict=True))
    with gradient_rule(nn.Linear(2, 2), None):
        pass


def test_a_model_without_neurons_is_refused():
    with (
        pytest.raises(UserError, match="Linear, which has no robustsnn neuron layers"),
        gradient_rule(nn.Linear(2, 2), RGA()),
    ):
        pytest.fail("the block must not run")
