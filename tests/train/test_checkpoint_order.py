"""What an optimiser remembers belongs to its weights in their memory order, after a file too; else it is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.tensors import read_tensors, write_tensors
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


@pytest.mark.parametrize(
    ("scalars", "said"),
    [
        (None, "is damaged: its optimiser_scalars are null"),
        ([[]], "is damaged: its optimiser_scalars are [[]]"),
        ({"": 1}, "does not fit the optimiser (its '')"),
        ({"9.step": 1}, "does not fit the optimiser (its '9.step')"),
        ({"0.step": "x"}, "does not fit the optimiser (its '0.step')"),
    ],
)
def test_what_an_optimiser_cannot_remember_is_refused(tmp_path, scalars, said):
    path = tmp_path / "state.safetensors"
    model = nn.Linear(2, 2)
    optimiser = build_optimiser(TrainConfig(), model)
    save_state(path, model, optimiser)
    tensors, metadata = read_tensors(path, "")
    write_tensors(path, tensors, metadata | {"optimiser_scalars": scalars})
    with pytest.raises(UserError) as refused:
        load_state(path, model, optimiser)
    assert said in str(refused.value)
