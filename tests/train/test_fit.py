"""Training: determinism, resuming, selection, failure."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from helpers import spiking
from robustsnn.attacks import pgd
from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet
from robustsnn.ground import files
from robustsnn.ground.errors import UserError
from robustsnn.ground.tensors import write_tensors
from robustsnn.objectives import Adversarial, Natural, SparsityRegularised
from robustsnn.objectives.constraints import OrthogonalRetraction
from robustsnn.objectives.schedule import ByValidation, Scheduled
from robustsnn.training import RunFolder, TrainingStep, Validation
from robustsnn.training.arguments import learned
from robustsnn.training.checkpoint import load_state, load_weights, save_state, save_weights
from robustsnn.training.fit import accuracy, constant, cosine, fit


def data(n=48, seed=0):
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    images = torch.randint(0, 90, (n, 1, 8, 8), generator=draws, dtype=torch.uint8)
    for k in range(4):  # a bright quarter of the image tells the class
        rows, columns = 4 * (k // 2), 4 * (k % 2)
        images[labels == k, :, rows : rows + 4, columns : columns + 4] += 150
    return ImageSet(images, labels, ("a", "b", "c", "d"), "quarters")


def optimiser(model, kind="sgd"):
    if kind == "adam":
        return torch.optim.Adam(model.parameters(), 1e-3, betas=(0.9, 0.999))
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def train(epochs=4, *, objective=None, kind="sgd", run=None, resume=False, constraints=(), judged=None, **options):
    """`judged`: what a `Validation` is given beside its images."""
    model = spiking(7)
    history = fit(
        model,
        data(),
        objective or Natural(),
        optimiser(model, kind),
        epochs=epochs,
        batch_size=16,
        step=TrainingStep(Augment(crop=1), constraints=constraints),
        validation=Validation(data(20, 1), **(judged or {})),
        run=None if run is None else RunFolder(run, resume=resume),
        **options,
    )
    return model, history


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_learns_and_reports_each_epoch(tmp_path):
    calls = []
    model, history = train(6, run=tmp_path, progress=lambda *a: calls.append(a))
    assert history[-1]["validation"] == {"accuracy": 1.0, "n": 20}
    assert accuracy(model, data(20, 1)) == 1.0
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == history
    assert [done for done, _, _ in calls] == list(range(1, 19))
    assert {total for _, total, _ in calls} == {18}
    assert [e["learning_rate"] for e in history] == pytest.approx([0.1 * cosine(e, 6) for e in range(6)])


def test_a_callback_sees_each_epoch_once_also_after_a_resume(tmp_path):
    seen = []
    with pytest.raises(ZeroDivisionError):
        train(3, run=tmp_path, on_epoch=lambda entry: seen.append(entry) or 1 / (2 - entry["epoch"]))
    _, history = train(3, run=tmp_path, resume=True, on_epoch=seen.append)
    assert seen == history
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == seen


def test_schedules():
    assert [cosine(e, 4) for e in range(4)] == pytest.approx([(1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)])
    assert constant(3, 4) == 1


class Replay(Natural):
    """Two updates per batch, the second on noisy images."""

    def updates(self, model, x, y, *, generator):
        for sigma in (0.0, 0.1):
            logits = model(x + sigma * torch.randn(x.shape, generator=generator))
            yield self.terms(logits, y), logits


SR_AT = SparsityRegularised(0.01, Adversarial(pgd(0.05, 2, keep="last")))
RESUMED = {
    "natural": {},
    "adam": {"kind": "adam", "schedule": constant},
    "sr-at-adam": {"objective": SR_AT, "kind": "adam"},
    "random-rows": {"objective": SR_AT, "constraints": (OrthogonalRetraction(0.02, rows=4, share=0.3),)},
    "by-validation": {
        "objective": Scheduled(SparsityRegularised(0.01), ByValidation(rate=3)),
        "judged": {"attack": pgd(0.1, 2), "attacked": 12, "select": "validation-robust"},
    },
    "updates": {"objective": Replay()},
}


@pytest.mark.parametrize("options", RESUMED.values(), ids=RESUMED)
def test_resumed_training_is_bit_identical(tmp_path, options):
    whole, history = train(**options)
    updates = 6 if "updates" in dir(options.get("objective")) else 3
    for stop in (1, 3):
        calls = iter(range(1, 100))

        class Stop(Exception):
            pass

        def interrupt(done, total, text, stop=stop, calls=calls):
            if next(calls) == updates * stop + 2:  # in the middle of an epoch
                raise Stop

        run = tmp_path / str(stop)
        with pytest.raises(Stop):
            train(run=run, progress=interrupt, **options)
        resumed, again = train(run=run, resume=True, **options)
        assert same(resumed, whole)
        strip = lambda h: [{k: v for k, v in e.items() if k != "seconds"} for e in h]  # noqa: E731
        assert strip(again) == strip(history)
        finished = spiking(7)
        load_weights(run / "weights.safetensors", finished)
        assert same(finished, whole)
    if "constraints" in options:  # they did something, and by chance
        assert not same(train(**{**options, "constraints": ()})[0], whole)
        assert not same(train(**{**options, "constraints": (OrthogonalRetraction(0.02),)})[0], whole)


def test_seeds_matter_and_repeat():
    assert same(train(2)[0], train(2)[0])
    assert not same(train(2)[0], train(2, seed=1)[0])


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
sys.path.insert(0, str(Path({tests!r}) / "train"))
import test_fit
slow = lambda done, total, text: (print(done, flush=True), time.sleep(0.02))
test_fit.train(40, run=Path(sys.argv[1]), resume=True, progress=slow)
"""


def test_killed_at_any_moment_and_resumed_is_bit_identical(tmp_path):
    whole, _ = train(40)
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-c", SCRIPT.format(tests=tests), str(tmp_path)]
    for batches in (20, 7):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(batches):
            assert process.stdout.readline()
        time.sleep(0.005 * batches)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "state" / "last.safetensors").exists()
    resumed, history = train(40, run=tmp_path, resume=True)
    assert len(history) == 40
    assert same(resumed, whole)


def test_selection_takes_the_best_validation_epoch_also_when_resumed(tmp_path):
    class Spoiled(Natural):
        """From epoch 4 on it unlearns, so that the best epoch is not the last."""

        def __init__(self):
            object.__setattr__(self, "calls", 0)

        def terms(self, logits, y):
            object.__setattr__(self, "calls", self.calls + 1)
            terms = super().terms(logits, y)
            return terms if self.calls <= 9 else {k: -20 * v for k, v in terms.items()}

    model, history = train(5, objective=Spoiled(), judged={"select": "validation"}, run=tmp_path, schedule=constant)
    scores = [e["validation"]["accuracy"] for e in history]
    assert scores[-1] < max(scores)
    assert accuracy(model, data(20, 1)) == max(scores)
    again = spiking(7)
    load_weights(tmp_path / "weights.safetensors", again)
    assert same(model, again)
    last, _ = train(5, objective=Spoiled(), schedule=constant)
    assert not same(last, model)
    # All epochs are done: resuming finds the selected weights again.
    resumed, _ = train(5, judged={"select": "validation"}, run=tmp_path, resume=True)
    assert same(resumed, model)


def test_a_diverged_loss_stops_with_advice_and_keeps_the_last_epoch(tmp_path):
    class Diverges(Natural):
        def __init__(self):
            object.__setattr__(self, "calls", 0)

        def terms(self, logits, y):
            object.__setattr__(self, "calls", self.calls + 1)
            return {
                "cross_entropy": super().terms(logits, y)["cross_entropy"] * (float("nan") if self.calls > 7 else 1)
            }

    with pytest.raises(UserError, match=r"epoch 3, batch 2 .*cross_entropy.*lower train.lr"):
        train(objective=Diverges(), run=tmp_path)
    model = spiking(7)
    state = load_state(tmp_path / "state" / "last.safetensors", model, optimiser(model))
    assert len(state["history"]) == 2
    assert same(model, train(2, schedule=lambda e, n: cosine(e, 4))[0])


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    train(2, run=tmp_path, schedule=constant)
    before = {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        train(3, run=tmp_path, schedule=constant, resume=True)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert same(train(3, run=tmp_path, schedule=constant, resume=True)[0], train(3, schedule=constant)[0])


def test_weights_are_checked(tmp_path):
    model, path = spiking(), tmp_path / "w.safetensors"
    save_weights(path, model)
    other = spiking(1)
    assert not same(other, model)
    load_weights(path, other)
    assert same(other, model)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a readable safetensors"):
        load_weights(path, other)
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    with pytest.raises(UserError, match="not a readable safetensors"):
        load_weights(path, other)
    assert not (tmp_path / "owned").exists()
    with pytest.raises(UserError, match="does not exist"):
        load_weights(tmp_path / "none", other)
    save_weights(path, spiking(classes=5))
    with pytest.raises(UserError, match="another shape"):
        load_weights(path, other)
    save_weights(path, torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="lacks"):
        load_weights(path, other)


def test_state_needs_the_same_optimiser(tmp_path):
    model = spiking()
    save_state(tmp_path / "s", model, optimiser(model), history=[])
    with pytest.raises(UserError, match="does not fit"):
        load_state(tmp_path / "s", spiking(classes=5), optimiser(model))


def test_the_optimiser_keeps_its_learning_rate_and_a_foreign_state_is_refused(tmp_path):
    model = spiking(7)
    sgd = optimiser(model)
    options = {"epochs": 2, "batch_size": 16}
    fit(model, data(), Natural(), sgd, run=RunFolder(tmp_path, identity={"data": "one"}), **options)
    assert sgd.param_groups[0]["lr"] == 0.1
    with pytest.raises(UserError, match="another data"):
        fit(model, data(), Natural(), sgd, run=RunFolder(tmp_path, resume=True, identity={"data": "other"}), **options)


def test_weights_that_are_no_longer_finite_are_not_saved(tmp_path):
    model = spiking(7)
    options = {"epochs": 1, "batch_size": 48, "run": tmp_path, "schedule": lambda epoch, epochs: float("inf")}
    with pytest.raises(UserError, match="weights are not finite"):
        fit(model, data(), Natural(), optimiser(model), **options)
    assert not (tmp_path / "state").exists()


def test_bfloat16_autocast_trains():
    model = spiking(7)
    step = TrainingStep(Augment(crop=1), precision="bfloat16")
    fit(model, data(), Natural(), optimiser(model), epochs=6, batch_size=16, step=step)
    assert accuracy(model, data(20, 1)) > 0.9


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: train(epochs=0), "epochs=0"),
        (lambda: train(judged={"select": "best"}), "select='best'"),
        (
            lambda: fit(spiking(), data(), Natural(), optimiser(spiking()), epochs=1, batch_size=2, step=3),
            "TrainingStep",
        ),
        (lambda: TrainingStep(precision="float16"), "precision='float16'"),
        (lambda: TrainingStep(constraints=OrthogonalRetraction(0.1)), "constraints=Orth.*a list"),
        (lambda: RunFolder("x", config=3), "config of type int"),
        (lambda: RunFolder("x", config={"model": {"nam": "x"}}), "model.nam is no option"),
        (lambda: RunFolder("x", resume="yes"), "resume='yes'"),
    ],
)
def test_bad_arguments(made, text):
    with pytest.raises(UserError, match=text):
        made()


def test_values_of_one_thing_may_be_given_bare():
    """A path is the folder of its name, images are a validation by them alone."""
    found = []
    for validation in (data(20, 1), Validation(data(20, 1))):
        model = spiking(7)
        options = {"epochs": 1, "batch_size": 16, "validation": validation}
        (entry,) = fit(model, data(), Natural(), optimiser(model), **options)
        found.append((entry["validation"], model))
    assert found[0][0] == found[1][0]
    assert same(found[0][1], found[1][1])


def test_tensorboard_missing_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    model, run = spiking(7), RunFolder(tmp_path, tensorboard=True)
    with pytest.raises(UserError, match=r"robustsnn\[tensorboard\]"):
        fit(model, data(), Natural(), optimiser(model), epochs=1, batch_size=16, run=run)


def test_weights_rounded_to_float16_are_read_and_no_other_kind_is(tmp_path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = model.state_dict()
    rounded = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    write_tensors(tmp_path / "half.safetensors", rounded, {})
    load_weights(tmp_path / "half.safetensors", model)
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, rounded["0.weight"].float())
    for kind in (torch.bfloat16, torch.float64):
        write_tensors(tmp_path / "other.safetensors", {**state, "0.weight": state["0.weight"].to(kind)}, {})
        with pytest.raises(UserError, match=r"another shape or dtype for 0\.weight"):
            load_weights(tmp_path / "other.safetensors", model)


@pytest.mark.parametrize(("loss", "said"), [(2.3, False), (1e13, True)])
def test_a_training_that_ends_as_a_guess_with_an_absurd_loss_is_said_to_however_short(loss, said):
    history = [{"train": {"accuracy": 0.1, "loss": loss}}]
    assert bool(learned(history, 0.1, 1000, 5)) == said
    assert learned(history, 0.1, 1000, 30)
    assert not learned([{"train": {"accuracy": 0.5, "loss": loss}}], 0.1, 1000, 30)
