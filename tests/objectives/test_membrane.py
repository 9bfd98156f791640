"""The membrane term: by hand on two neurons, and over the layers of a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import images, spiking
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.neurons import IF, PDSG, STBP, Neurons, Triangle, gradient_rule, neuron_layers
from robustsnn.objectives import Adversarial, MembraneGuard, Natural


def draws():
    return torch.Generator().manual_seed(0)


class Two(nn.Module):
    """Two neurons whose constant currents are its parameters times the image."""

    def __init__(self, rule=None):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, 0.9]))
        self.neurons = Neurons(IF(), 2, rule or STBP(Triangle()))

    def forward(self, x):
        return self.neurons((self.weight * x[:, 0, 0, :1])[None]).mean(0)


def test_by_hand():
    # u of the first neuron: 0.3, 0.6; of the second 0.9, 1.8. Distances to theta = 1: 0.7, 0.4; 0.1, 0.8.
    # With delta 0.5 they cost 0, 0.1; 0.4, 0, over T N = 4.
    model, x, y = Two(), torch.ones(3, 1, 1, 1), torch.tensor([0, 1, 0])
    terms, logits = MembraneGuard(2.0, 0.5)(model, x, y, generator=draws())
    torch.testing.assert_close(terms["membrane"], torch.full((3,), 2 * 0.125))
    assert torch.equal(logits, model(x))
    # du[2]/dI = 1 + dV[1]/du[1] with dV/du = 1 - u g, g = 1 - 0.7 (triangle): 1.91. The second: du[1]/dI = 1.
    (found,) = torch.autograd.grad(terms["membrane"].mean(), model.weight)
    torch.testing.assert_close(found, 2 * torch.tensor([1.91, 1.0]) / 4)


def test_layers_are_summed_and_samples_kept_apart():
    model, (x, y) = spiking(), (images(5, (1, 8, 8)), torch.tensor([0, 1, 2, 3, 0]))
    potentials = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda m, given: potentials.append(torch.stack([u for u, _ in m.neuron.run(given[0].detach(), m.steps)]))
        )
        for layer in neuron_layers(model)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    expected = sum((0.3 - (u - 1).abs()).clamp_min(0).transpose(0, 1).flatten(1).mean(1) for u in potentials)
    terms, logits = MembraneGuard(1.0, 0.3)(model, x, y, generator=draws())
    natural, plain = Natural()(model, x, y, generator=draws())
    torch.testing.assert_close(terms["membrane"], expected)
    assert torch.equal(terms["cross_entropy"], natural["cross_entropy"])
    assert torch.equal(logits, plain)


def test_descending_it_drives_potentials_from_the_threshold():
    model, x, y = spiking().train(), images(16, (1, 8, 8)), torch.arange(16) % 4
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    values = []
    for _ in range(15):
        terms, _ = MembraneGuard(1.0, 0.5)(model, x, y, generator=draws())
        values.append(terms["membrane"].mean().item())
        optimiser.zero_grad()
        terms["membrane"].mean().backward()
        optimiser.step()
    assert values[-1] < 0.9 * values[0]


def test_over_adversarial_the_potentials_are_those_of_the_attacked_images():
    model, x, y = spiking(), images(4, (1, 8, 8)), torch.arange(4)
    attack = pgd(0.2, 3, keep="last")
    there, _ = MembraneGuard(1.0, 0.3, Adversarial(attack))(model, x, y, generator=draws())
    plain, _ = MembraneGuard(1.0, 0.3)(model, attack(model, x, y, generator=draws()), y, generator=draws())
    for name in there:
        torch.testing.assert_close(there[name], plain[name])


def test_what_it_cannot_do_is_refused():
    x, y = torch.ones(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
    model = Two()
    with gradient_rule(model, PDSG()), pytest.raises(UserError, match="PDSG"):
        MembraneGuard(1.0, 0.5)(model, x, y, generator=draws())
    with pytest.raises(UserError, match="nothing to record"):
        MembraneGuard(1.0, 0.5)(nn.Flatten(), x, y, generator=draws())
    for bad in ({"lam": -1.0, "delta": 0.5}, {"lam": 1.0, "delta": 0.0}):
        with pytest.raises(UserError, match="MembraneGuard"):
            MembraneGuard(**bad)
