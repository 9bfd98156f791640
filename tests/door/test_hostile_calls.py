"""Python calls with what does not fit: a UserError in one line, or a result; never another error."""

from __future__ import annotations

import inspect
import traceback
import warnings
from contextlib import suppress
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

import robustsnn
from helpers import Linear, images
from robustsnn.attacks import (
    apgd,
    fgsm,
    mi_fgsm,
    pgd,
    reliable,
    rfgsm,
    sa_pgd,
)
from robustsnn.attacks.noise import RandomSearch
from robustsnn.attacks.square import Square
from robustsnn.attacks.threat import Linf
from robustsnn.data.batches import ImageSet
from robustsnn.ground.errors import UserError
from robustsnn.models import vgg
from robustsnn.neurons import IF, LIF
from robustsnn.objectives import Natural
from robustsnn.training import RunFolder, TrainingStep, Validation

X, Y = images(4), torch.tensor([0, 1, 2, 0])


class Named(nn.Module):
    """A network whose output is what a function makes of the logits."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = Linear(), change

    def forward(self, x):
        return self.change(self.inner(x))


MODELS = {
    "none": None,
    "class": Linear,
    "function": lambda x: x.flatten(1)[:, :3],
    "list": [1],
    "number": 3,
    "half": Linear().half(),
    "double": Linear().double(),
    "one class": Named(lambda z: z[:, :1]),
    "no class": Named(lambda z: z[:, :0]),
    "two classes": Named(lambda z: z[:, :2]),
    "flat": Named(lambda z: z.sum()),
    "tuple": Named(lambda z: (z, z)),
    "dict": Named(lambda z: {"logits": z}),
    "nothing": Named(lambda z: None),
    "numpy": Named(lambda z: z.detach().numpy()),
    "time first": Named(lambda z: torch.stack([z, z])),
    "detached": Named(lambda z: z.detach()),
    "nan": Named(lambda z: z * torch.nan),
    "whole numbers": Named(lambda z: z.long()),
    "complex": Named(lambda z: z + 0j),
}
IMAGES = {
    "none": None,
    "list": X.tolist(),
    "numpy": X.numpy(),
    "numpy objects": np.array([None] * 4),
    "text": "x",
    "0-D": torch.tensor(0.5),
    "1-D": torch.rand(4),
    "empty": X[:0],
    "no pixels": X[:, :0],
    "double": X.double(),
    "half": X.half(),
    "bfloat16": X.bfloat16(),
    "bytes": (X * 255).byte(),
    "bool": X > 0.5,
    "complex": X + 0j,
    "sparse": X.to_sparse(),
    "meta": X.to("meta"),
    "nan": X * torch.nan,
    "infinite": X / 0,
    "255": X * 255,
    "negative": -X,
    "other shape": torch.rand(4, 1, 5, 5),
    "with a graph": (X * torch.ones((), requires_grad=True)),
}
LABELS = {
    "none": None,
    "list": Y.tolist(),
    "numpy": Y.numpy(),
    "floats": Y.float(),
    "int32": Y.int(),
    "bool": Y > 0,
    "0-D": torch.tensor(1),
    "2-D": Y[:, None],
    "one-hot": torch.eye(3)[Y],
    "short": Y[:2],
    "long": torch.cat([Y, Y]),
    "negative": Y - 1,
    "beyond": Y + 9,
    "huge": Y + (1 << 62),
    "meta": Y.to("meta"),
    "sparse": Y.to_sparse(),
    "complex": Y + 0j,
}
NUMBERS = (None, "x", 1.5, -1, 0, True, float("nan"), float("inf"), 1 << 70, 10**400, [], torch.tensor(2), np.int64(2))


@pytest.fixture
def tame():
    """Calls; at the end of the test each has given a result or a UserError in one line."""
    wild: dict[str, int] = {}

    def call(made):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made()
            except UserError as error:
                if "\n" in str(error) or not 10 < len(str(error)) < 600:
                    wild[f"UserError: {error}"] = 1
            except Exception as error:
                told = (
                    f"{type(error).__name__}: {str(error)[:150]!r} of {traceback.extract_tb(error.__traceback__)[-1]}"
                )
                wild[told] = wild.get(told, 0) + 1

    yield call
    assert not wild, "\n".join(f"{count} x {told}" for told, count in wild.items())


ATTACKS = {
    "fgsm": fgsm(0.1),
    "pgd": pgd(0.1, 2),
    "pgd-l2": pgd(0.1, 2, norm="L2"),
    "apgd": apgd(0.1, 3),
    "mi-fgsm": mi_fgsm(0.1, 2),
    "sa-pgd": sa_pgd(0.1, 2),
    "square": Square(Linf(0.1), 3),
    "noise": RandomSearch(Linf(0.1), queries=2),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attacks_called_with_what_does_not_fit(attack, tame):
    for model in MODELS.values():
        tame(lambda model=model: attack.run(model, X, Y))
    for x in IMAGES.values():
        tame(lambda x=x: attack.run(Linear(), x, Y))
    for y in LABELS.values():
        tame(lambda y=y: attack.run(Linear(), X, y))
    for generator in ("x", 1, 1.5, np.random.default_rng(0), []):
        tame(lambda generator=generator: attack.run(Linear(), X, Y, generator=generator))
    assert attack.run(Linear(), X, Y).images.shape == X.shape


@pytest.mark.parametrize("name", ["steps", "restarts", "eps", "norm", "alpha", "loss", "rule", "keep"])
def test_attacks_made_of_what_does_not_fit(name, tame):
    for value in NUMBERS:
        for make in (pgd, apgd, mi_fgsm, sa_pgd, fgsm, rfgsm):
            given = {"eps": 0.1, **({} if make in (fgsm, rfgsm) else {"steps": 2}), name: value}
            with suppress(TypeError):  # Python's own, for an argument that it has not
                inspect.signature(make).bind(**given)
                tame(lambda make=make, given=given: make(**given)(Linear(), X, Y))


def test_evaluate_of_what_does_not_fit(tame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def quick(**given):
        return robustsnn.evaluate(**{"model": Linear(), "data": (X, Y), "suite": "paper-trail", "eps": 0.1, **given})

    for model in MODELS.values():
        tame(lambda model=model: quick(model=model))
    for x in IMAGES.values():
        tame(lambda x=x: quick(data=(x, Y)))
    for y in LABELS.values():
        tame(lambda y=y: quick(data=(X, y)))
    for data in (None, X, [X, Y], (X,), (X, Y, Y), {"x": X}, "digits", 3, [(X, Y)], X.numpy()):
        tame(lambda data=data: quick(data=data))
    for name in ("eps", "batch_size", "seed", "precision", "norm", "suite", "sources", "curve", "out", "config"):
        for value in NUMBERS[1:] if name in ("out", "config") else NUMBERS:
            tame(lambda name=name, value=value: quick(**{name: value}))
    for suite in (lambda eps: None, lambda eps: 3, lambda: None, lambda eps: [pgd(eps, 2)], reliable(0.1), pgd(0.1, 1)):
        tame(lambda suite=suite: quick(suite=suite))
    assert quick().record["worst_case"]["n"] == 4


def image_set(**change):
    given = {"images": (X * 255).byte(), "labels": Y, "classes": ("a", "b", "c"), "name": "set", **change}
    return ImageSet(**given)


def test_image_sets_of_what_does_not_fit(tame):
    for x in IMAGES.values():
        tame(lambda x=x: image_set(images=x))
    for y in LABELS.values():
        tame(lambda y=y: image_set(labels=y))
    for classes in (None, (), "abc", 3, ("a",), [1, 2, 3], {"a": 1}):
        tame(lambda classes=classes: image_set(classes=classes))
    for levels in NUMBERS:
        tame(lambda levels=levels: image_set(levels=levels))
    for which in (*NUMBERS, [0, 9], [True], torch.tensor([1.5]), "x", {}):
        tame(lambda which=which: image_set().take(which))


def test_fit_of_what_does_not_fit(tmp_path, monkeypatch, tame):
    monkeypatch.chdir(tmp_path)

    def fitted(**given):
        model = given.pop("model", Linear())
        known = model.parameters() if isinstance(model, nn.Module) else [nn.Parameter(torch.ones(1))]
        given = {"train": image_set(), "objective": Natural(), "epochs": 1, "batch_size": 2, **given}
        return robustsnn.fit(model, optimiser=given.pop("optimiser", torch.optim.SGD(known, 0.1)), **given)

    for model in MODELS.values():
        tame(lambda model=model: fitted(model=model))
    for train in (None, X, (X, Y), [X, Y], (X.numpy(), Y.numpy()), {"x": X}, 3, torch.utils.data.TensorDataset(X, Y)):
        tame(lambda train=train: fitted(train=train))
        tame(lambda train=train: fitted(validation=train))
    for name in ("objective", "optimiser", "epochs", "batch_size", "schedule", "seed", "step", "validation", "run"):
        for value in NUMBERS:
            tame(lambda name=name, value=value: fitted(**{name: value}))
    validation, folder = Validation(image_set()), RunFolder("folder")
    for name, made in (("step", TrainingStep()), ("validation", validation), ("run", folder)):
        for field in fields(made):
            for value in NUMBERS:
                tame(lambda n=name, one=made, f=field.name, v=value: fitted(**{n: replace(one, **{f: v})}))
    fitted(run="folder")
    assert (tmp_path / "folder" / "weights.safetensors").exists()


def test_train_and_analyze_of_what_does_not_fit(tmp_path, monkeypatch, tame):
    monkeypatch.chdir(tmp_path)
    for config in (
        None,
        3,
        [],
        "nowhere.yaml",
        {"a": 1},
        {"train": None},
        {1: 2},
        {"train": {"epochs": "x"}},
        {"x": X},
    ):
        tame(lambda config=config: robustsnn.train(config, "run"))
    for out in (None, 3, [], X):
        tame(lambda out=out: robustsnn.train({"train": {"epochs": 1}}, out))
    for model in MODELS.values():
        tame(lambda model=model: robustsnn.analyze(model, image_set(), ["energy"], limit=2))
    model = vgg("vgg_small", image=(1, 4, 4), classes=3, neuron=IF(), steps=1, width=0.1)
    for name in (
        "data",
        "parts",
        "loss",
        "attack",
        "eps",
        "rule",
        "radii",
        "mac",
        "sigma",
        "draws",
        "limit",
        "work",
        "batch_size",
        "seed",
    ):
        for value in NUMBERS[:6]:
            given = {"data": image_set(), "parts": ["energy"], "limit": 2, name: value}
            tame(lambda given=given: robustsnn.analyze(model, **given))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["neuron", "steps", "classes", "image", "width", "rule", "encoder", "mean", "std", "plan"]
)
def test_networks_of_what_does_not_fit(name, tame):
    for value in (*NUMBERS, (1, 8), (0, 8, 8), (1, 8, 8, 8, 8), ("a", 8, 8), IF, "lif", (0.0,), (float("nan"),), {}):
        given = {"plan": "vgg_small", "image": (1, 8, 8), "classes": 3, "neuron": IF(), "steps": 2, "width": 0.1}
        tame(lambda value=value, given=given: vgg(**{**given, name: value})(torch.rand(2, 1, 8, 8)))


@pytest.mark.parametrize("name", ["tau", "theta", "decay_input", "reset", "detach_reset"])
def test_neurons_of_what_does_not_fit(name, tame):
    for value in (*NUMBERS, {}, X):
        tame(lambda value=value: LIF(**{name: value}))
