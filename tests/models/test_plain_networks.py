"""Residual networks, gradient rules and the attack on the code against networks written out from their formulas."""

from __future__ import annotations

import plain_networks as plain
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers import images
from robustsnn.attacks import Suite, pgd
from robustsnn.encoders import Phase
from robustsnn.models import Encoded, sew_resnet18, spiking_resnet18
from robustsnn.neurons import BPTR, HART, LIF, PDSG, STBP, Arctan

STEPS = 10
RULES = {"stbp": STBP(Arctan(2.0)), "hart": HART(), "bptr": BPTR(), "pdsg": PDSG()}
BUILDERS = {"sew": sew_resnet18, "spiking": spiking_resnet18}
POOLS = {"max": plain.maximum, "average": plain.average}


def case(kind, pooling, rule, detached=True, tau=0.9):
    """A network in float64 whose norms have settled on images, the images, and the same network written out."""
    torch.manual_seed(0)
    model = BUILDERS[kind](
        image=(1, 8, 8),
        classes=4,
        neuron=LIF(tau=tau, detach_reset=detached),
        steps=STEPS,
        rule=RULES[rule],
        encoder=Phase(STEPS, 8),
        stem="cifar",
        pooling=pooling,
        width=1 / 16,
    )
    x = images(6, (1, 8, 8), low=0.0, high=1.0).double()
    model = model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(images(16, (1, 8, 8), seed=1, low=0.0, high=1.0).double())
    values = dict(model.eval().state_dict())

    def written(code):
        return plain.resnet18(values, code, kind, POOLS[pooling], lambda i: plain.Fire.apply(i, tau, detached, rule))

    return model, x, written


def differentiated(logits, z):
    """Logits, and the gradient of their cross-entropies with some classes."""
    z = z.clone().requires_grad_()
    found = logits(z)
    y = torch.arange(len(found)) % 4
    return found.detach(), torch.autograd.grad(F.cross_entropy(found, y, reduction="sum"), z)[0]


def compare(model, x, written):
    """Logits and the gradient at the code, of the library and written out."""
    view = Encoded(model)
    code = view.encode(x)
    assert torch.equal(code, plain.phase(x, STEPS).transpose(0, 1))
    ours, gradient = differentiated(view, code)
    theirs, expected = differentiated(lambda z: written(z.transpose(0, 1)), code)
    assert expected.abs().amax((1, 2, 3, 4)).min() > 1e-7  # of every image
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10 * expected.abs().max().item())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("kind", "pooling"), [("sew", "max"), ("sew", "average"), ("spiking", "max")])
def test_logits_and_gradients_of_every_rule(kind, pooling, rule):
    compare(*case(kind, pooling, rule))


def test_an_attached_reset_and_another_leak():
    compare(*case("spiking", "average", "stbp", detached=False, tau=0.6))


@pytest.mark.parametrize("rule", ["stbp", "hart"])
def test_the_attack_on_the_code(rule):
    """Seven steps from the code itself: nearly all entries equal, since gradients are; a zero may round to a sign."""
    model, x, written = case("sew", "max", rule)
    y, eps = model(x).argmax(1), 0.1
    ((_, attack),) = (
        Suite("s", (("c", (pgd(eps, 7, alpha=0.03, random_start=False, keep="last"),)),)).encoded().members()
    )
    view = Encoded(model)
    code = view.encode(x)
    found = attack.run(view, code, y).images
    expected = plain.pgd(lambda z: written(z.transpose(0, 1)), code, y, eps, 0.03, 7)
    assert ((found - expected).abs() > 1e-9).double().mean() < 1e-3
    assert ((found - code).abs() > 0.01).double().mean() > 0.2
    assert (view(found).argmax(1) != y).any()


SLIPS = {
    "sign": lambda gradient: lambda self, above, *rest: -gradient(self, above, *rest),
    "a step late": lambda gradient: lambda self, above, *rest: gradient(self, above.roll(1, 0), *rest),
    "a factor": lambda gradient: lambda self, above, *rest: gradient(self, above, *rest) * len(above),
}


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("rule", RULES)
def test_a_slip_in_a_rule_is_seen(rule, slip, monkeypatch):
    kind = type(RULES[rule])
    monkeypatch.setattr(kind, "input_gradient", SLIPS[slip](kind.input_gradient))
    with pytest.raises(AssertionError, match="not close"):
        compare(*case("spiking", "max", rule))
