"""The graded margin: closed forms on linear read-outs, and what it is worth where flips change no spike."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import CornerSearch, GradedSearch, Linf
from robustsnn.attacks.graded import graded
from robustsnn.attacks.passes import judged
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin
from robustsnn.models.classifier import classifier
from robustsnn.models.time import Layers
from robustsnn.neurons import IF, LIF, Neurons

STEPS = 3


def network(neuron, hidden=6, classes=2, seed=0):
    torch.manual_seed(seed)
    body = Layers(nn.Flatten(2), nn.Linear(16, hidden), Neurons(neuron, STEPS), nn.Linear(hidden, classes))
    return classifier(body, None, (1, 4, 4), (0.5,), (0.25,)).eval().requires_grad_(False)


def by_hand(model, x, y, width):
    """The margin of the read-out fed with sigmoids of the potentials of its (only) neuron layer."""
    _, linear, layer, readout = model.body
    neuron = layer.neuron
    current = linear(((x - 0.5) / 0.25).flatten(1)).expand(STEPS, -1, -1)
    levels = [torch.sigmoid((u - neuron.theta) / (width * neuron.theta)) for u, _ in neuron.run(current, STEPS)]
    return margin(readout(torch.stack(levels)).mean(0), y)


@pytest.mark.parametrize(
    "neuron", [IF(), LIF(tau=0.5, reset="soft"), LIF(tau=0.5, theta=0.7, decay_input=True)], ids=["if", "soft", "lif"]
)
def test_with_two_classes_it_is_the_margin_of_neurons_that_fire_by_degrees(neuron):
    model, x = network(neuron), torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    y = model(x).argmax(1)
    with graded(model, 0.3, x) as query:
        found = query(model, x, y, 1)
    torch.testing.assert_close(found.loss, by_hand(model, x, y, 0.3), atol=1e-6, rtol=1e-5)
    assert torch.equal(found.logits, model(x))
    assert torch.equal(found.stands, judged(model, x, y, 1).stands)


def test_as_the_width_shrinks_it_becomes_the_margin():
    model, x = network(IF(), classes=10), torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    with graded(model, 1e-5, x) as query:
        torch.testing.assert_close(query(model, x, y, 1).loss, margin(model(x), y))


def test_without_neurons_it_is_the_plain_query():
    model, x = Linear(3), images(4)
    with graded(model, 0.25, x) as query:
        assert query is judged


def test_the_layer_is_as_it_was_after_an_exception():
    model, x = network(IF()), torch.rand(2, 1, 4, 4)
    before = model(x)
    with pytest.raises(ZeroDivisionError), graded(model, 0.25, x):
        raise ZeroDivisionError
    assert all("forward" not in vars(module) for module in model.modules())
    assert torch.equal(model(x), before)


def plateau() -> nn.Module:
    """One neuron that fires at the mean 0.8 of 32 pixels; class 1 wins if it does.

    From the image, of mean 0.5, and with eps 0.4 the corners reach 0.9: nearly all pixels have to go up before any
    spike changes, and the margin is the same at all corners before.
    """
    body = Layers(nn.Flatten(2), nn.Linear(32, 1), Neurons(IF(), 1), nn.Linear(1, 2))
    model = classifier(body, None, (2, 4, 4), (0.0,) * 2, (1.0,) * 2).eval()
    with torch.no_grad():
        body[1].weight.fill_(1 / 32 / 0.8)
        body[1].bias.fill_(0.0)
        body[3].weight.copy_(torch.tensor([[0.0], [2.0]]))
        body[3].bias.copy_(torch.tensor([1.0, 0.0]))
    return model


def test_on_a_plateau_the_search_is_led_by_the_grades_and_blind_without_them():
    model, x, y = plateau(), torch.full((4, 2, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    broken = []
    for search in (CornerSearch(Linf(0.4), 600), GradedSearch(Linf(0.4), 600)):
        found = search.run(model, x, y)
        broken.append(int((~correct(model(found.images), y)).sum()))
    assert broken == [0, 4]


def test_a_graded_search_is_no_black_box():
    assert CornerSearch(Linf(0.1)).black_box
    assert not GradedSearch(Linf(0.1)).black_box
    with pytest.raises(UserError, match="grade"):
        GradedSearch(Linf(0.1), grade=-1.0)


def test_a_layer_that_the_logits_are_cut_off_from_is_not_graded():
    class Voting(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = spiking()

        def forward(self, x):
            return nn.functional.one_hot(self.network(x).detach().argmax(1), 4).float()

    model = Voting()
    x = images(4, (1, 8, 8))
    y = model(x).argmax(1)
    with graded(model, 0.5, x) as query:
        assert torch.equal(query(model, x, y, 1)[1], judged(model, x, y, 1)[1])
