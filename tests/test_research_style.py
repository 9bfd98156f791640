"""The yardstick of benchmarks/research_style.py computes what ours computes, and notices where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from helpers import benchmark
from robustsnn.models import wide_resnet
from robustsnn.neurons import IF, LIF


@pytest.fixture(scope="module")
def style() -> Iterator[ModuleType]:
    """The benchmark as a module."""
    with benchmark("research_style") as module:
        yield module


def compare(style: ModuleType, neuron: LIF, dtype: torch.dtype = torch.float64) -> dict[str, float]:
    torch.manual_seed(0)
    model = wide_resnet(image=(3, 16, 16), classes=5, neuron=neuron, steps=4, depth=10, width=1)
    x = torch.rand((6, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    return style.compare(model, x, torch.arange(6) % 5, dtype)


def test_the_yardstick_and_ours_are_one_training_step(style: ModuleType) -> None:
    found = compare(style, IF())
    assert set(found) == {"logits", "loss", "gradients", "running_means", "running_variances"}
    assert max(found.values()) < style.TOLERANCE


@pytest.mark.parametrize(
    ("planted", "where"),
    [
        (IF(detach_reset=True), "gradients"),
        (IF(reset="soft"), "logits"),
        (LIF(tau=0.99), "logits"),
        (IF(theta=1.01), "logits"),
    ],
)
def test_other_dynamics_are_noticed(style: ModuleType, planted: LIF, where: str) -> None:
    assert compare(style, planted)[where] > 1000 * style.TOLERANCE


def test_another_step_of_the_difference_is_noticed(style: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalty is compared too, though its share of the loss is small."""
    research = style.research_loss
    monkeypatch.setattr(style, "research_loss", lambda net, x, y, lam, h: research(net, x, y, lam, 1.1 * h))
    assert compare(style, IF())["gradients"] > 1000 * style.TOLERANCE


def test_the_first_running_variance_differs_by_the_stated_factor(
    style: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "as_copies", lambda ours, n, copies: ours)
    found = compare(style, IF())
    assert found.pop("running_variances") > 10 * style.TOLERANCE
    assert max(found.values()) < style.TOLERANCE


def test_a_network_of_other_layers_is_refused(style: ModuleType) -> None:
    model = wide_resnet(image=(3, 16, 16), classes=5, neuron=IF(), steps=4, depth=10, width=1)
    model.register_buffer("another", torch.zeros(1))
    with pytest.raises(ValueError, match="differ in layers"):
        style.research_net(model)
