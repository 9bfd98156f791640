"""Files of before the buffers of a classifier were renamed are read, bit for bit."""

from __future__ import annotations

import torch
from torch import nn

from helpers import images, spiking
from robustsnn.ground.tensors import write_tensors
from robustsnn.training.checkpoint import load_state, load_weights, save_state

X = images(4, (1, 8, 8))


def old(tensors, prefix=""):
    names = {f"{prefix}pixel_mean": f"{prefix}mean", f"{prefix}pixel_std": f"{prefix}std"}
    return {names.get(name, name): tensor for name, tensor in tensors.items()}


def test_old_weights_are_read_from_files_and_state_dicts(tmp_path):
    trained, fresh = spiking(0), spiking(1)
    trained.pixel_mean += 0.1
    assert {"mean", "std"} < old(trained.state_dict()).keys()
    write_tensors(tmp_path / "weights.safetensors", old(trained.state_dict()), {})
    load_weights(tmp_path / "weights.safetensors", fresh)
    assert torch.equal(fresh(X), trained(X))
    for prefix, wrap in (("", lambda model: model), ("0.", lambda model: nn.Sequential(model))):
        other = wrap(spiking(2)).eval()
        other.load_state_dict(old(wrap(trained).state_dict(), prefix))
        assert torch.equal(other(X), trained(X))


def test_an_old_training_goes_on(tmp_path, monkeypatch):
    trained, fresh = spiking(0), spiking(1)
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    trained(X).sum().backward()
    optimiser.step()
    with monkeypatch.context() as patch:
        names = old(trained.state_dict())
        patch.setattr(trained, "state_dict", lambda: names)
        save_state(tmp_path / "last.safetensors", trained, optimiser)
    load_state(tmp_path / "last.safetensors", fresh, torch.optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9))
    assert torch.equal(fresh(X), trained.eval()(X))
