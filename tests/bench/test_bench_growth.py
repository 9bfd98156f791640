"""Growth and memory of planted figures: what comes out is what was put in."""

from dataclasses import replace

import pytest
import torch

from robustsnn.bench import growth, step
from robustsnn.bench.memory import increase
from robustsnn.bench.options import Options
from robustsnn.bench.show import show
from robustsnn.bench.timing import Timings
from robustsnn.bench.trainee import REGIMES

CPU = torch.device("cpu")
TINY = Options(networks="vgg_small", precisions="float32", image="1x8x8", steps=2, batch=2, rounds=1)


def plant(monkeypatch, power):
    """Times n^power of vanilla and n of SR in two rounds, the second three times slower; memory n^power and n."""

    def times(options, autocast, sizes, device, progress):
        found = {}
        for steps, batch in sizes:
            n = steps * batch / 16
            for regime, value in (("vanilla", n**power), ("SR", n)):
                found[f"{regime} T={steps} B={batch}"] = [value, 3 * value]
        return Timings(found, {}, 0.0)

    def memories(options, cases, device, progress):
        took = {case: (case[2] * case[3] / 16) ** (power if case[4] == "vanilla" else 1) for case in cases}
        return {case: {"before_mib": 100.0, "peak_mib": 100.0 + mib} for case, mib in took.items()}

    monkeypatch.setattr(growth, "_times", times)
    monkeypatch.setattr(growth, "memories", memories)


@pytest.mark.parametrize("power", [1, 2])
def test_planted_growth_is_found_over_steps_and_over_the_batch(monkeypatch, power, capsys):
    plant(monkeypatch, power)
    found = growth.measure(TINY, CPU)
    assert len(found) == 4
    for title, row in found.items():
        expected = power if title.startswith("vanilla") else 1
        assert set(row["exponent_of_time"].values()) == {expected}  # a slower round changes no exponent
        assert row["exponent_of_memory"] == expected
        axis = "T" if "over T" in title else "B"
        assert row["ms_at"][f"{axis}=32"]["min"] == pytest.approx(1e3 * 8**expected)
        assert row["mib_at"][f"{axis}=32"] == pytest.approx(8**expected)
        assert {"T": "B=4", "B": "T=4"}[axis] in title  # what is held fixed is said
    machine = {"cpu": "a", "cores": 2, "threads": 1, "clock": "wall", "device": "cpu", "load_before": 0}
    show({"command": "robustsnn bench", "torch": "2", "machine": machine, "results": {"growth": found}})
    assert "SR over B" in capsys.readouterr().out


def test_memory_that_cannot_be_seen_has_no_exponent(monkeypatch):
    plant(monkeypatch, 1)
    nothing = lambda options, cases, *_: {case: {"before_mib": 100.0, "peak_mib": 100.0} for case in cases}  # noqa: E731
    monkeypatch.setattr(growth, "memories", nothing)
    for row in growth.measure(TINY, CPU).values():
        assert "exponent_of_memory" not in row
        assert set(row["mib_at"].values()) == {0}
    monkeypatch.setattr(growth, "memories", lambda *_: {})  # the system does not tell
    assert all("mib_at" not in row for row in growth.measure(TINY, CPU).values())
    assert increase({"before_mib": 1.5, "peak_mib": 4.0}) == 2.5


def test_every_regime_of_every_network_gets_its_own_memory(monkeypatch):
    asked = []

    def memories(options, cases, device, progress):
        asked.extend(cases)
        return {case: {"before_mib": 1.0, "peak_mib": 2.0 + i} for i, case in enumerate(cases)}

    monkeypatch.setattr(step, "memories", memories)
    ((_, case),) = step.measure(TINY, CPU).items()
    assert asked == [("vgg_small", "float32", 2, 2, regime) for regime in REGIMES]
    assert [row["peak_mib"] for row in case["regimes"].values()] == [2.0 + i for i in range(len(REGIMES))]
    ((_, case),) = step.measure(replace(TINY, memory=False), CPU).items()
    assert all("peak_mib" not in row for row in case["regimes"].values())
