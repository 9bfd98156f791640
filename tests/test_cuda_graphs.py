"""benchmarks/cuda_graphs.py: recorded steps are those of the library, and a slip in recording is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest
import torch

from helpers import benchmark
from robustsnn.bench.trainee import REGIMES, Trainee
from robustsnn.neurons import compilation


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
    """A replay reads the tensors that it was recorded with: here the attack's first gradient for all its steps."""

    class Stale(graphs.Recorded):  # type: ignore[name-defined]
        def __call__(self, *tensors: Any) -> Any:
            return super().__call__(*self.inputs)

    monkeypatch.setattr(graphs, "Recorded", Stale)
    assert apart(graphs, "AT") > 0


def test_momentum_that_warming_up_left_is_noticed(graphs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Warmed(graphs.Recorded):  # type: ignore[name-defined]
        def __init__(self, function: Any, *examples: Any) -> None:
            super().__init__(function, *examples)
            function(*self.inputs)

    monkeypatch.setattr(graphs, "Recorded", Warmed)
    assert apart(graphs, "vanilla") == 0
    monkeypatch.setattr(graphs.Graphed, "unchanged", lambda self: nullcontext())
    assert apart(graphs, "vanilla") > 0
