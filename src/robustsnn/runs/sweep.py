"""A grid of runs over options of a config, side by side: to choose hyper-parameters on validation images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from robustsnn.evaluation import Effort, evaluate
from robustsnn.ground.claim import claimed
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import from_json, write_json
from robustsnn.ground.ours import MANY, check_files
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.ground.provenance import versions
from robustsnn.ground.units import fraction
from robustsnn.names.config import Config, outside
from robustsnn.runs.build import suite
from robustsnn.runs.folder import another_config, evaluate_run, is_trained, load_run, train_run, weights_digest
from robustsnn.runs.grid import Point, grid
from robustsnn.runs.jobs import Done, Job
from robustsnn.runs.slurm import Slurm, do_jobs
from robustsnn.studies.gradients.measure import gradients


@dataclass(frozen=True)
class SweepLook:
    """What every trained point is attacked with.

    Args:
        suite: its name.
        eps: the radius.
        part: whose images: validation, to choose by; test makes results to report, which must not choose.
        limit: the first so many images.
        seed: of the attacks.
    """

    suite: str
    eps: str
    part: Literal["validation", "test"] = "validation"
    limit: int | None = None
    seed: int = 0


def sweep(
    base: Config,
    over: Mapping[str, Sequence[str]],
    out: Path,
    *,
    look: SweepLook | None = None,
    workers: int | None = None,
    slurm: Slurm | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train all points of a grid in folders of `out`, attack them, and write and return `out/sweep.json`.

    A point that fails has an `error` in the place of its results, and loses no other. What is complete there, from
    the same call or one with fewer values, is used: an interrupted sweep continues.

    Args:
        over: values by option, as from `axes`.
        look: how to attack; None only trains.
        workers: how many run at a time here, each with one thread; all usable cores, if None.
        slurm: run on this cluster instead.
        overwrite: `out` may hold files of others, and a sweep.json of others is replaced.

    UserError if another process writes into `out`.
    """
    points = grid(base, over)
    if look is not None:
        suite(look.suite)(fraction(look.eps))  # a wrong one is refused before anything runs
    check_files([out / "sweep.json"], overwrite)
    with claimed(out, overwrite=overwrite, marks=MANY):
        found = {point.name: done for point in points if (done := finished(point, out / point.name, look)) is not None}
        jobs = [
            Job(point.name, measure, (point, out / point.name, look), _cost(point.config))
            for point in points
            if point.name not in found
        ]
        found |= do_jobs(jobs, slurm=slurm, workers=workers, text="sweep", progress=progress)
        document = {
            "schema": 1,
            "over": {key: list(values) for key, values in over.items()},
            "look": None if look is None else asdict(look),
            "points": [_entry(point, found[point.name]) for point in points],
            "versions": versions(),
        }
        write_json(out / "sweep.json", document)
    return document


def _entry(point: Point, done: Done) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": point.name, "run": point.name, "overrides": dict(point.overrides)}
    if done.error is None:
        return entry | {"results": done.value}
    return entry | {"error": done.error} | ({"trace": done.trace} if done.defect else {})


def _cost(config: Config) -> float:
    """About how long a run takes: its passes, in an arbitrary unit."""
    attack = config.objective.attack
    return max(1.0, config.train.epochs * config.model.steps * (3.0 + 2.0 * (attack.steps if attack else 0)))


def finished(point: Point, run: Path, look: SweepLook | None) -> Done | None:
    """What is there of a point if nothing is left to do, else None."""
    if not (run / "weights.safetensors").exists():
        return None
    try:
        if not is_trained(point.config, run):
            return Done(error=another_config(run))
    except UserError as error:
        return Done(error=str(error))
    if look is None:
        return Done()
    path = run / f"{look.part}.json"
    # An evaluation of test images that was deleted, or of other weights, is made again.
    if not path.exists() or (look.part == "test" and not (run / "results.json").exists()):
        return None
    kept = _kept(path)
    return Done(kept["results"]) if kept is not None and kept["asked"] == _asked(run, look) else None


def _kept(path: Path) -> dict[str, Any] | None:
    """What `measure` wrote to a file; None where it is damaged, and then it is made again."""
    try:
        kept = from_json(path.read_text("utf-8"))
        json.dumps(kept, allow_nan=False)  # it is written again, and NaN cannot be
        found = kept["results"]
        rates = [rate[name] for rate in (found["clean"], found["worst_case"]) for name in ("accuracy", "n")]
        rates += [end for rate in (found["clean"], found["worst_case"]) for end in rate["interval"]]
        rates += [] if found["gradient"] is None else [found["gradient"][name] for name in ("l1", "l2")]
        fits = len(rates) in (8, 10) and all(type(rate) in (int, float) for rate in rates)
        return kept if fits and all(isinstance(flag, str) for flag in found["flags"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def measure(point: Point, run: Path, look: SweepLook | None, *, progress: Progress = silent) -> dict[str, Any] | None:
    """Train a point, or continue, and attack it; returns its figures.

    Those of validation images are kept in the run's `validation.json`. Test images make an evaluation of the run like
    any other, in its `results.json`, and what is told of it here is kept in `test.json`.
    """
    with claimed(run):
        train_run(point.config, run, resume=True, progress=part(progress, 0, 2, 3) if look else progress)
        if look is None:
            return None
        # The run's config is what was just written, and names what the caller named.
        found = _figures(run, look, tuple(outside(point.config).values()), part(progress, 2, 1, 3))
        write_json(run / f"{look.part}.json", {"asked": _asked(run, look), "results": found})
        return found


def _asked(run: Path, look: SweepLook) -> dict[str, Any]:
    """All that the figures depend on."""
    return {"weights": weights_digest(run), "versions": versions(), **asdict(look)}


def _figures(run: Path, look: SweepLook, trusted: tuple[str, ...], progress: Progress) -> dict[str, Any]:
    config, model, data = load_run(run, trust_code=trusted)
    effort = Effort(seed=look.seed)
    images = data.test if look.part == "test" else data.validation
    images = images if look.limit is None else images.take(look.limit)
    if look.part == "test":
        found = evaluate_run(run, look.suite, look.eps, effort, limit=look.limit, trust_code=trusted, progress=progress)
        entry = found["models"][config.title()]
    else:
        effort = replace(effort, out=run / "outcomes" / "validation")
        entry = evaluate(model, images, suite(look.suite), fraction(look.eps), effort, progress=progress).to_dict()
    return {
        "clean": entry["clean"],
        "worst_case": entry["worst_case"],
        "flags": [flag["name"] for flag in entry["flags"]],
        "gradient": _norms(model, images, look.seed),
    }


def _norms(model: Any, images: Any, seed: int) -> dict[str, float] | None:
    """Means over the images of the l1 and l2 norm of grad_x f_y; None where there is no gradient at the pixels."""
    try:
        measures = gradients(model, images, keep=0, seed=seed).spreads["own"].measures
    except UserError:
        return None
    return {name: float(measures[name].mean()) for name in ("l1", "l2")}


def table(document: Mapping[str, Any], show: Callable[[dict[str, Any]], str]) -> list[str]:
    """The points of a sweep as lines, in the order of the grid; `show` writes an accuracy with its interval."""
    head = ["point", "clean", "worst case", "l1 of grad_x f_y", "flags"]
    rows = []
    for point in document["points"]:
        found = point.get("results")
        if "error" in point:
            cells = [f"failed: {point['error']}"]
        elif found is None:
            cells = ["trained"]
        else:
            norms, flags = found["gradient"], ", ".join(found["flags"]) or "none"
            cells = [show(found["clean"]), show(found["worst_case"]), f"{norms['l1']:.3g}" if norms else "none", flags]
        rows.append([point["name"], *cells])
    full = [row for row in rows if len(row) == len(head)]
    rows = [head, *rows] if full else rows
    first = max(len(row[0]) for row in rows)
    wide = [first, *(max(len(row[column]) for row in [head, *full]) for column in range(1, len(head)))]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, wide, strict=False)).rstrip() for row in rows]
