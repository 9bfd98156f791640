"""What a gradient rule says of itself: which steps at the output the gradient of a step's current is made of."""

import inspect

import pytest
import torch

from robustsnn import neurons
from robustsnn.neurons import IF, LIF, STBP, Arctan, ResetFlow

STEPS = 4
CLASSES = [
    rule
    for _, rule in inspect.getmembers(neurons, inspect.isclass)
    if hasattr(rule, "input_gradient") and rule.__init__
]
RULES = [rule() for rule in CLASSES if rule not in (ResetFlow, neurons.GradientRule)]
RULES += [ResetFlow(rule, "detached") for rule in RULES]


def reaches(rule, neuron):
    """[t, s]: whether the gradient at the current of step t is moved by the spikes of step s, for any neuron."""
    current = 2 * torch.rand(STEPS, 3, 200, generator=torch.Generator().manual_seed(0)) - 0.5
    found = torch.zeros(STEPS, STEPS, dtype=torch.bool)
    for s in range(STEPS):
        upstream = torch.zeros_like(current)
        upstream[s] = 1
        found[:, s] = (rule.input_gradient(upstream, current, neuron) != 0).flatten(1).any(1)
    return found


def said(connects):
    every = torch.ones(STEPS, STEPS, dtype=torch.bool)
    return {"later": every.triu(), "same": torch.eye(STEPS).bool(), "all": every}[connects]


def test_all_rules_are_looked_at():
    names = {rule.__name__ for rule in CLASSES}
    assert names >= {"STBP", "RGA", "BPTR", "HART", "PDSG", "ASSG", "ResetFlow"}


@pytest.mark.parametrize("rule", [*RULES, STBP(Arctan())], ids=repr)
def test_what_a_rule_says_is_what_it_does(rule):
    assert torch.equal(reaches(rule, LIF(tau=0.8)), said(rule.connects))
    if hasattr(rule, "begin"):
        assert rule.begin().connects == rule.connects


def test_a_flow_around_a_rule_says_what_the_rule_says_and_nothing_for_one_that_does_not():
    class Mute:
        elementwise = True
        label = "mute"
        input_gradient = STBP().input_gradient

    assert ResetFlow(Mute(), "attached").connects is None
    assert torch.equal(reaches(ResetFlow(STBP(Arctan()), "attached"), IF()), said("later"))
