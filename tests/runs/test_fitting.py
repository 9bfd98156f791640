"""What a network and a training step need is told from shapes alone, and is what they take at least."""

from __future__ import annotations

import pytest
import torch

from robustsnn.data.digits import digits
from robustsnn.ground.errors import UserError
from robustsnn.names import registered
from robustsnn.names.config import Config, EncoderConfig, ModelConfig, RuleConfig
from robustsnn.runs import fitting
from robustsnn.runs.build import build_model

DATA = digits()
CPU = torch.device("cpu")


@pytest.fixture
def free(monkeypatch):
    """Sets what is free."""
    return lambda count: monkeypatch.setattr(fitting, "available", lambda: count)


def small(name: str) -> ModelConfig:
    more = {"stem": "cifar", "pooling": "none"} if "resnet" in name else {}
    return ModelConfig(name=name, steps=2, options={} if name.startswith("wide") else {"width": 0.1, **more})


@pytest.mark.parametrize("name", registered("model"))
def test_the_weights_are_counted_without_making_them(name, free):
    if name == "vgg11":
        pytest.skip("halves 8x8 images too often")
    config = Config(model=small(name))
    count = sum(p.numel() for p in build_model(config.model, DATA, 0).parameters())
    free(12 * count - 1)
    with pytest.raises(UserError, match=r"^the network \([\d.e+]+ weights\) needs at least"):
        fitting.check_model(config, DATA, 1, CPU, training=True)
    free(4 * count)
    fitting.check_model(config, DATA, 1, CPU, training=False)


@pytest.mark.parametrize("rule", [None, *registered("rule")])
def test_every_rule_and_encoder_can_be_looked_at(rule, free):
    for encoder in (None, "direct", "phase", "latency", "rate", "poisson"):
        model = ModelConfig(steps=2, encoder=EncoderConfig(encoder), rule=RuleConfig(rule))
        fitting.check_model(Config(model=model), DATA, 8, CPU, training=True)


def test_a_step_needs_a_number_for_each_output_of_a_layer_batch_and_step(free):
    """vgg_small of width 1 on 8x8 pixels: conv and neurons 12, 24 of 64 pixels, 48 of 16, hidden 96, 10 classes."""
    config = Config(model=ModelConfig(steps=2))
    outputs = fitting._outputs(config, DATA, DATA.train.shape)
    neurons = (12 + 24) * 64 + 48 * 16 + 96
    assert neurons < outputs <= 5 * neurons
    assert outputs <= fitting._at_most(fitting._shapes(config, DATA, DATA.train.shape), DATA.train.shape)
    free(int(outputs) * 4 * 2 * 100_000)
    fitting.check_model(config, DATA, 99_000, CPU, training=True)
    with pytest.raises(UserError, match="a training step on 101000 images with T=2 needs at least"):
        fitting.check_model(config, DATA, 101_000, CPU, training=True)
    config.train.recompute = True
    fitting.check_model(config, DATA, 101_000, CPU, training=True)
