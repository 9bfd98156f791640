"""A model is the same model as long as its weights, its plain attributes and its code are, and no longer."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import cached_property

import pytest
import torch

from helpers import Linear, images
from robustsnn.evaluation.fingerprint import exact, model_digest


class Lazy:
    """Makes up whatever it is asked for, anew at each call."""

    def __getattr__(self, name):
        return Lazy()


class Unresolved:
    """Cannot say what it is before it is connected to something."""

    def __getattr__(self, name):
        raise RuntimeError(f"{name} of nothing")

    def __repr__(self):
        raise RuntimeError("nothing to show")


class Property(Linear):
    @cached_property
    def size(self):
        return self.weight.shape

    def forward(self, x):
        return super().forward(x) * len(self.size) / 2


ATTRIBUTES = {
    "lazy": Lazy,
    "unresolved": Unresolved,
    "lock": threading.Lock,
    "module": lambda: sys.modules["json"],
    "lambda": lambda: lambda x: x + 1,
    "method": lambda: Linear().forward,
    "set": lambda: {"b", "a", "c"},
    "generator": torch.Generator,
    "dtype": lambda: torch.float32,
    "class": lambda: Linear,
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_of_any_kind_leave_the_digest_as_it_is(name):
    model = Linear()
    digests = set()
    for _ in range(2):
        model.extra = ATTRIBUTES[name]()
        digests |= {model_digest(model), model_digest(model)}
    assert len(digests) == 1


def leading_back():
    model = Linear()

    def again(n):
        return again(n - 1) if n else model.bias

    model.asks, model.again, model.holds = (lambda: model.bias), again, [model, {"model": model}]
    model.holds.append(model.holds)
    return model


def test_what_leads_back_to_the_model_or_to_itself_has_an_end():
    model, other = leading_back(), leading_back()
    assert model_digest(model) == model_digest(other)
    other.holds[1]["more"] = 1
    assert model_digest(model) != model_digest(other)


def test_what_a_model_works_out_when_it_is_asked_does_not_change_it():
    model = Property()
    before = model_digest(model)
    model(images(2))
    assert "size" in vars(model)
    assert model_digest(model) == before


@pytest.mark.parametrize("values", [(1, 2), (torch.float32, torch.float64), ({"a"}, {"b"}), (Linear, Lazy), (1, 1.0)])
def test_other_values_are_other_models(values):
    model, digests = Linear(), set()
    for value in values:
        model.extra = value
        digests.add(model_digest(model))
    assert len(digests) == 2


def test_sets_do_not_depend_on_the_process():
    """Python orders the words of a set by a number that it draws at its start."""
    script = "from robustsnn.evaluation.fingerprint import exact; print(exact({'one', 'two', 'three', 'four', 'five'}))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(exact({"one", "two", "three", "four", "five"}))
