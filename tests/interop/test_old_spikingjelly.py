"""SpikingJelly 0.0.0.0.14, whose IF and LIF nodes leave their surrogate out in eval mode: figures without `wrap` are
those of attacks that see nothing. Skipped where another version is installed."""

from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from torch import nn

import robustsnn
from helpers import images
from robustsnn.attacks import Suite, pgd
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.interop import unreached, wrap
from robustsnn.neurons import ASSG, gradient_rule, neuron_layers

try:
    found = version("spikingjelly")
except PackageNotFoundError:
    found = "none"
pytestmark = [
    pytest.mark.skipif(not found.startswith("0.0.0.0."), reason=f"spikingjelly 0.0.0.0.14 is needed, {found} is there"),
    pytest.mark.filterwarnings("ignore"),
]
X, STEPS = images(12, (1, 6, 6)), 5


class Net(nn.Module):
    def __init__(self, name: str, mode: str, **options) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, layer, neuron

        torch.manual_seed(0)
        self.layers = nn.Sequential(
            *(layer.Conv2d(1, 4, 3), getattr(neuron, name)(**options), layer.Flatten()),
            *(layer.Linear(64, 12), getattr(neuron, name)(**options), layer.Linear(12, 3)),
        )
        with torch.no_grad():
            self.layers[0].weight.mul_(3)
            self.layers[3].weight.mul_(3)
        functional.set_step_mode(self, mode)
        self.mode = mode

    def forward(self, x):
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        if self.mode == "m":
            return self.layers(x.expand(STEPS, *x.shape)).mean(0)
        return torch.stack([self.layers(x) for _ in range(STEPS)]).mean(0)


def gradient(model, x):
    with frozen(model):
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
        return torch.autograd.grad((logits * weights).sum(), leaf)[0]


class Awake(nn.Module):
    """Its nodes stay in train mode, whatever the network is told."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        for node in (self.net.layers[1], self.net.layers[4]):
            node.training = True
        return self.net(x)


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("name", ["IFNode", "LIFNode", "ParametricLIFNode", "QIFNode", "EIFNode", "IzhikevichNode"])
def test_in_eval_mode_it_fires_as_ever_and_has_the_gradient_of_train_mode(name, mode):
    net = Net(name, mode, v_threshold=0.5).eval()
    model = wrap(net, x=X)
    assert unreached(model) == {}
    assert len(neuron_layers(model)) == 2
    with torch.no_grad():
        assert torch.equal(model(X), net(X))
    wanted = gradient(Awake(net), X)
    assert wanted.any()
    assert (gradient(model, X) - wanted).norm() <= 1e-6 * wanted.norm()
    with gradient_rule(model, ASSG()):
        assert gradient(model, X).isfinite().all()


def test_without_wrap_it_is_refused_with_the_way_to_write_it():
    net = Net("LIFNode", "m", v_threshold=0.5).eval()
    y = net(X).argmax(1)
    with pytest.raises(UserError, match=r"no gradient in eval mode, and has one in train mode.*robustsnn\.wrap"):
        robustsnn.evaluate(net, (X, y), suite="quick", eps=0.3)
    suite = Suite("one", (("pgd", (pgd(0.3, 10),)),))
    assert robustsnn.evaluate(wrap(net, x=X), (X, y), suite=lambda eps: suite, eps=0.3).worst_case.accuracy < 1
