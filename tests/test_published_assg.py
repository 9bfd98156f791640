"""benchmarks/published_assg.py, written from the formulas, agrees with the package's ASSG where both say the same."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from helpers import benchmark, images, spiking
from robustsnn.losses import cross_entropy
from robustsnn.models import Classifier
from robustsnn.neurons import ASSG, IF, LIF, gradient_rule, neuron_layers

NEURONS = [IF(), IF(reset="soft"), LIF(tau=0.5, reset="soft"), LIF(tau=0.6, theta=0.7, decay_input=True)]


@pytest.fixture(scope="module")
def published() -> Iterator[ModuleType]:
    """The script as a module."""
    with benchmark("published_assg") as module:
        yield module


def model_of(neuron: LIF) -> Classifier:
    model = spiking()
    for layer in neuron_layers(model):
        layer.neuron = neuron
    return model


def gradients(model: nn.Module, n: int = 3) -> list[Tensor]:
    """Of the cross-entropy at n batches in turn, so that what a rule remembers matters."""
    found = []
    for seed in range(n):
        x = images(5, (1, 8, 8), seed=seed).requires_grad_()
        found += torch.autograd.grad(cross_entropy(model(x), torch.arange(5) % 4).sum(), x)
    return found


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_gradients_are_those_of_our_rule_with_a_detached_reset(published: ModuleType, neuron: LIF) -> None:
    theirs = model_of(neuron)
    published.check_spikes(theirs, images(5, (1, 8, 8)))
    with published.assg(theirs, 0.435):
        found = gradients(theirs)
    detached = model_of(LIF(neuron.tau, neuron.theta, neuron.decay_input, neuron.reset, detach_reset=True))
    with gradient_rule(detached, ASSG(degree=0.87)):
        ours = gradients(detached)
    own = model_of(neuron)
    with gradient_rule(own, ASSG(degree=0.87)):
        attached = gradients(own)
    for a, b, c in zip(found, ours, attached, strict=True):
        assert a.abs().max() > 0
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()))
        assert not torch.allclose(a, c, rtol=1e-2, atol=1e-2 * float(c.abs().max()))


def test_another_neuron_is_noticed(published: ModuleType) -> None:
    model = spiking()
    layer = neuron_layers(model)[0]
    own = layer.forward
    layer.forward = lambda current: 1 - own(current)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="spikes otherwise"):
        published.check_spikes(model, images(2, (1, 8, 8)))


@pytest.mark.parametrize(
    ("steps", "after"),
    [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (50, [11, 21, 30, 38, 45]), (10, [2, 3, 4, 5, 6, 7, 8, 9, 10])],
)
def test_halvings(published: ModuleType, steps: int, after: list[int]) -> None:
    assert sorted(published.halvings(steps)) == after


class Gate(nn.Module):
    """Two classes by the mean pixel; an image of which the first pixel is 0.5 or more has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        closed = (x[:, 0, 0, 0] >= 0.5)[:, None]
        z = x.flatten(1).mean(1, keepdim=True) - 0.3
        return torch.where(closed, z.detach() + 0 * z, z) * torch.tensor([1.0, -1.0])


def test_a_sample_without_gradient_stays_a_number_and_others_are_broken(published: ModuleType) -> None:
    x = torch.full((2, 1, 4, 4), 0.4)
    x[1, 0, 0, 0] = 0.9
    torch.manual_seed(0)
    z, fooled = published.sa_pgd(Gate(), x, torch.zeros(2, dtype=torch.long), 0.2, 20)
    assert fooled.tolist() == [True, False]
    assert torch.equal(z[1], x[1])
    assert bool(z.isfinite().all())
    assert float((z - x).abs().max()) <= 0.2 + 1e-6
    assert Gate()(z).argmax(1).tolist() == [1, 0]


def test_what_it_calls_fooled_is_misclassified_by_the_network_itself(published: ModuleType) -> None:
    model = spiking()
    x = images(12, (1, 8, 8))
    y = model(x).argmax(1)
    torch.manual_seed(0)
    z = published.attack(model, x, y, 0.3, 25, (0.43, 0.45))
    changed = (z != x).flatten(1).any(1)
    assert bool(changed.any())
    assert torch.equal(model(z).argmax(1) != y, changed)
