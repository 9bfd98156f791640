"""What an optimiser remembers belongs to its weights in their memory order, after a file too."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from robustsnn.names.config import TrainConfig
from robustsnn.runs.build import build_optimiser
from robustsnn.training.checkpoint import load_state, save_state


def one_step(model, optimiser, seed):
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).to(memory_format=torch.channels_last)
    optimiser.zero_grad()
    model(x).square().mean().backward()
    optimiser.step()


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_step_after_loading_is_the_step_without(tmp_path, name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    optimiser = build_optimiser(TrainConfig(lr=0.1, optimiser=name), model)
    one_step(model, optimiser, 0)
    save_state(tmp_path / "state.safetensors", model, optimiser)
    again = copy.deepcopy(model)
    other = build_optimiser(TrainConfig(lr=0.1, optimiser=name), again)
    load_state(tmp_path / "state.safetensors", again, other)
    one_step(model, optimiser, 1)
    one_step(again, other, 1)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
