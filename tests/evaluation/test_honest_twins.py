"""What single checks say of networks that are built oddly and hide nothing, beside those that do."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import pgd
from robustsnn.attacks.suites import Suite
from robustsnn.encoders.bpda import swap
from robustsnn.evaluation import Judge
from robustsnn.evaluation.alignment import alignment
from robustsnn.evaluation.obedience import obedience
from robustsnn.evaluation.probe import Probe
from robustsnn.evaluation.relation import relation
from robustsnn.evaluation.resolution import erratic
from robustsnn.neurons import STBP, Neurons, Triangle


def probed(model, n=16):
    x = images(n, (1, 8, 8), low=0.0, high=1.0)
    suite = Suite("small", (("all", (pgd(0.1, 2),)),))
    with torch.no_grad():
        y = model(x).argmax(1)
    return Probe(model, x, y, np.ones(n, bool), suite, Judge(), 0)


class Twofold(nn.Module):
    """The values of one network, the gradient of another."""

    def __init__(self, values, gradient):
        super().__init__()
        self.values, self.gradient = values, gradient

    def forward(self, x):
        return swap(self.values(x).detach(), self.gradient(x))


@pytest.mark.parametrize("other", [False, True])
def test_layers_without_a_gradient_hide_nothing_if_a_copy_has_it(other):
    network = spiking()
    carries = spiking(seed=1) if other else copy.deepcopy(network)
    (check,) = obedience(probed(Twofold(network, carries).eval()))
    assert check.raised == other
    assert check.value == 0.5


class Gated(Twofold):
    """The same off four grey levels alone; there the true network takes part in the gradient with weight zero."""

    def forward(self, x):
        off = ((4 * x).detach() % 1 > 0).flatten(1).any(1, keepdim=True)
        return torch.where(off, super().forward(x), self.values(x))


@pytest.mark.parametrize("other", [False, True])
def test_another_gradient_off_the_grey_levels_is_found(other):
    network = spiking()
    model = Gated(network, spiking(seed=1) if other else network).eval()
    probe = probed(model)
    probe.x = (4 * probe.x).round() / 4
    (check,) = obedience(probe)
    assert check.raised == other
    assert check.message.endswith("at corners") == other


class Branching(nn.Module):
    """A second network that is called and used for no image of the probe."""

    def __init__(self, used, unused):
        super().__init__()
        self.used, self.unused = used, unused

    def forward(self, x):
        return torch.where((x.detach() < 2).flatten(1).all(1, keepdim=True), self.used(x), self.unused(x))


def test_a_network_that_no_image_depends_on_has_no_say():
    assert not obedience(probed(Branching(spiking(), spiking(seed=1)).eval()))[0].raised


def test_one_copied_layer_is_no_excuse_for_the_others():
    network = spiking()
    carries = copy.deepcopy(network)
    with torch.no_grad():
        carries.body[-1].weight.neg_()
        next(m for m in list(carries.modules())[::-1] if isinstance(m, nn.Conv2d)).weight.neg_()
    (check,) = obedience(probed(Twofold(network, carries).eval()))
    assert check.raised
    assert check.message.startswith("2 of the 6")


class Scaled(nn.Module):
    """Neurons in units of 1/1000; the width of their own surrogate goes with them, or stays."""

    def __init__(self, old, width):
        super().__init__()
        neuron = replace(old.neuron, theta=1000 * old.neuron.theta)
        self.neurons = Neurons(neuron, old.steps, STBP(Triangle(width)))

    def forward(self, current):
        return self.neurons(1000 * current)


@pytest.mark.parametrize(("width", "share"), [(1000.0, 0.5), (1.0, 0.75)])
def test_other_units_are_a_sign_of_masking_where_the_own_rule_is_blind_too(width, share):
    network = spiking()
    for name, layer in list(network.body.named_children()):
        if isinstance(layer, Neurons):
            setattr(network.body, name, Scaled(layer, width))
    check = next(check for check in relation(probed(network, 24)) if check.flag.name == "blind-rules")
    assert check.value == share
    assert check.raised == ("own" in check.message.split("(")[1]) == (share > 0.5)


class Moved(nn.Module):
    """A linear model; the gradient of its input arrives elsewhere."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = Linear(image=(1, 8, 8)), change

    def forward(self, x):
        return self.inner(swap(x.detach(), self.change(x)))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda x: x, None),
        (lambda x: x.roll(1, -1), "moved by +1 columns"),
        (lambda x: x.roll(-1, -2), "moved by -1 rows"),
        (lambda x: x.flip(-2), "mirrored in its rows"),
        (lambda x: x.transpose(-1, -2), "with its axes exchanged"),
    ],
)
def test_a_gradient_that_arrives_elsewhere_is_put_back(change, name):
    (check,) = alignment(probed(Moved(change)), [None])
    assert check.raised == (name is not None)
    if name:
        assert name in check.message


def test_a_model_of_the_mean_of_the_image_has_its_gradient_everywhere():
    model = Moved(lambda x: x)
    model.inner.weight.data[:] = torch.tensor([1.0, -1.0, 0.0])[:, None]
    model.inner.bias.data[:] = torch.tensor([-32.0, 32.0, 0.0])
    (check,) = alignment(probed(model), [None])
    assert check.value == pytest.approx(1)
    assert not check.raised


class Hashed(nn.Module):
    """Noise by the bits of the image, or by its class of brightness."""

    def __init__(self, network, by_bits):
        super().__init__()
        self.network, self.by_bits = network, by_bits

    def forward(self, x):
        sums = x.detach().double().flatten(1) @ torch.linspace(1, 1e7, 64, dtype=torch.float64)
        seeds = sums * 1e4 if self.by_bits else x.detach().flatten(1).mean(1) * 10
        draws = [torch.Generator().manual_seed(int(seed) % 2**31) for seed in seeds]
        return self.network(x + 0.3 * torch.stack([torch.rand(x.shape[1:], generator=one) - 0.5 for one in draws]))


@pytest.mark.parametrize("by_bits", [False, True])
def test_noise_that_hangs_on_the_last_bits_is_erratic(by_bits):
    assert erratic(probed(Hashed(spiking(), by_bits))).raised == by_bits


class Plateau(nn.Module):
    """Values that are the same all around, or those of the network; the gradient of the network in both cases."""

    def __init__(self, network, flat):
        super().__init__()
        self.network, self.flat = network, flat

    def forward(self, x):
        logits = self.network(x)
        return swap(self.network(torch.full_like(x, 0.5)).detach(), logits) if self.flat else logits


@pytest.mark.parametrize("flat", [False, True])
def test_a_gradient_beside_a_margin_that_never_moves_is_unrelated(flat):
    check = next(c for c in relation(probed(Plateau(spiking(), flat))) if c.flag.name == "unrelated-gradient")
    assert check.raised == flat
    assert ("same margin along all directions" in check.message) == flat
