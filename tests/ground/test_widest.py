"""Devices without float64: nothing makes one there, budgets are exact all the same, and attacks give equal images."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from far import DEVICE, Machine

import robustsnn
from robustsnn.attacks import Linf, Streams
from robustsnn.attacks.threat import verify
from robustsnn.data.digits import digits
from robustsnn.ground import widest
from robustsnn.models import vgg
from robustsnn.names import registered
from robustsnn.neurons import IF
from robustsnn.runs.build import suite
from robustsnn.studies.energy.measure import energy
from robustsnn.studies.gradients.measure import gradients
from robustsnn.studies.trail.measure import trail
from robustsnn.studies.vulnerability.measure import vulnerability

SOURCE = Path(robustsnn.__file__).parent
ON_THE_CPU = {
    "attacks/exact.py",  # with numpy and linear programs
    "attacks/square.py",  # a pattern of fixed numbers
    "attacks/trains.py",
    "bench/neuron.py",  # its own devices
    "data/procedural.py",
    "data/split.py",
    "evaluation/lost.py",  # a table of cosines, then moved
    "interop/nir/writing.py",
    "interop/own.py",
    "neurons/adaptive.py",
    "runs/build.py",  # images of data sets
    "studies/corruptions/measure.py",
    "studies/energy/activity.py",  # of tallies
    "studies/energy/measure.py",
    "studies/gradients/measure.py",
    "studies/shared/fanout.py",
    "studies/shared/tally.py",
    "studies/theory/difference.py",  # moved to the CPU where it must be
}
"""Files that make float64 tensors where a network's device has no say."""


@pytest.fixture
def machine(monkeypatch):
    """A machine whose device lacks float64."""
    monkeypatch.setattr(widest, "LACKING", {DEVICE})
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    autocast = torch.autocast  # of which that device has none
    name = lambda device: "cpu" if device == DEVICE else device  # noqa: E731
    monkeypatch.setattr(torch, "autocast", lambda device, *more, **options: autocast(name(device), *more, **options))
    with Machine():
        yield


@pytest.fixture(scope="module")
def subject():
    """A small network, two images, and what it says of them: they stand at first."""
    torch.manual_seed(0)
    model = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=1, width=0.25).eval()
    x, _ = digits().test.take(2).floats()
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def attacks() -> dict[tuple[str, ...], Any]:
    """One attack of each kind, step and rule that there is, made short."""
    found = {}
    alone = registered("attack").keys() - {"SparseFlips", "Transfer"}  # of binary inputs; from a source
    names = [(name, "Linf") for name in (*sorted(alone), "exhaustive", "autoattack", "paper-sr")]
    for name, norm in (*names, ("quick", "L2")):
        for _, attack in suite(name, norm=norm)("4/255" if norm == "Linf" else 0.2).members():
            parts = (attack, getattr(attack, "step", None), getattr(attack, "rule", None))
            kind = (norm, *(type(part).__name__ for part in parts))
            short = {"steps": 2, "queries": 20, "restarts": 1}
            less = {key: value for key, value in short.items() if getattr(attack, key, 0) > value}
            try:
                found.setdefault(kind, replace(attack, **less))
            except Exception:  # its numbers belong together
                found.setdefault(kind, attack)
    return found


@pytest.mark.usefixtures("machine")
def test_the_device_lacks_it():
    x = torch.rand(2, 3).to(DEVICE)
    assert x.device.type == (x + 1).device.type == DEVICE
    assert x.cpu().double().dtype == torch.float64
    mistakes = [x.double, lambda: x.sum(dtype=torch.float64)]
    mistakes += [lambda: torch.zeros(2, dtype=torch.float64, device=x.device)]
    for mistake in mistakes:
        with pytest.raises(TypeError, match="no float64"):
            mistake()


@pytest.mark.usefixtures("machine")
def test_every_attack_gives_the_same_images_there(subject):
    model, x, y = subject
    there = copy.deepcopy(model).to(DEVICE)
    found = attacks()
    assert len(found) > 20
    for kind, attack in found.items():
        near = attack.run(model, x, y, generator=Streams([1, 2]))
        far = attack.run(there, x.to(DEVICE), y.to(DEVICE), generator=Streams([1, 2], DEVICE))
        assert torch.equal(far.images.cpu(), near.images), kind


@pytest.mark.usefixtures("machine")
def test_an_evaluation_with_its_checks_is_the_same_there(subject):
    model, x, y = subject
    there = copy.deepcopy(model).to(DEVICE)
    near, far = (robustsnn.evaluate(one, (x, y), suite="pgd-3", eps="16/255") for one in (model, there))
    assert far.worst_case == near.worst_case
    assert [flag["name"] for flag in far.flags] == [flag["name"] for flag in near.flags]


@pytest.mark.usefixtures("machine")
def test_a_budget_is_checked_in_float64_there_too():
    """0.1 + a millionth of a millionth in float32 rounds to the budget."""
    x = torch.full((1, 4), 0.5).to(DEVICE)
    eps = 0.1
    z = x + torch.nextafter(torch.tensor(eps), torch.tensor(1.0)).item()
    inside = float((z.cpu().double() - x.cpu().double()).abs().max()) <= eps
    assert not inside
    with pytest.raises(RuntimeError, match="left its budget"):
        verify(Linf(eps), z, x, "this")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("study", [energy, gradients, trail, vulnerability], ids=lambda study: study.__name__)
def test_studies_run_there(subject, study):
    """In float32: about the same, and no error."""
    model, x, y = subject
    options = {"eps": [0.02], "draws": 2} if study is vulnerability else {}
    near, far = (study(one, (x, y), **options) for one in (model, copy.deepcopy(model).to(DEVICE)))
    assert type(near) is type(far)


def float64_in(path: Path) -> bool:
    """Whether a file makes tensors of float64 by itself."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr == "double":
            return True
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "dtype" and ast.unparse(keyword.value) == "torch.float64":
                    return True
    return False


def test_float64_is_made_in_no_other_file():
    found = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if float64_in(path)}
    assert found <= ON_THE_CPU, "use ground.widest.wide, or compute on the CPU"
    assert found == ON_THE_CPU
