"""Two processes train as one does: the same gradients, batch norms, files and errors.

Everything that needs two processes runs once, in `work`, and leaves files; the tests compare them.
"""

import contextlib
import copy
import io
import json
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import warnings
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Linear, spiking
from robustsnn.attacks import pgd
from robustsnn.attacks.start import AtImage, Uniform
from robustsnn.cli import main
from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet
from robustsnn.ground.distributed import ALONE, Processes, Share, joined
from robustsnn.ground.errors import UserError
from robustsnn.objectives import TRADES, Adversarial, CleanLogitPairing, Hire, Natural, SparsityRegularised
from robustsnn.runs import folder as runs
from robustsnn.training import RunFolder, TrainingStep, Validation, epoch
from robustsnn.training.distributed import GlobalBatchNorm, synchronise_norms
from robustsnn.training.fit import fit

ATTACK = replace(pgd(0.1, 2, alpha=0.05, keep="last"), start=AtImage())
OBJECTIVES = {
    "vanilla": Natural(),
    "SR": SparsityRegularised(0.01),
    "AT": Adversarial(ATTACK),
    "SR*": SparsityRegularised(0.01, Adversarial(ATTACK)),
    "AT, random start": Adversarial(replace(ATTACK, start=Uniform())),
    "TRADES, random start": TRADES(
        2.0, replace(ATTACK, start=Uniform()), Adversarial(replace(ATTACK, start=Uniform()))
    ),
    "HIRE": Hire(0.1, periods=3),
    "double-backward": SparsityRegularised(0.01, form="double-backward"),
}
SIZES = {"even": 8, "uneven": 7, "too few": 3}
CASES = [(name, "uneven") for name in OBJECTIVES] + [("vanilla", "even"), ("SR*", "even"), ("AT", "too few")]
CONFIG = """
model: {steps: 2, options: {width: 0.25}}
objective: {name: adversarial, attack: {eps: 2/255, steps: 1}}
train: {epochs: 2, batch_size: 400, validation_attack: {eps: 2/255, steps: 1}, validation_attacked: 60}
"""
EVALUATE = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "14", "--batch_size", "5"]


def data(n, seed=0):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=draws, dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % 4, ("a", "b", "c", "d"), "noise")


def step(model, objective, n, processes, rate=1.0):
    """What one step of plain gradient descent subtracts from the weights, and the statistics after it."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figures = epoch.one_epoch(
        model,
        data(n),
        objective,
        torch.optim.SGD(model.parameters(), rate),
        TrainingStep(Augment(crop=1, flip=True)),
        epoch=0,
        batch_size=16,
        seed=3,
        tell=lambda *_: None,
        processes=processes,
    )
    after = model.state_dict()
    weights = dict(model.named_parameters())
    found = {name: before[name] - after[name] if name in weights else after[name] for name in after}
    return found | {"figures": torch.tensor(list(figures.values()), dtype=torch.float64)}


def steps(processes):
    """Single steps in double precision, by name."""
    found, settled = {}, spiking().double()
    for name, size in CASES:
        model = copy.deepcopy(settled)
        synchronise_norms(model, processes)
        found[f"{name}, {size}, global"] = step(model, OBJECTIVES[name], SIZES[size], processes)
    # Two batches: the second one's augmentation is drawn after the objective's numbers of the first.
    found["draws, two steps"] = step(Linear(4, (1, 8, 8)), Adversarial(replace(ATTACK, start=Uniform())), 23, processes)
    found["pairing"] = step(Linear(4, (1, 8, 8)), CleanLogitPairing(0.0, 0.2), 23, processes)
    for size, n in SIZES.items():
        found[f"vanilla, {size}, local"] = step(copy.deepcopy(settled), Natural(), n, processes)
    found["linear"] = step(Linear(4, (1, 8, 8)), Natural(), 7, processes)
    return found


def trained(processes, run=None, stop=10**9, resume=False):
    """Weights of a small training with random numbers of every kind, local batch norms and an uneven last batch."""
    model = spiking()

    def progress(done, total, text):
        if done == stop:
            raise InterruptedError

    objective = Adversarial(replace(ATTACK, start=Uniform()))
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    with contextlib.suppress(InterruptedError):
        fit(
            model,
            data(21),
            objective,
            optimiser,
            epochs=2,
            batch_size=8,
            step=TrainingStep(Augment(crop=1)),
            validation=Validation(data(20, 1), ATTACK),
            run=None if run is None else RunFolder(run, resume=resume),
            progress=progress,
            processes=processes,
        )
    return model.state_dict()


def command(arguments, folder, name, rank):
    """Run a command; its exit code, and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    (folder / f"{name}-{rank}.json").write_text(json.dumps([code, out.getvalue(), err.getvalue()]))


def work(rank, folder, ports):
    """What each of the two processes does."""
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    ports = iter(ports)

    def environment():
        os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(next(ports)))

    environment()
    with joined(torch.device("cpu")) as both:
        found = {"steps": steps(both)}
        with mock.patch.object(epoch, "sum_gradients"):
            found["left out"] = step(Linear(4, (1, 8, 8)), Natural(), 7, both)
        equal = lambda self, n: replace(Processes(self.rank, 2)._right_share(n), weight=0.5)  # noqa: E731
        with (
            mock.patch.object(Processes, "_right_share", Processes.share, create=True),
            mock.patch.object(Processes, "share", equal),
        ):
            found["equal weights"] = step(Linear(4, (1, 8, 8)), Natural(), 7, both)
        found["trained"] = [trained(both), trained(both)]
        run = folder / "interrupted"
        trained(both, run, stop=5)
        both.wait()
        found["trained"].append(trained(both, run, resume=True))
        with pytest.raises(UserError, match=r"differ in the colour: \[0, 1\]"):
            both.agree("the colour", rank)
    torch.save(found, folder / f"found-{rank}.pt")
    train = ["train", str(folder / "c.yaml"), "--out"]
    for name, arguments in {
        "train": [*train, str(folder / "run")],
        "evaluate": ["evaluate", str(folder / "run"), *EVALUATE],
        "unknown": ["train", str(folder / "missing.yaml"), "--out", str(folder / "unknown")],
    }.items():
        environment()
        command(arguments, folder, name, rank)
    environment()
    broken = mock.patch.object(runs, "build_model", side_effect=UserError("only here"))
    with broken if rank == 1 else contextlib.nullcontext():
        command([*train, str(folder / "one fails")], folder, "one fails", rank)


def free_ports(n):
    """Below those that outgoing connections get, one of which could take a port before its turn."""
    numbers, found = random.Random(os.getpid()), []
    while len(found) < n:
        port = numbers.randrange(20000, 32000)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two processes did their work."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "c.yaml").write_text(CONFIG)  # here: one process could read it while the other writes it
    ports = free_ports(5)
    start = multiprocessing.get_context("spawn").Process
    processes = [start(target=work, args=(rank, folder, ports)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0, 0]
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def alone():
    return steps(ALONE)


def agree(a, b, rtol):
    """Largest difference of each tensor below rtol of its largest value; losses are float32 in any case."""
    near = lambda name: rtol if name != "figures" else max(rtol, 1e-6)  # noqa: E731
    return all(bool((a[name] - b[name]).abs().max() <= near(name) * b[name].abs().max()) for name in b)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# One step


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), CASES)
def test_with_global_norms_a_step_of_two_processes_is_that_of_one(found, alone, name, size):
    key = f"{name}, {size}, global"
    assert equal(found[0]["steps"][key], found[1]["steps"][key])
    assert agree(found[0]["steps"][key], alone[key], 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["draws, two steps", "pairing"])
def test_random_numbers_are_those_that_one_process_draws_for_the_same_images(found, alone, name):
    assert agree(found[0]["steps"][name], alone[name], 1e-5)
    assert equal(found[0]["steps"][name], found[1]["steps"][name])


@pytest.mark.slow
def test_without_norms_the_gradient_of_an_uneven_batch_is_that_of_one_process(found, alone):
    assert agree(found[0]["steps"]["linear"], alone["linear"], 1e-5)
    assert equal(found[0]["steps"]["linear"], found[1]["steps"]["linear"])


@pytest.mark.slow
@pytest.mark.parametrize("size", ["even", "uneven"])
def test_local_norms_give_another_gradient_but_equal_networks(found, alone, size):
    key = f"vanilla, {size}, local"
    assert equal(found[0]["steps"][key], found[1]["steps"][key])
    assert not agree(found[0]["steps"][key], alone[key], 1e-3)
    # The first norm sees the same numbers in all cases, and its mean is linear in them.
    mean = "body.0.1.running_mean"
    assert torch.allclose(found[0]["steps"][key][mean], alone[key][mean], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_a_batch_too_small_to_share_is_seen_whole_so_local_norms_are_global_ones(found, alone):
    assert agree(found[0]["steps"]["vanilla, too few, local"], alone["vanilla, too few, local"], 1e-9)


@pytest.mark.slow
def test_the_comparison_notices_sums_left_out_and_wrong_weights(found, alone):
    out = [each["left out"] for each in found]
    assert not equal(*out)
    assert not agree(out[0], alone["linear"], 1e-3)
    assert not agree(found[0]["equal weights"], alone["linear"], 1e-3)


# Whole trainings


@pytest.mark.slow
def test_equal_trainings_end_in_the_same_bits_in_both_processes_and_when_resumed(found):
    first = found[0]["trained"][0]
    assert all(equal(first, each) for one in found for each in one["trained"])


@pytest.mark.slow
def test_they_differ_from_one_process_by_local_norms(found):
    assert not equal(found[0]["trained"][0], trained(ALONE))


# Commands


def printed(folder, name):
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2)]


def test_only_the_first_process_speaks_and_writes(folder):
    first, second = printed(folder, "train")
    assert first[0] == second[0] == 0
    assert "trained; next" in first[1]
    assert "loading" in first[2]
    assert second[1:] == ["", ""]
    history = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert history[0]["validation_attack"]["n"] == 60
    assert "processes: 2" in (folder / "run" / "config.yaml").read_text()


def test_shards_of_two_processes_are_the_evaluation_of_one(folder, tmp_path, capsys):
    first, second = printed(folder, "evaluate")
    assert first[0] == second[0] == 0
    assert "worst case of paper-trail" in first[1]
    assert second[1:] == ["", ""]
    shutil.copytree(folder / "run", tmp_path / "run", ignore=shutil.ignore_patterns("outcomes", "results.json"))
    assert main(["evaluate", str(tmp_path / "run"), *EVALUATE]) == 0
    capsys.readouterr()
    mine = sorted((tmp_path / "run" / "outcomes").rglob("*.npz"))
    assert len(mine) == 3
    for path in mine:
        theirs = folder / path.relative_to(tmp_path)
        with np.load(path) as a, np.load(theirs) as b:
            assert a.files == b.files
            assert all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a.files)
    results = [json.loads((where / "run" / "results.json").read_text())["models"] for where in (tmp_path, folder)]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("name", "says", "who"),
    [
        ("unknown", "missing.yaml does not exist", 0),
        ("one fails", "only here", 1),
    ],
)
def test_an_error_ends_all_with_one_line(folder, name, says, who):
    found = printed(folder, name)
    assert [code for code, _, _ in found] == [2, 2]
    lines = [[line for line in text.splitlines() if "error" in line.lower()] for _, _, text in found]
    assert len(lines[who]) == 1
    assert says in lines[who][0]
    assert lines[1 - who] == []
    assert not (folder / name / "state").exists()


@pytest.mark.slow
def test_torchrun_starts_it_and_all_find_the_same_loss_that_is_not_finite(tmp_path):
    start = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_ports(1)[0])]
    options = ["--out", str(tmp_path / "run"), "--model.steps", "1", "--train.lr", "1e30"]
    done = subprocess.run(
        [sys.executable, *start, "-m", "robustsnn", "train", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.count("robustsnn: error: the loss is not finite in epoch 1") == 1
    assert done.stderr.count("robustsnn: error") == done.stderr.count("loading") == 1
    assert "exitcode  : 2" in done.stderr
    assert not (tmp_path / "run").exists()


# Shares, and norms alone


@settings(deadline=None)
@given(n=st.integers(1, 300), count=st.integers(1, 40))
def test_shares_cut_a_batch_and_weigh_every_sample_the_same(n, count):
    shares = [Processes(rank, count).share(n) for rank in range(count)]
    values = np.random.default_rng(n).normal(size=n)
    assert sum(share.weight * values[share.rows].mean() for share in shares) == pytest.approx(values.mean())
    assert all(share.total == n for share in shares)
    if n >= 2 * count:
        assert np.concatenate([values[share.rows] for share in shares]).tolist() == values.tolist()
        assert min(share.rows.stop - share.rows.start for share in shares) >= 2
    else:
        assert all(share.rows == slice(0, n) for share in shares)


def test_one_process_has_everything():
    assert ALONE.share(5) == Share(slice(0, 5), 5, 1.0)
    assert ALONE.sum(torch.ones(2)).tolist() == [1, 1]


def test_synchronised_norms_keep_parameters_names_and_sharing():
    model = spiking()
    before, parameters = copy.deepcopy(model.state_dict()), list(model.parameters())
    norm = model.body[0][1]
    model.again = norm  # one norm under two names stays one
    synchronise_norms(model, Processes(0, 2))
    assert type(model.body[0][1]) is GlobalBatchNorm
    assert model.again is model.body[0][1]
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    del model.again
    assert equal(before, model.state_dict())
