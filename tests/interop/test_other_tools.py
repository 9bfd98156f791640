"""The page on Lightning and NeuroBench: its code runs, with stand-ins for both that call it as they do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import robustsnn
from robustsnn.data.digits import digits
from robustsnn.ground.modes import frozen

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "other-tools.md"
LIGHTNING, METRIC, _ = re.findall(r"^```python3\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def module(monkeypatch, name: str, **contents: object) -> None:
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.fixture
def net():
    torch.manual_seed(0)
    size = {"image": (1, 8, 8), "classes": 10, "steps": 2, "width": 0.25}
    return robustsnn.models.vgg("vgg_small", neuron=robustsnn.neurons.IF(), **size)


def test_an_objective_trains_inside_a_lightning_module(monkeypatch, net):
    logged: list[str] = []

    class LightningModule(nn.Module):
        def log(self, name, value):
            logged.append(name)
            assert value.ndim == 0

    class Trainer:
        def __init__(self, max_epochs):
            self.epochs = 3

        def fit(self, model, loader):
            optimiser = model.configure_optimizers()
            for _ in range(self.epochs):
                for index, batch in enumerate(loader):
                    optimiser.zero_grad()
                    model.training_step(batch, index).backward()
                    optimiser.step()

    module(monkeypatch, "lightning", LightningModule=LightningModule, Trainer=Trainer)
    data = digits()
    x, y = data.test.take(100).floats()
    loader = list(zip(*(part.split(64) for part in data.train.take(512).floats()), strict=True))
    code = LIGHTNING.replace("(x, y), suite", "(x[:4], y[:4]), suite").replace("quick", "pgd-2")
    names = {"net": net, "loader": loader, "x": x, "y": y}
    exec(code, names)
    assert set(logged) == {"cross_entropy", "sparsity"}
    with frozen(net):
        assert float((net(x).argmax(1) == y).float().mean()) > 0.3


def test_neurobench_shows_what_evaluate_finds(monkeypatch):
    """Its sum over batches, each weighed by its size, is the accuracy on all images."""

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()

    class WorkloadMetric:
        pass

    class Model:
        def __net__(self):
            return net

    for name in ("neurobench", "neurobench.metrics"):
        module(monkeypatch, name)
    module(monkeypatch, "neurobench.metrics.abstract", WorkloadMetric=WorkloadMetric)
    code = METRIC.replace("quick", "pgd-2").replace("8/255", "16/255")
    code = code.replace("robustsnn.wrap(model.__net__())", "model.__net__()")
    names: dict = {}
    exec(code, names)
    metric = names["RobustAccuracy"]()
    x, _ = digits().test.take(10).floats()
    with frozen(net):
        y = net(x).argmax(1)
    found = 0.0
    for at in (slice(0, 8), slice(8, 10)):
        found += metric(Model(), None, (x[at], y[at])) * len(x[at]) / len(x)
    assert found == pytest.approx(robustsnn.evaluate(net, (x, y), suite="pgd-2", eps="16/255").worst_case.accuracy)
    assert 0 < found < 1
