"""The main job on embedded data: four ways to train, one ensemble of attacks, one report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustsnn.evaluation.effort import Effort
from robustsnn.ground.claim import claimed
from robustsnn.ground.ours import MANY, check_files
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.names.config import Config, DataConfig, ModelConfig, ObjectiveConfig, TrainConfig, TrainingAttackConfig
from robustsnn.records.result import Results
from robustsnn.reporting.page import write_report, written
from robustsnn.runs.folder import evaluate_run, train_run
from robustsnn.runs.jobs import Job, run_jobs, values

EPS = "40/255"
CURVE = ("24/255", "64/255")
SUITE = "quick"  # the deepest that a few minutes on two cores allow; what it leaves is said as "at most"
EPOCHS = 12
BATCH = 360  # all test images at once: the attacks' later steps have few left to work on
# Forward units of a training step (one forward, or one backward to input or weights, is 1), and about what
# evaluation costs in the same unit; for the order of work and the progress display alone.
TRAINING = {"vanilla": 3, "SR": 7, "AT": 13, "SR*": 17}
EVALUATION = 55


def configs(seed: int = 0, epochs: int = EPOCHS) -> dict[str, Config]:
    """The four runs of the demo by name; they differ in the objective alone.

    lambda was chosen on validation images by `benchmarks/digits.py --tune`. h, the radius of AT and EPS were
    picked in first trials, on validation images too; h is larger than the paper's 0.01 because the grey
    levels of these images are 0.06 apart.
    """

    def attack() -> TrainingAttackConfig:
        return TrainingAttackConfig(eps="16/255", alpha="8/255", steps=5)

    objectives = {
        "vanilla": ObjectiveConfig(),
        "SR": ObjectiveConfig(name="sparsity", lam=0.3, options={"h": 0.1}),
        "AT": ObjectiveConfig(name="adversarial", attack=attack()),
        "SR*": ObjectiveConfig(name="sparsity", lam=0.1, options={"h": 0.1}, attack=attack()),
    }
    return {
        name: Config(name, DataConfig(), ModelConfig(), objective, TrainConfig(epochs=epochs, seed=seed))
        for name, objective in objectives.items()
    }


def demo(
    out: Path,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train and attack the four networks in folders of `out`, and write `results.json` and `report.html`.

    The networks are small, so each gets one thread of its own, side by side on as many cores as there are;
    results do not depend on their number. What is there already, from the same call, is used: an
    interrupted demo continues. `epochs` and `limit` (test images) are for a quicker look; with `overwrite`,
    `out` may hold files of others, and those of equal names are replaced. UserError if another process writes there.
    """
    runs = {name: out / name.lower().replace("*", "-at") for name in TRAINING}
    jobs = [
        Job(name, _run, (name, run, configs(seed, epochs)[name], limit), TRAINING[name] + EVALUATION)
        for name, run in runs.items()
    ]
    check_files([out / "results.json", *written(out / "report.html")], overwrite)
    models: dict[str, Any] = {}
    with claimed(out, overwrite=overwrite, marks=MANY):
        for entry in values(run_jobs(jobs, text="train and attack", progress=progress)).values():
            models |= entry
        results = Results.write(out / "results.json", models)
        write_report(list(runs.values()), out / "report.html", title="robustsnn demo", overwrite=overwrite)
    return results


def _run(name: str, run: Path, config: Config, limit: int | None, *, progress: Progress) -> dict[str, Any]:
    """Train and attack one network; returns its entry of the results by name."""
    cost = TRAINING[name]
    train_run(config, run, resume=True, progress=part(progress, 0, cost, cost + EVALUATION))
    attacking = part(progress, cost, EVALUATION, cost + EVALUATION)
    found = evaluate_run(run, SUITE, EPS, Effort(BATCH), curve=CURVE, limit=limit, progress=attacking)
    return found["models"]
