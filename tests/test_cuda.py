"""What a GPU must give as a CPU does. Compiled kernels may round tau V + I once there, so single spikes may differ."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import robustsnn
from robustsnn.attacks import Linf, Square, apgd, pgd
from robustsnn.bench.trainee import REGIMES, Trainee
from robustsnn.data.digits import digits
from robustsnn.models import vgg
from robustsnn.models.pooling import Halving
from robustsnn.neurons import BPTR, HART, IF, LIF, RGA, STBP, Arctan, Neurons, compilation, fire
from robustsnn.neurons.normed import fire_normed

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("default"),
]
LAYERS = [
    (IF(), STBP()),
    (LIF(tau=0.5), STBP(Arctan(2.0))),
    (LIF(tau=0.5, decay_input=True, reset="soft"), HART()),
    (IF(detach_reset=True), RGA()),
    (LIF(tau=0.9), BPTR()),
]


def passes(mode, current, upstream, neuron, rule):
    leaf = current.clone().requires_grad_()
    with compilation(mode):
        spikes = fire(leaf, len(upstream), neuron, rule)
        return spikes.detach().cpu(), torch.autograd.grad(spikes, leaf, upstream)[0].cpu()


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("neuron", "rule"), LAYERS, ids=repr)
def test_neurons(neuron, rule, constant):
    current, upstream = 0.5 + torch.randn(8, 3000), torch.randn(8, 3000)
    current = current[:1] if constant else current
    wanted_spikes, wanted = passes("never", current, upstream, neuron, rule)
    for mode in ("never", "always"):
        spikes, gradient = passes(mode, current.cuda(), upstream.cuda(), neuron, rule)
        same = (spikes == wanted_spikes).all(0)
        assert same.float().mean() > 0.999
        torch.testing.assert_close(gradient[:, same], wanted[:, same], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_norms_with_neurons(training):
    norm = nn.BatchNorm2d(16).cuda().train(training)
    x = torch.randn(4, 8, 9, 9, 16, device="cuda").permute(0, 1, 4, 2, 3)
    upstream = torch.randn(4, 8, 16, 9, 9, device="cuda")
    found = []
    for mode in ("always", "never"):
        own, leaf = copy.deepcopy(norm), x.clone(memory_format=torch.preserve_format).requires_grad_()
        with compilation(mode):
            spikes = fire_normed(own, Neurons(IF(), 4, STBP()), leaf)
            found.append((spikes.detach(), *torch.autograd.grad(spikes, (leaf, own.weight, own.bias), upstream)))
    assert (found[0][0] != found[1][0]).float().mean() < 1e-3
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        assert (one - other).abs().mean() < 0.02 * other.abs().mean()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [6, 7])
def test_halving(layout, size):
    x = (torch.rand(5, 16, size, size, device="cuda") < 0.3).float().contiguous(memory_format=layout).requires_grad_()
    upstream = torch.randn(5, 16, 3, 3, device="cuda")
    with compilation("always"):
        halved = Halving()(x)
        (gradient,) = torch.autograd.grad(halved, x, upstream)
    expected = nn.functional.avg_pool2d(x, 2)
    assert torch.equal(halved, expected)
    assert torch.equal(gradient, torch.autograd.grad(expected, x, upstream)[0])


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("autocast", ["float32", "bfloat16"])
def test_a_training_step(regime, autocast):
    trainee = Trainee("vgg_small", autocast, (3, 16, 16), 4, 8, 0, torch.device("cuda"))
    before = [weight.detach().clone() for weight in trainee.model.parameters()]
    with compilation("always"):
        trainee.step(regime)
    after = list(trainee.model.parameters())
    assert all(weight.isfinite().all() for weight in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("attack", [pgd(0.1, 3), apgd(0.1, 5), Square(Linf(0.1), queries=20)], ids=repr)
def test_attacks(attack):
    torch.manual_seed(0)
    model = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=4).cuda().eval()
    x, y = torch.rand(6, 1, 8, 8, device="cuda"), torch.arange(6, device="cuda")
    z = attack.run(model, x, y).images
    assert z.device == x.device
    assert (z - x).abs().max() <= 0.1 + 1e-6
    assert ((z >= 0) & (z <= 1)).all()


def test_training_and_evaluation():
    torch.manual_seed(0)
    data = digits()
    model = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=4).cuda()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    robustsnn.fit(model, data.train, REGIMES["vanilla"], optimiser, epochs=8, batch_size=64)
    x, y = data.test.take(100).floats("cuda")
    result = robustsnn.evaluate(model, (x, y), suite="quick", eps="16/255")
    assert result.clean.accuracy > 0.8
    assert result.worst_case.accuracy < result.clean.accuracy
