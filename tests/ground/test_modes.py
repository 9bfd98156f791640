"""Modes are given back exactly as they were, after success, after an exception, and when nested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating, frozen, precision, undisturbed
from robustsnn.losses import cross_entropy
from robustsnn.models import Plan, vgg
from robustsnn.neurons import IF


@pytest.fixture
def model() -> nn.Module:
    """Modes and gradient flags of all mixtures: a parent in training with parts that are not, and the reverse."""
    inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    model = nn.Sequential(nn.BatchNorm1d(3), inner, nn.Linear(3, 2))
    model.train()
    model[0].eval()
    inner.training = False
    inner[1].train()
    inner[2].train()
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 3 != 0)
    return model


def state(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("context", [evaluating, frozen])
def test_everything_comes_back(model, context):
    before = state(model)
    assert len(set(before[0])) == len(set(before[1])) == 2

    def inside() -> None:
        modes, flags = state(model)
        assert not any(modes)
        assert flags == (before[1] if context is evaluating else [False] * len(flags))

    with context(model):
        inside()
    assert state(model) == before
    with pytest.raises(KeyError), context(model):  # noqa: PT012
        inside()
        raise KeyError
    assert state(model) == before
    with pytest.raises(KeyboardInterrupt), context(model):
        raise KeyboardInterrupt
    assert state(model) == before


@pytest.mark.parametrize("outer", [evaluating, frozen])
@pytest.mark.parametrize("inner", [evaluating, frozen])
def test_contexts_nest(model, outer, inner):
    before = state(model)
    with outer(model):
        middle = state(model)
        with inner(model[1]), inner(model):
            pass
        assert state(model) == middle
        with pytest.raises(KeyError), inner(model):
            raise KeyError
        assert state(model) == middle
    assert state(model) == before


def test_changes_inside_the_block_do_not_outlive_it(model):
    before = state(model)
    with frozen(model):
        model.train()
        model.requires_grad_(True)
    assert state(model) == before


def test_a_frozen_model_still_has_input_gradients(model):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with frozen(model):
        model(x).sum().backward()
    assert x.grad is not None
    assert x.grad.any()
    assert all(parameter.grad is None for parameter in model.parameters())


def seen_dtypes(name: str) -> dict[str, Any]:
    """Dtypes of a spiking network and of the gradient of its input, under `precision(name)`."""
    torch.manual_seed(0)
    model = vgg(Plan(((4,), (6,)), (5,)), image=(1, 8, 8), classes=3, neuron=IF(), steps=2)
    seen: dict[str, Any] = {}

    def note(module: nn.Module, inputs: object, out: torch.Tensor) -> None:
        seen[type(module).__name__] = out.dtype

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    with precision(name):
        logits = model(x)
        loss = cross_entropy(logits, torch.tensor([0, 1]))
    loss.sum().backward()
    seen["parameters"] = {parameter.dtype for parameter in model.parameters()}
    seen["gradients"] = {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None}
    seen["input"] = x.grad.dtype if x.grad is not None else None
    seen["logits"], seen["loss"] = logits.dtype, loss.dtype
    return seen


@pytest.mark.parametrize(("name", "product"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_changes_products_alone(name, product):
    single = torch.float32
    assert seen_dtypes(name) == {
        "Conv2d": product,
        "Linear": product,
        "parameters": {single},
        "gradients": {single},
        "input": single,
        "logits": single,
        "loss": single,
    }
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["float16", "double", "", "Float32"])
def test_other_precisions_are_refused(name):
    with pytest.raises(UserError, match="'float32' and 'bfloat16'"):
        precision(name).__enter__()


def test_convolutions_of_a_gpu_are_float32_and_repeat_themselves() -> None:
    """Inside, and afterwards as they were; the flags are there without a GPU, too."""

    def flags() -> tuple[bool, ...]:
        cudnn = torch.backends.cudnn
        return cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark

    before = flags()
    with undisturbed():
        assert flags() == (False, True, False)
        with undisturbed():
            assert flags() == (False, True, False)
        assert flags() == (False, True, False)
    assert flags() == before
