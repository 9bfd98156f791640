"""The finite difference of proposition 1: its order on smooth functions, and its failure on spikes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import Linear, images, spiking
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.neurons import (
    ASSG,
    IF,
    LIF,
    PDSG,
    RGA,
    STBP,
    Arctan,
    Gaussian,
    Neurons,
    Sigmoid,
    Surrogate,
    Triangle,
    gradient_rule,
    neuron_layers,
    recording,
)
from robustsnn.neurons.rules import through_time
from robustsnn.neurons.smooth import smooth_forward
from robustsnn.studies.gradients.measure import gradients
from robustsnn.studies.theory.difference import finite_difference

X, Y = images(12, (1, 8, 8)), torch.arange(12) % 4
NEURONS = [IF(), IF(reset="soft"), LIF(tau=0.8, decay_input=True), LIF(tau=0.5, theta=0.7, detach_reset=True)]


class Layers(nn.Module):
    """Two linear layers around neurons, in whatever precision it is given."""

    def __init__(self, neuron: LIF, surrogate: Surrogate) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(16, 20), nn.Linear(20, 3)
        self.neurons = Neurons(neuron, 4, STBP(surrogate))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.neurons(3 * self.first(x.flatten(1))[None])).mean(0)


def own_logit(logits: Tensor, y: Tensor) -> Tensor:
    """z_y."""
    return logits.gather(1, y[:, None])[:, 0]


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
@pytest.mark.parametrize("surrogate", [Arctan(), Sigmoid(3.0), Gaussian(1.0), Triangle(2.0)], ids=str)
def test_on_the_smooth_forward_the_order_is_one(neuron, surrogate):
    x, y = images(12).double(), torch.arange(12) % 3
    found = finite_difference(Layers(neuron, surrogate).double(), (x, y), steps=(1e-3, 3e-4, 1e-4, 3e-5), smooth=True)
    assert found.order == pytest.approx(1, abs=0.1)
    assert np.median(found.errors[-1]) < 1e-3
    assert np.median(found.errors, axis=1).tolist() == sorted(np.median(found.errors, axis=1), reverse=True)


class Scaled:
    """z_y, whose gradient is planted three times too large."""

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        z = own_logit(logits, y)
        return z + 2 * (z - z.detach())


def test_a_planted_factor_of_three_is_seen():
    x, y = images(12).double(), torch.arange(12) % 3
    model = Layers(IF(), Sigmoid(3.0)).double()
    options: dict[str, Any] = {"steps": (1e-3, 1e-4), "smooth": True}
    sound, planted = (finite_difference(model, (x, y), loss=loss, **options) for loss in (own_logit, Scaled()))
    assert sound.order == pytest.approx(1, abs=0.1)
    assert planted.order == pytest.approx(0, abs=0.1)
    assert np.median(planted.relative[-1]) == pytest.approx(1 / 3, rel=0.01)


def test_of_a_vgg_too_and_the_spiking_network_has_no_order():
    model = spiking()
    options: dict[str, Any] = {"steps": (1e-3, 3e-4, 1e-4), "rule": STBP(Arctan())}
    smooth, spikes = (finite_difference(model, (X, Y), smooth=s, **options) for s in (True, False))
    assert smooth.order == pytest.approx(1, abs=0.15)
    assert np.median(smooth.errors[-1]) < 0.05
    assert np.median(spikes.errors[-1]) > 0.5
    assert spikes.order is not None
    assert spikes.order < 0.3
    assert spikes.to_dict()["steps"][-1]["still"]["share"] > 0.3
    assert smooth.to_dict()["steps"][-1]["still"]["share"] == 0
    # The norm that the quotient is compared with is that of the rule at the spikes.
    measures = gradients(model, (X, Y), rules={"arctan": STBP(Arctan())}).spreads["arctan"].measures
    assert (spikes.l1 == measures["l1"]).all()


def test_a_linear_answer_has_no_error():
    x, y = images(5).double(), torch.arange(5) % 3
    model = Linear().double()
    found = finite_difference(model, (x, y), loss=own_logit, steps=(0.5, "8/255"))
    assert found.l1 == pytest.approx(model.weight.detach()[y].norm(1, dim=1).numpy())
    assert found.errors.max() < 1e-9
    assert found.quotients[0] == pytest.approx(found.l1)
    assert found.steps == (0.5, 8 / 255)


def test_the_error_of_cross_entropy_is_half_its_curvature():
    """For a convex loss the quotient is too large, by h/2 of the second derivative along d."""
    x, y = images(5).double(), torch.arange(5) % 3
    model = Linear().double()
    h = 1e-3

    def loss(logits: Tensor, y: Tensor) -> Tensor:  # cross_entropy in float64
        return torch.logsumexp(logits, 1) - own_logit(logits, y)

    assert loss(model(x), y).tolist() == pytest.approx(cross_entropy(model(x), y).tolist(), rel=1e-5)
    found = finite_difference(model, (x, y), loss=loss, steps=(h,))
    p = torch.softmax(model(x), 1).detach()
    slope = (p - nn.functional.one_hot(y, 3)) @ model.weight.detach()
    along = slope.sign() @ model.weight.detach().T
    curvature = (p * along**2).sum(1) - (p * along).sum(1) ** 2
    assert (found.quotients[0] - found.l1) == pytest.approx((h / 2 * curvature).numpy(), rel=0.01)
    assert found.order is None


@pytest.mark.parametrize("smooth", [False, True])
def test_batch_size_does_not_matter_and_the_model_is_left_alone(smooth):
    model = spiking().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    one, many = (finite_difference(model, (X, Y), smooth=smooth, batch_size=size) for size in (1, 64))
    assert one.l1 == pytest.approx(many.l1, rel=1e-4)
    assert one.quotients == pytest.approx(many.quotients, rel=1e-3, abs=1e-4)
    assert model.training
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(p.requires_grad and p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_gradient_of_zeros_gives_null_and_no_nan():
    model = Linear()
    nn.init.zeros_(model.weight)
    found = finite_difference(model, (images(4), torch.arange(4) % 3))
    shown = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert shown["zero"] == 4
    assert shown["order"] is None
    assert shown["orders"] == [None] * 5
    assert shown["steps"][0]["median_error"]["median"] is shown["steps"][0]["error"]["mean"] is None


# smooth_forward


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_the_smooth_gradient_is_backpropagation_through_time_at_smooth_potentials(neuron):
    model = Layers(neuron, Arctan()).double()
    x = images(4).double().requires_grad_()
    with smooth_forward(model), recording(model) as records:
        logits = model(x)
        (record,) = records  # hooks run as ever
        (found,) = torch.autograd.grad(logits.square().sum(), record.current)
    weight = model.last.weight.detach()
    upstream = (2 * logits.detach() @ weight / 4).expand(4, -1, -1)
    current, tail = record.current.detach(), 0.5
    attached = LIF(neuron.tau, neuron.theta, neuron.decay_input, neuron.reset)
    trace, voltage = [], torch.zeros_like(current[0])
    for _ in range(4):
        potential = neuron.tau * voltage + neuron.gain * current[0]
        spike = torch.atan(torch.pi * (potential - neuron.theta)) / torch.pi + tail
        trace.append((potential, spike))
        voltage = potential * (1 - spike) if neuron.reset == "hard" else potential - neuron.theta * spike
    expected = through_time(upstream, current, attached, trace, lambda _, v: Arctan().slope(v))
    assert torch.allclose(found, expected, rtol=1e-9)


def test_outside_the_block_the_network_is_bit_for_bit_what_it_was():
    model = spiking()
    before = model(X)
    with smooth_forward(model):
        assert not torch.equal(model(X), before)
    assert torch.equal(model(X), before)
    with pytest.raises(UserError, match="shape"), smooth_forward(model):
        model(X[:, :, 1:])
    assert torch.equal(model(X), before)
    assert not any("forward" in vars(layer) for layer in neuron_layers(model))


def test_a_sharp_surrogate_fires_as_the_step_does():
    model = spiking()
    with gradient_rule(model, STBP(Sigmoid(1e7))), smooth_forward(model):
        assert torch.allclose(model(X), spiking()(X), atol=1e-4)


@pytest.mark.parametrize("rule", [RGA(), PDSG(), ASSG()], ids=lambda rule: rule.label)
def test_rules_without_a_fixed_surrogate_are_refused(rule):
    model = spiking()
    with pytest.raises(UserError, match="no smooth twin"):
        finite_difference(model, (X, Y), rule=rule, smooth=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": ()}, "at least one"),
        ({"steps": (0.1, 0)}, "above 0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"smooth": True}, "no smooth twin"),
    ],
)
def test_what_makes_no_sense_is_refused(options, reason):
    with pytest.raises(UserError, match=reason):
        finite_difference(Linear(), (images(3), torch.arange(3)), **options)
    model = spiking()
    with pytest.raises(UserError, match="replaced already"), smooth_forward(model), smooth_forward(model):
        pass
