"""Recorded steps are the usual ones, and a slip in recording is noticed; benchmarks/cuda_graphs.py compares them."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import benchmark
from robustsnn.bench.trainee import AT, REGIMES, Trainee
from robustsnn.data.digits import digits
from robustsnn.ground.errors import UserError
from robustsnn.models import vgg
from robustsnn.neurons import IF, compilation
from robustsnn.objectives import (
    CleanLogitPairing,
    Hire,
    Natural,
    Objective,
    OneStep,
    Scheduled,
    SparsityRegularised,
    WarmUp,
)
from robustsnn.training import graphs as library
from robustsnn.training.fit import fit
from robustsnn.training.step import TrainingStep


@pytest.fixture(scope="module")
def graphs() -> Iterator[ModuleType]:
    """The benchmark as a module."""
    with benchmark("cuda_graphs") as module:
        yield module


def made(kind: type[Trainee]) -> Trainee:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return kind("vgg_small", "float32", (3, 16, 16), 3, 6, 0, device)


def apart(graphs: ModuleType, regime: str) -> float:
    with compilation("never"):
        return graphs.check(made, regime)


@pytest.mark.parametrize("regime", REGIMES)
def test_two_recorded_steps_leave_the_weights_of_two_steps(graphs: ModuleType, regime: str) -> None:
    found = apart(graphs, regime)
    assert found <= graphs.TOLERANCE if torch.cuda.is_available() else found == 0


def test_a_batch_that_is_not_copied_in_is_noticed(graphs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay reads the tensors that it was recorded with: here those of the first step for every step."""

    class Stale(library.Recorded):
        def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
            return super().__call__(*(torch.zeros_like(x) for x in self.inputs))

    monkeypatch.setattr(library, "Recorded", Stale)
    assert apart(graphs, "AT") > 0


def test_statistics_that_warming_up_moved_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where a function is called a few times before it is recorded."""

    class Warmed(library.Recorded):
        def __init__(self, function: Any, *examples: Tensor) -> None:
            super().__init__(function, *examples)
            function(*self.inputs)

    monkeypatch.setattr(library, "Recorded", Warmed)
    plain, recorded = trained(Natural(), False), trained(Natural(), True)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def trained(objective: Objective, recorded: bool, autocast: Any = "float32") -> list[Tensor]:
    """Weights and statistics after two epochs of three batches, the last of which is smaller."""
    torch.manual_seed(0)
    data = digits().train.take(40)
    model = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=3)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = TrainingStep(precision=autocast, graphs=recorded)
    history = fit(model, data, objective, optimiser, epochs=2, batch_size=16, step=step)
    figures = [torch.tensor(list(entry["train"].values())) for entry in history]
    return [*(tensor.clone() for tensor in model.state_dict().values()), *figures]


@pytest.mark.parametrize("autocast", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "objective",
    [
        Natural(),
        AT,
        SparsityRegularised(0.1),
        SparsityRegularised(0.001, AT, form="reference-code"),
        SparsityRegularised(0.1, form="double-backward"),
        OneStep("8/255", 0.1),
        Scheduled(SparsityRegularised(0.1), WarmUp(2)),
    ],
    ids=repr,
)
def test_a_recorded_training_leaves_the_same_bits(objective: Any, autocast: str) -> None:
    plain, recorded = trained(objective, False, autocast), trained(objective, True, autocast)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def test_objectives_that_cannot_be_recorded_are_trained_as_usual() -> None:
    plain, recorded = trained(CleanLogitPairing(0.1, 0.1), False), trained(CleanLogitPairing(0.1, 0.1), True)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))


def test_a_subclass_with_a_call_of_its_own_is_trained_by_it() -> None:
    class Doubled(Natural):
        def __call__(self, model: Any, x: Tensor, y: Tensor, *, generator: torch.Generator) -> Any:
            terms, logits = super().__call__(model, x, y, generator=generator)
            return {name: 2 * term for name, term in terms.items()}, logits

    plain, recorded = trained(Doubled(), False), trained(Doubled(), True)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(recorded, trained(Natural(), True), strict=True))


def test_several_updates_per_batch_are_refused() -> None:
    with pytest.raises(UserError, match="one loss per batch"):
        trained(Hire(0.1), True)  # type: ignore[arg-type]
