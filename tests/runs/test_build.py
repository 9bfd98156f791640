"""What a config is told before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robustsnn.losses import cross_entropy
from robustsnn.names.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from robustsnn.neurons import neuron_layers
from robustsnn.runs.build import build_data, build_model, weak_lambda


@pytest.mark.parametrize("name", ["sparsity", "sr"])
def test_a_published_lambda_with_the_form_that_it_was_not_used_with_is_told(name: str) -> None:
    def told(data: str, lam: float, **options: str) -> str | None:
        return weak_lambda(Config(data=DataConfig(data), objective=ObjectiveConfig(name, lam, dict(options))))

    said = told("cifar10", 0.008)
    assert said is not None
    assert "reference-code" in said
    assert told("cifar100", 0.001, form="paper") is not None
    assert told("cifar10", 0.008, form="reference-code") is None
    assert told("cifar10", 0.1) is None
    assert told("cifar100", 0.008) is None
    assert told("digits", 0.008) is None


def test_other_objectives_are_not_told() -> None:
    assert weak_lambda(Config(data=DataConfig("cifar10"), objective=ObjectiveConfig("gradient", 0.008))) is None


@pytest.mark.parametrize("name", ["vgg_small", "wide_resnet16"])
def test_a_spiking_last_layer_counts_its_spikes(name: str) -> None:
    """Eq. 9 of the SR paper: z_k = sum_t s_k[t], with the spikes that the layer's neurons fire at its currents."""
    data = build_data(DataConfig())
    options = {"width": 1} if name == "wide_resnet16" else {}
    config = ModelConfig(name, steps=3, options=options, readout="spikes")
    model, usual = (build_model(made, data, 0).train() for made in (config, replace(config, readout="average")))
    x, y = data.train.take(16).floats()
    x.requires_grad_()
    spikes: list[Tensor] = []
    hook = neuron_layers(model)[-1].register_forward_hook(lambda layer, inputs, out: spikes.append(out.detach()))
    logits = model(x)
    hook.remove()
    assert spikes[0].shape == (3, 16, 10)
    assert torch.equal(logits, spikes[0].sum(0))
    assert set(logits.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert len(logits.unique()) > 1
    (gradient,) = torch.autograd.grad(cross_entropy(logits, y).sum(), x)
    assert gradient.abs().sum() > 0
    assert len(neuron_layers(model)) == len(neuron_layers(usual)) + 1
    few, many = (sum(weight.numel() for weight in made.parameters()) for made in (usual, model))
    assert few == many
