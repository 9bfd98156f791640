"""Averaged weights: the formula, statistics of their own, and what training ends with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustsnn.attacks import pgd
from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet, batches
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import generator
from robustsnn.models import vgg
from robustsnn.names.config import Config, DataConfig, TrainConfig
from robustsnn.neurons import IF
from robustsnn.objectives import MART, Adversarial, Natural, Scheduled, SparsityRegularised, WarmUp, WeightPerturbed
from robustsnn.runs.build import build_step
from robustsnn.training import RunFolder, TrainingStep, Validation
from robustsnn.training.average import Average
from robustsnn.training.checkpoint import load_weights
from robustsnn.training.fit import fit, one_cycle

PGD = pgd(0.05, 2, keep="last")


def data(n: int = 48, seed: int = 0) -> ImageSet:
    draws = torch.Generator().manual_seed(seed)
    return ImageSet(
        torch.randint(0, 256, (n, 1, 8, 8), generator=draws, dtype=torch.uint8),
        torch.arange(n) % 2,
        ("a", "b"),
        "noise",
    )


def network() -> nn.Module:
    torch.manual_seed(3)
    return vgg("vgg_small", image=(1, 8, 8), classes=2, neuron=IF(), steps=2, width=1 / 4)


def train(epochs: int = 3, *, average: float | None = 0.9, run=None, resume=False, on_epoch=None, select="last"):
    model = network()
    history = fit(
        model,
        data(),
        Natural(),
        torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        epochs=epochs,
        batch_size=16,
        step=TrainingStep(Augment(crop=1), average=average),
        validation=Validation(data(20, 1), select=select),
        run=None if run is None else RunFolder(run, resume=resume),
        on_epoch=on_epoch,
    )
    return model, history


def stop_after_two(entry) -> None:
    if entry["epoch"] == 2:
        raise KeyboardInterrupt


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_is_the_recursion() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, 0.5)
    expected = model.weight.detach().clone()
    for step in range(1, 9):
        with torch.no_grad():
            model.weight.normal_()
        average(model, generator=torch.Generator())
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(average.weights["weight"], expected)


def test_weights_that_stay_are_their_own_average() -> None:
    model = network()
    average = Average(model, 0.99)
    for _ in range(5):
        average(model, generator=torch.Generator())
    assert all(torch.equal(average.weights[name], weight) for name, weight in model.named_parameters())


def test_statistics_are_the_mean_over_the_batches_of_those_of_the_averaged_network() -> None:
    model, images = network(), data()
    average = Average(model, 0.9)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    average(model, generator=torch.Generator())
    average.put(model, images, Natural(), TrainingStep(), epoch=4, batch_size=16, seed=7)
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    walk = batches(images, 16, generator=generator(7, "average", 4))
    outputs = [first((x - model.pixel_mean) / model.pixel_std) for x, _ in walk]
    torch.testing.assert_close(norm.running_mean, torch.stack([o.mean((0, 2, 3)) for o in outputs]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([o.var((0, 2, 3)) for o in outputs]).mean(0))
    assert norm.momentum == 0.1


@pytest.mark.parametrize(
    "objective",
    [
        Adversarial(PGD),
        MART(1.0, PGD),
        WeightPerturbed(Adversarial(PGD)),
        Scheduled(SparsityRegularised(0.1), WarmUp(2)),
    ],
    ids=lambda o: type(o).__name__,
)
def test_the_network_on_the_way_is_not_touched(objective) -> None:
    """The weights of every step are those without an average, whatever validation looks at in between."""
    kept: list[list[torch.Tensor]] = []
    for average in (None, 0.9):
        model = network()
        seen: list[torch.Tensor] = []

        def watch(model: nn.Module, *, generator: torch.Generator, seen=seen) -> None:
            seen.extend(value.detach().clone() for value in model.state_dict().values())

        step = TrainingStep(Augment(crop=1), constraints=[watch], average=average)
        sgd = torch.optim.SGD(model.parameters(), 0.1)
        fit(model, data(), objective, sgd, epochs=2, batch_size=16, step=step, validation=data(20, 1))
        kept.append(seen)
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))


def test_training_ends_with_the_average_of_its_steps() -> None:
    decay, trace = 0.6, []

    def watch(model: nn.Module, *, generator: torch.Generator) -> None:
        trace.append({name: weight.detach().clone() for name, weight in model.named_parameters()})

    model = network()
    expected = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    step = TrainingStep(constraints=[watch], average=decay)
    fit(model, data(), Natural(), torch.optim.SGD(model.parameters(), 0.1), epochs=3, batch_size=16, step=step)
    for number, weights in enumerate(trace, 1):
        now = min(decay, (1 + number) / (10 + number))
        expected = {name: now * old + (1 - now) * weights[name] for name, old in expected.items()}
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.detach(), expected[name])
        assert not torch.equal(weight.detach(), trace[-1][name])


@pytest.mark.parametrize("select", ["last", "validation"])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, select) -> None:
    whole, history = train(4, run=tmp_path / "whole", select=select)
    with pytest.raises(KeyboardInterrupt):
        train(4, run=tmp_path / "cut", on_epoch=stop_after_two, select=select)
    resumed, again = train(4, run=tmp_path / "cut", resume=True, select=select)
    assert same(whole, resumed)
    assert [e["validation"] for e in history] == [e["validation"] for e in again]
    kept = network()
    load_weights(tmp_path / "cut" / "weights.safetensors", kept)
    assert same(kept, whole)
    finished, _ = train(4, run=tmp_path / "cut", resume=True, select=select)  # nothing is left to do
    assert same(finished, whole)


def test_what_cannot_be_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"average=1\.0"):
        TrainingStep(average=1.0)
    train(1, average=None, run=tmp_path)
    with pytest.raises(UserError, match="no averaged weights"):
        train(2, run=tmp_path, resume=True)
    made = build_step(Config(data=DataConfig("digits"), train=TrainConfig(average=0.99)), network())
    assert made.average == 0.99


def test_one_cycle_rises_and_falls_along_lines() -> None:
    factors = [one_cycle(epoch, 20) for epoch in range(20)]
    assert max(factors) <= 1
    assert factors[:6] == pytest.approx([(epoch + 0.5) / 6 for epoch in range(6)])
    assert factors[6:] == pytest.approx([(20 - epoch - 0.5) / 14 for epoch in range(6, 20)])
    assert 0 < one_cycle(0, 1) <= 1
