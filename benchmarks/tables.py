"""Networks times seeds in one table: training, attacks, means and intervals that several benchmarks share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from robustsnn.evaluation import Effort, evaluate, run_suite
from robustsnn.ground.files import write_json
from robustsnn.ground.progress import Display, Progress, part, silent
from robustsnn.ground.provenance import provenance
from robustsnn.ground.units import fraction
from robustsnn.names.config import Config
from robustsnn.runs import jobs as processes
from robustsnn.runs.build import suite
from robustsnn.runs.folder import load_run, train_run
from robustsnn.training.fit import accuracy


@dataclass(frozen=True)
class Look:
    """One suite at one radius, on the first `limit` images; with the masking checks if `checked`."""

    suite: str
    eps: str
    limit: int | None = None
    checked: bool = False

    @property
    def label(self) -> str:
        return f"{self.suite} {self.eps}"


@dataclass(frozen=True)
class Job:
    """A network to train and attack on the images of `part`; `extra(model, data)` adds figures to its row."""

    name: str
    config: Config
    looks: tuple[Look, ...]
    part: str = "test"
    extra: Callable[..., dict[str, Any]] | None = None

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.config.train.seed}".replace("*", "-at").replace(" ", "-").lower()


def measure(job: Job, runs: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Train or continue, attack, and return the figures."""
    run = runs / job.folder
    seed = job.config.train.seed
    stages = 1 + len(job.looks)
    train_run(job.config, run, resume=True, progress=part(progress, 0, 1, stages))
    _, model, data = load_run(run)
    images = getattr(data, job.part)
    seconds = [json.loads(line)["seconds"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    row: dict[str, Any] = {
        "name": job.name,
        "seed": seed,
        "objective": asdict(job.config.objective),
        "n": len(images),
        "clean": accuracy(model, images),
        "seconds_per_epoch": float(np.median(seconds)),
        "worst_case": {},
        "attacked": {},
        "flags": [],
    }
    for number, look in enumerate(job.looks, start=1):
        tell = part(progress, number, 1, stages)
        some = images if look.limit is None else images.take(look.limit)
        out = run / "outcomes" / job.part
        if look.checked:
            seen = evaluate(
                model, some, suite(look.suite), fraction(look.eps), Effort(seed=seed, out=out), progress=tell
            )
            row["flags"] += [f"{look.label}: {flag['name']}" for flag in seen.flags]
            left = seen.worst_case.accuracy
        else:
            found = run_suite(
                model, some, suite(look.suite)(fraction(look.eps)), Effort(seed=seed, out=out), progress=tell
            )
            left = float(found.standing().mean())
        row["worst_case"][look.label] = left
        row["attacked"][look.label] = len(some)
    worst = ", ".join(f"{label} {value:.3f}" for label, value in row["worst_case"].items())
    print(f"{job.name} seed {seed}: clean {row['clean']:.3f}, {worst}", file=sys.stderr, flush=True)
    return row | (job.extra(model, images) if job.extra else {})


def arguments(description: str | None, runs: str, seeds: int) -> argparse.ArgumentParser:
    """The options that all tables have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help="number of seeds, from 1 on (%(default)s)")
    parser.add_argument("--runs", type=Path, default=Path(runs), help="where runs are kept (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--workers", type=int, default=processes.usable_cores(), help="processes (%(default)s)")
    return parser


def measure_all(jobs: Sequence[Job], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of all jobs, side by side in processes; what is complete is kept and not done again."""
    work = [processes.Job(f"{job.name} {job.config.train.seed}", measure, (job, options.runs)) for job in jobs]
    with Display() as display:
        found = processes.run_jobs(work, workers=options.workers, progress=display)
    return list(processes.values(found).values())


def by_name(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each network, in the order of seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row)
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t interval."""
    n = len(values)
    half = float(student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return float(np.mean(values)), half


def show(values: Sequence[float]) -> str:
    """Mean +- half-width, in percent."""
    mean, half = interval(values)
    return f"{100 * mean:5.1f} +- {100 * half:4.1f}"


def print_accuracies(rows: Sequence[dict[str, Any]], differences: Sequence[tuple[str, str]] = ()) -> None:
    """One line per network, then paired differences between networks."""
    by = by_name(rows)
    looks = list(rows[0]["worst_case"])
    wide = max(18, *(len(label) + 2 for label in looks))
    first = max(len(name) for name in by) + 2
    first = max(first, *(len(f"{a} - {b}") + 2 for a, b in differences)) if differences else first
    print(f"accuracy in %, mean and 95 % t interval over {len(next(iter(by.values())))} seeds, worst case per image;")
    print(f"n = {rows[0]['n']} clean; " + ", ".join(f"{rows[0]['attacked'][look]} for {look}" for look in looks))
    print(f"{'':{first}}{'clean':>{wide}}" + "".join(f"{look:>{wide}}" for look in looks))
    for name, found in by.items():
        cells = [[row["clean"] for row in found], *([row["worst_case"][look] for row in found] for look in looks)]
        print(f"{name:{first}}" + "".join(f"{show(cell):>{wide}}" for cell in cells))
    for a, b in differences:
        pairs = list(zip(by[a], by[b], strict=True))
        cells = [[x["clean"] - y["clean"] for x, y in pairs]]
        cells += [[x["worst_case"][look] - y["worst_case"][look] for x, y in pairs] for look in looks]
        print(f"{f'{a} - {b}':{first}}" + "".join(f"{show(cell):>{wide}}" for cell in cells))


def write_rows(rows: Sequence[dict[str, Any]], options: argparse.Namespace, **more: Any) -> None:
    """All figures as JSON, if asked for."""
    if options.json:
        write_json(options.json, {"provenance": provenance(), **more, "rows": list(rows)})
        print(options.json)
