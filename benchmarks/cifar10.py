"""Train and judge the networks of the README's CIFAR-10 table, each in a process of its own.

    python benchmarks/cifar10.py --root DIR --out DIR --jobs 2

DIR is a folder with CIFAR-10's official files. A network that is done is left alone, one that was interrupted goes
on after its last epoch, so the same command again finishes the work. `--seconds` ends it in time: what is running is
told to stop, and what is there is summed up. Every run is a folder of `robustsnn train`, judged by `robustsnn
evaluate`; `summary.json` holds accuracies, robust counts and seconds, and `weights/NAME.safetensors` the weights in
float16.

    python benchmarks/cifar10.py --show benchmarks/results/cifar10-h200-reliable.json

prints kept figures with 95 % intervals, and every two networks that were judged on the same images paired by image.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from arguments import Parser, context, positive
from robustsnn.cli import main as command
from robustsnn.data.batches import batches
from robustsnn.ground.files import write_json
from robustsnn.ground.tensors import write_tensors
from robustsnn.names.config import (
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    TrainingAttackConfig,
)
from robustsnn.runs import load_run
from robustsnn.statistics.paired import mcnemar
from robustsnn.training.checkpoint import load_weights

SMALL, LARGE = TrainingAttackConfig("2/255", 0.01, 5), TrainingAttackConfig("8/255", "2/255", 5)
"""PGD in training: of the SR paper, and at the radius that is judged."""
RECIPES: dict[str, ObjectiveConfig] = {
    "vanilla": ObjectiveConfig(),
    "SR-paper": ObjectiveConfig("sparsity", lam=0.05),
    "SR-released": ObjectiveConfig("sparsity", lam=0.002, options={"form": "reference-code"}),
    "AT-2": ObjectiveConfig("adversarial", attack=SMALL),
    "AT-8": ObjectiveConfig("adversarial", attack=LARGE),
    "RAT-2": ObjectiveConfig("adversarial", attack=TrainingAttackConfig("2/255", "1/255", 2), retraction=5e-4),
    "SR*-2": ObjectiveConfig("sparsity", lam=0.02, attack=SMALL),
    "SR*-8": ObjectiveConfig("sparsity", lam=0.02, attack=LARGE),
    "one-step-SR*-8": ObjectiveConfig("one_step", lam=0.05, options={"eps": "8/255"}),
    "one-step-AT-8": ObjectiveConfig("one_step", options={"eps": "8/255"}),
}


def config(options: Namespace, name: str) -> Config:
    """What a network is trained with: small VGG-11, direct coding, T = 4, the released initialisation."""
    objective = replace(RECIPES[name], lam=options.lam.get(name, RECIPES[name].lam))
    size: dict[str, Any] = {"width": options.width, "hidden": options.hidden}
    return Config(
        name,
        DataConfig("cifar10", str(options.root), validation=options.validation),
        ModelConfig(options.model, options.steps, size, init="released"),
        objective,
        TrainConfig(
            options.epochs,
            options.batch,
            lr=options.lr,
            crop=4,
            flip=True,
            weight_decay=0.0 if objective.retraction else 5e-4,  # as its source has it
            precision="bfloat16",
            seed=options.seed,
            graphs=torch.cuda.is_available(),
        ),
    )


class Work:
    """Commands of several networks side by side, and a time at which all of them are told to stop."""

    def __init__(self, options: Namespace) -> None:
        self.options, self.ends = options, time.monotonic() + options.seconds

    def call(self, log: Path, *arguments: str) -> bool:
        """Whether a command ended well before the end of the time."""
        left = self.ends - time.monotonic()
        if left <= 1:
            return False
        with log.open("ab") as out:
            process = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=subprocess.STDOUT)
            try:
                return process.wait(left) == 0
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                return False

    def network(self, name: str) -> None:
        """Train it, then judge it at each radius."""
        options, run = self.options, folder(self.options, name)
        run.parent.mkdir(parents=True, exist_ok=True)
        written = run.with_suffix(".yaml")
        written.write_text(yaml.safe_dump(config(options, name).to_dict()))
        log, started = run.with_suffix(".log"), time.monotonic()
        done = (run / "weights.safetensors").exists() or self.call(
            log, "-m", "robustsnn", "train", str(written), "--out", str(run), "--resume"
        )
        print(f"{name}: training {'done' if done else 'stopped'} after {time.monotonic() - started:.0f} s", flush=True)
        for suite, eps in judgements(options) if done else ():
            started = time.monotonic()
            asked = ["--judge", str(copied(run, suite, eps)), "--eps", eps, "--n", str(options.n), "--suites", suite]
            ended = self.call(log, __file__, *asked)
            took = time.monotonic() - started
            print(f"{name}: {suite} at {eps} {'done' if ended else 'stopped'} after {took:.0f} s", flush=True)


def judgements(options: Namespace) -> list[tuple[str, str]]:
    """(suite, eps), cheapest suite first."""
    return [(suite, eps) for suite in options.suites for eps in options.eps]


def folder(options: Namespace, name: str) -> Path:
    """Of a network's run."""
    return options.out / f"{name.replace('*', 'star')}-{options.seed}"


def copied(run: Path, suite: str, eps: str) -> Path:
    """A second folder of the run, so that each suite and radius has its own results."""
    judged = run.with_name(f"{run.name}-{suite}-{eps.replace('/', '-')}")
    if not judged.exists():
        shutil.copytree(run, judged, ignore=shutil.ignore_patterns("state"))
    return judged


def judge(options: Namespace) -> None:
    """`robustsnn evaluate` of one run."""
    asked = {"--suite": options.suites[0], "--eps": options.eps[0], "--limit": str(options.n), "--batch_size": "256"}
    raise SystemExit(command(["evaluate", str(options.judge), "--resume", *chain.from_iterable(asked.items())]))


def summary(options: Namespace, name: str) -> dict[str, Any]:
    """What there is of a network: epochs, clean accuracy on all test images, and what each radius leaves."""
    run = folder(options, name)
    metrics = run / "metrics.jsonl"
    epochs = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    found: dict[str, Any] = {
        "epochs": len(epochs),
        "seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),
        "last": epochs[-1] if epochs else None,
    }
    if not (run / "weights.safetensors").exists():
        return found
    _, model, data = load_run(run)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(where).eval()
    (options.out / "weights").mkdir(exist_ok=True)
    half = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    rounded = options.out / "weights" / f"{run.name}.safetensors"
    write_tensors(rounded, half, {})
    for kind in ("float32", "float16"):
        if kind == "float16":
            load_weights(rounded, model)
        with torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches(data.test, 250, device=where))
        found[f"test_{kind}"] = {"right": right, "n": len(data.test)}
    for suite, eps in judgements(options):
        results = copied(run, suite, eps) / "results.json"
        if results.exists():
            found[f"{suite} {eps}"] = json.loads(results.read_text())["models"]
    return found


def bits(worst: dict[str, Any]) -> np.ndarray:
    """Which of the images survived."""
    right = worst["right"]
    return np.unpackbits(np.frombuffer(bytes.fromhex(right["bits"]), np.uint8))[: right["n"]].astype(bool)


def show(document: dict[str, Any]) -> None:
    """Print what each suite left, and for each two networks the images that only one of them got right."""
    for label in dict.fromkeys(label for found in document["networks"].values() for label in found if " " in label):
        judged = {name: found[label] for name, found in document["networks"].items() if label in found}
        print(label)
        for name, found in judged.items():
            worst = found["worst_case"]
            low, high = (100 * end for end in worst["interval"])
            columns = [f"{column} {100 * rate['accuracy']:.1f}" for column, rate in found.get("columns", {}).items()]
            most = "at most " if worst.get("at_most") else ""
            told = f"{most}{100 * worst['accuracy']:.1f} [{low:.1f}, {high:.1f}], n = {worst['n']}"
            print(f"  {name:16}", told, *columns, "; ".join(found["flags"]), sep="  ")
        for (one, a), (other, b) in combinations(judged.items(), 2):
            if a["worst_case"]["right"]["images"] == b["worst_case"]["right"]["images"]:
                first, second = bits(a["worst_case"]), bits(b["worst_case"])
                alone = int((first & ~second).sum()), int((second & ~first).sum())
                print(f"  {one} : {other} = {alone[0]} : {alone[1]} alone, p = {mcnemar(*alone):.2g}")


def main() -> None:
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, help="folder of CIFAR-10's files")
    parser.add_argument("--out", type=Path, help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES), help="default: all")
    parser.add_argument("--lam", nargs="*", default=[], metavar="NAME=LAMBDA", help="other weights of the regularisers")
    parser.add_argument("--model", default="vgg11", help="default %(default)s")
    parser.add_argument("--width", type=float, default=0.375, help="default %(default)s")
    parser.add_argument("--hidden", type=int, nargs="*", default=[192], help="default %(default)s")
    parser.add_argument("--steps", type=positive, default=4, help="T; default %(default)s")
    parser.add_argument("--epochs", type=positive, default=15, help="default %(default)s")
    parser.add_argument("--batch", type=positive, default=128, help="default %(default)s")
    parser.add_argument("--lr", type=float, default=0.05, help="default %(default)s")
    parser.add_argument("--validation", type=positive, default=1000, help="images kept out; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--jobs", type=positive, default=2, help="networks at a time; default %(default)s")
    parser.add_argument("--suites", nargs="*", default=["quick", "reliable"], help="default %(default)s")
    parser.add_argument("--eps", nargs="*", default=["8/255", "2/255"], help="default %(default)s")
    parser.add_argument("--n", type=positive, default=200, help="test images attacked; default %(default)s")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many")
    parser.add_argument("--judge", type=Path, help="judge this run, and nothing else")
    parser.add_argument("--show", type=Path, help="print these kept figures, and do nothing else")
    options = parser.parse_args()
    if options.show:
        return show(json.loads(options.show.read_text()))
    if options.judge:
        judge(options)
    if options.root is None or options.out is None:
        parser.error("give --root and --out")
    options.root, options.out = options.root.resolve(), options.out.resolve()
    options.lam = {name: float(value) for name, _, value in (item.partition("=") for item in options.lam)}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work = Work(options)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work.network, options.only))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    document = context(device) | {"networks": {}}
    for name in options.only:
        document["networks"][name] = found = summary(options, name)
        shown = ("epochs", "seconds", "test_float32", "test_float16")
        print(name, {key: found[key] for key in shown if key in found}, flush=True)
        write_json(options.out / "summary.json", document)


if __name__ == "__main__":
    main()
