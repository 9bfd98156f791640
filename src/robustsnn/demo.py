"""The main job on embedded data: four ways to train, one ensemble of attacks, one report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustsnn.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainConfig, TrainingAttackConfig
from robustsnn.files import write_json
from robustsnn.progress import Progress, part, silent
from robustsnn.report.page import write_report
from robustsnn.runs import evaluate_run, make_results, read_results, train_run

EPS = "24/255"
CURVE = ("8/255", "16/255", "32/255")
SUITE = "paper-sr-10"
# Forward units of a training step (one forward, or one backward to input or weights, is 1) and, for the
# progress bar alone, what evaluation costs beside them.
COST = {"vanilla": 3, "SR": 7, "AT": 13, "SR*": 17}
EVALUATION = 5


def configs(seed: int = 0) -> dict[str, Config]:
    """The four runs of the demo by name; they differ in the objective alone.

    lambda, h and the radius of AT were chosen on the validation images of seed 0, not on test images.
    """

    def attack() -> TrainingAttackConfig:
        return TrainingAttackConfig(eps="16/255", alpha="8/255", steps=5)

    objectives = {
        "vanilla": ObjectiveConfig(),
        "SR": ObjectiveConfig(name="sparsity", lam=0.03),
        "AT": ObjectiveConfig(name="adversarial", attack=attack()),
        "SR*": ObjectiveConfig(name="sparsity", lam=0.03, attack=attack()),
    }
    return {
        name: Config(name, DataConfig(seed=0), ModelConfig(), objective, TrainConfig(epochs=15, seed=seed))
        for name, objective in objectives.items()
    }


def demo(out: Path, *, seed: int = 0, progress: Progress = silent) -> dict[str, Any]:
    """Train and attack the four networks in folders of `out`, and write `results.json` and `report.html`.

    What is there already, from the same call, is used: an interrupted demo continues.
    """
    runs = {name: (out / name.lower().replace("*", "-at"), config) for name, config in configs(seed).items()}
    total, before = sum(COST.values()) + EVALUATION * len(runs), 0.0
    for name, (run, config) in runs.items():
        train_run(config, run, resume=True, progress=part(progress, before, COST[name], total, f"train {name}"))
        before += COST[name]
    models: dict[str, Any] = {}
    for name, (run, _) in runs.items():
        tell = part(progress, before, EVALUATION, total, f"attack {name}")
        evaluate_run(run, SUITE, EPS, curve=CURVE, resume=True, progress=tell)
        models |= read_results(run)
        before += EVALUATION
    results = make_results(models)
    write_json(out / "results.json", results)
    write_report([run for run, _ in runs.values()], out / "report.html", title="robustsnn demo")
    return results
