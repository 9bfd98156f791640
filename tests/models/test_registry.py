"""What every architecture in the registry promises; a new line there is tested here by itself."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from robustsnn.encoders import Direct, Frames
from robustsnn.ground.errors import UserError
from robustsnn.models import Classifier
from robustsnn.models.time import Fold
from robustsnn.names import load, registered
from robustsnn.neurons import IF, RGA, neuron_layers

STEPS, CLASSES, IMAGE = 3, 5, (3, 32, 32)
COMMON = {"image", "classes", "neuron", "steps", "rule", "encoder", "mean", "std"}
STATELESS = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@pytest.fixture(scope="module", params=registered("model"))
def make(request):
    return load(registered("model")[request.param])


@pytest.fixture(scope="module")
def model(make):
    return built(make)


def built(make, **changed):
    """On the meta device: all shapes, no memory and no arithmetic."""
    with torch.device("meta"):
        return make(**{"image": IMAGE, "classes": CLASSES, "neuron": IF(theta=0.7), "steps": STEPS, **changed})


def test_the_signature_has_the_common_arguments_and_options_with_defaults(make):
    parameters = inspect.signature(make).parameters
    assert set(parameters) >= COMMON
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    required = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    assert required == {"image", "classes", "neuron", "steps"}


def test_arguments_reach_the_network(make):
    model = built(make, rule=RGA(0.1), mean=(0.1, 0.2, 0.3), std=(2.0,))
    assert isinstance(model, Classifier)
    assert isinstance(model.encoder, Direct)
    layers = neuron_layers(model)
    assert {(layer.neuron, layer.steps, layer.rule) for layer in layers} == {(IF(theta=0.7), STEPS, RGA(0.1))}
    assert (model.image, model.pixel_mean.numel(), model.pixel_std.numel()) == (IMAGE, 3, 1)


@torch.no_grad()
def test_images_become_logits_and_event_frames_too(make, model):
    logits = model(torch.empty(2, *IMAGE, device="meta"))
    assert (logits.shape, logits.dtype) == ((2, CLASSES), torch.float32)
    image = (STEPS, 2, 32, 32)
    encoder = Frames(STEPS)
    model = built(make, image=image, encoder=encoder)
    assert model.encoder is encoder
    assert model(torch.empty(2, *image, device="meta")).shape == (2, CLASSES)


def test_layers_without_memory_are_folded_over_time(model):
    folded = {id(inner) for fold in model.modules() if isinstance(fold, Fold) for inner in fold.modules()}
    found = [module for module in model.modules() if isinstance(module, STATELESS)]
    assert found
    assert all(id(module) in folded for module in found)
    assert not any(id(layer) in folded for layer in neuron_layers(model))  # they need the time axis


def test_one_class_and_images_without_pixels_are_refused(make):
    with pytest.raises(UserError, match="classes=1"):
        built(make, classes=1)
    with pytest.raises(UserError, match="0x32"):
        built(make, image=(3, 0, 32))
