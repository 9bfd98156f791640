"""The gradient's way through the reset, chosen by the attacker."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from helpers import images, spiking
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.neurons import (
    ASSG,
    BPTR,
    HART,
    LIF,
    PDSG,
    RGA,
    STBP,
    Arctan,
    ResetFlow,
    gradient_rule,
    neuron_layers,
)

RULES = (STBP(), STBP(Arctan(4.0)), RGA(), BPTR(), HART(), PDSG(), ASSG())
CARRYING = (STBP(), STBP(Arctan(4.0)), PDSG(), ASSG())
RESETS = tuple(product(("hard", "soft"), (False, True)))


def gradient(model, x, y, rule):
    with gradient_rule(model, rule):
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        return logits.detach(), torch.autograd.grad(cross_entropy(logits, y).sum(), leaf)[0]


def network(neuron):
    model = spiking()
    for layer in neuron_layers(model):
        layer.neuron = neuron
    return model


def batch():
    return images(4, (1, 8, 8)), torch.arange(4)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label)
@pytest.mark.parametrize(("reset", "own"), RESETS)
@pytest.mark.parametrize("flow", ["detached", "attached"])
def test_it_is_the_gradient_of_a_network_with_that_flow(rule, reset, own, flow):
    x, y = batch()
    neuron = LIF(tau=0.7, theta=0.5, reset=reset, detach_reset=own)
    model, other = network(neuron), network(replace(neuron, detach_reset=flow == "detached"))
    logits, found = gradient(model, x, y, ResetFlow(rule, flow))
    same, wanted = gradient(other, x, y, rule)
    assert torch.equal(logits, same)
    assert torch.equal(found, wanted)
    assert [layer.neuron for layer in neuron_layers(model)] == [neuron] * len(neuron_layers(model))


@pytest.mark.parametrize("rule", CARRYING, ids=lambda rule: rule.label)
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_the_two_flows_differ_where_something_is_carried(rule, reset):
    x, y = batch()
    model = network(LIF(tau=0.7, theta=0.5, reset=reset))
    attached, detached = (gradient(model, x, y, ResetFlow(rule, flow))[1] for flow in ("attached", "detached"))
    assert not torch.equal(attached, detached)
    assert torch.equal(attached, gradient(model, x, y, rule)[1])


def test_a_neuron_by_hand():
    """Two steps of an IF neuron that fires at the first: dL/dI[1] has the carry -u g of the reset, or not."""
    neuron, surrogate = LIF(), Arctan(2.0)
    current, upstream = torch.tensor([[1.2], [0.9]]), torch.tensor([[0.0], [1.0]])
    slope = [surrogate.slope(torch.tensor(u - 1.0)).item() for u in (1.2, 0.9)]
    carry = {"attached": -1.2 * slope[0], "detached": 0.0}
    for flow, kept in carry.items():
        found = ResetFlow(STBP(surrogate), flow).input_gradient(upstream, current, neuron)
        assert torch.allclose(found[:, 0], torch.tensor([slope[1] * kept, slope[1]]))


def test_it_is_undone_after_an_exception_and_remembers_as_the_rule_inside():
    x, y = batch()
    model = network(LIF(tau=0.7, theta=0.5))
    before = [(layer.rule, layer.neuron) for layer in neuron_layers(model)]
    with pytest.raises(KeyError), gradient_rule(model, ResetFlow(ASSG(), "detached")):
        raise KeyError
    assert [(layer.rule, layer.neuron) for layer in neuron_layers(model)] == before
    with gradient_rule(model, ResetFlow(ASSG(), "detached")) as memory:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)
        memory.select(torch.tensor([0]))
        leaf = x[:1].clone().requires_grad_()
        torch.autograd.grad(cross_entropy(model(leaf), y[:1]).sum(), leaf)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UserError, match=r"'open'.: allowed is 'detached' or 'attached'"):
        ResetFlow(STBP(), "open")
    with pytest.raises(UserError, match="one flow is enough"):
        ResetFlow(ResetFlow(STBP(), "detached"), "attached")
