"""The page on neurons: its example runs, its figures are right, and it leaves nothing out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_neurons import currents

import robustsnn.neurons
from robustsnn.neurons import ASSG, IF, LIF, GradientRule, fire

PAGE = (Path(__file__).parents[2] / "docs/explanation/neurons.md").read_text("utf-8")


def example() -> dict[str, Any]:
    """The names that the example of the page leaves."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(code, "neurons.md", "exec", dont_inherit=True), found)
    return found


def test_the_example_prints_what_it_says(capsys):
    names = example()
    (said,) = re.findall(r"print\(.*?\)  # (.*)", PAGE)
    assert capsys.readouterr().out.strip() == said
    spoken = re.findall(r"# potentials (.*)", PAGE)[0].split(", ")
    potentials = [u.item() for u, _ in IF().run(names["current"].detach(), 3)]
    assert potentials == pytest.approx([float(number) for number in spoken])


def test_the_rule_of_the_example_keeps_the_contract():
    rule = example()["ClosestMoment"]()
    assert isinstance(rule, GradientRule)
    neuron = LIF(tau=0.7, decay_input=True, reset="soft")
    current, upstream = currents(neuron, 4, (3, 5), 0, torch.float64)
    leaf = current.requires_grad_()
    (gradient,) = torch.autograd.grad(fire(leaf, 4, neuron, rule), leaf, upstream)
    once = current[:1].detach().requires_grad_()
    (summed,) = torch.autograd.grad(fire(once, 4, neuron, rule), once, upstream)
    assert ((gradient != 0).sum(0) == 1).all()
    assert summed.shape == once.shape


def test_every_rule_and_surrogate_is_described():
    kinds = [kind for kind in vars(robustsnn.neurons).values() if dataclasses.is_dataclass(kind)]
    described = [k.__name__ for k in kinds if hasattr(k, "slope") or hasattr(k, "input_gradient")]
    assert len(described) >= 13
    for name in described:
        assert re.search(rf"^\| `{name}\(", PAGE, re.MULTILINE), name


def test_figures_of_omega():
    rows = re.findall(r"^\| `(\w+\(\d\))` \| .* \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for surrogate, figure in rows:
        assert ASSG(eval(surrogate, vars(robustsnn.neurons)), degree=0.87).omega == pytest.approx(
            float(figure), abs=0.005
        )


def test_defaults_and_peaks_of_surrogates():
    rows = re.findall(r"^\| `(\w+)\((?:\w+)\)` \| .* \| (\d) \| (\S.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for name, default, peak in rows:
        surrogate = getattr(robustsnn.neurons, name)()
        (value,) = vars(surrogate).values()
        assert value == float(default)
        number = eval(peak.replace("0.40 a", "0.39894228 * a"), {"width": value, "k": value, "a": value})
        assert surrogate.slope(torch.zeros(())).item() == pytest.approx(number)
