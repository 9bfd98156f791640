"""ReLU twins: the same layers and weights, no spikes, no time."""

import pytest
import torch
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.models import relu_twin, vgg
from robustsnn.models.classifier import classifier
from robustsnn.models.time import Fold, Layers
from robustsnn.names import registered
from robustsnn.names.config import Config, EncoderConfig, ModelConfig, ObjectiveConfig, TrainingAttackConfig
from robustsnn.neurons import IF, Neurons, neuron_layers
from robustsnn.runs.build import check, make_model

SMALL = {"vgg11": {"width": 1 / 16}, "wide_resnet16": {"width": 1}}
SHAPE = (3, 32, 32)


def made(name, activation, steps=4, **more):
    """A network of that name for 32x32 images, with equal weights each time."""
    torch.manual_seed(0)
    options = SMALL.get(name, {"width": 1 / 8} if "resnet" in name else {})
    config = ModelConfig(name, steps, options, activation=activation, **more)
    shape = (1, 8, 8) if name == "vgg_small" else SHAPE
    return make_model(config, shape, 10, [0.5], [0.25]).eval(), torch.rand(3, *shape)


@pytest.mark.parametrize("name", list(registered("model")))
def test_a_twin_has_the_same_weights_and_no_neurons_and_no_time(name):
    spiking, _ = made(name, "spikes")
    twin, x = made(name, "relu")
    assert not neuron_layers(twin)
    assert [type(m) for _, m in twin.named_modules()] == [
        nn.ReLU if isinstance(m, Neurons) else type(m) for _, m in spiking.named_modules()
    ]
    before, after = spiking.state_dict(), twin.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    longer, _ = made(name, "relu", steps=9)
    with torch.no_grad():
        assert torch.equal(twin(x), longer(x))
        assert twin(x).std() > 0


def test_a_twin_in_closed_form():
    torch.manual_seed(0)
    first, second = nn.Linear(12, 5), nn.Linear(5, 3)
    body = Layers(Fold(nn.Flatten(), first), Neurons(IF(), 4), second)
    twin = classifier(body, None, (3, 2, 2), (0.4,), (0.2,))
    x = torch.rand(6, 3, 2, 2)
    same = relu_twin(twin)
    assert same is twin
    u = ((x - 0.4) / 0.2).flatten(1) @ first.weight.T + first.bias
    torch.testing.assert_close(twin(x), u.clamp_min(0) @ second.weight.T + second.bias)


def test_a_code_over_time_is_read_step_by_step():
    twin, x = made("vgg_small", "relu", steps=8, encoder=EncoderConfig("phase", {"period": 8}))
    with torch.no_grad():
        code = twin.encoder(x)
        steps = torch.stack([twin.read(code[t : t + 1]) for t in range(8)])
        torch.testing.assert_close(twin(x), steps.mean(0))
    assert steps.std(0).max() > 0


def test_what_has_no_twin_is_refused():
    with pytest.raises(UserError, match="no robustsnn neuron layers"):
        relu_twin(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UserError, match="no robustsnn neuron layers"):
        relu_twin(Neurons(IF(), 2))
    with pytest.raises(UserError, match=r"model\.activation=relu leaves no spikes"):
        made("vgg_small", "relu", readout="spikes")
    with pytest.raises(UserError, match=r"model\.activation=relu leaves no spikes"):
        check(Config(model=ModelConfig(activation="relu", readout="spikes")))


def test_it_is_a_network_like_any_other_in_a_report():
    at = ObjectiveConfig("adversarial", attack=TrainingAttackConfig("2/255"))
    assert Config(objective=at, model=ModelConfig(activation="relu")).title() == "AT, ReLU"
    assert Config(objective=at, name="mine", model=ModelConfig(activation="relu")).title() == "mine"


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    network = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=4, width=1 / 4)
    twin = relu_twin(network).train()
    twin(torch.rand(16, 1, 8, 8)).logsumexp(1).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in twin.parameters())
