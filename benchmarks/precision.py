"""What bfloat16 changes: in training (accuracy, clean and attacked) and in crafting (what the attacks break).

    python benchmarks/precision.py --json benchmarks/results/precision.json        (about an hour of one core)
    python benchmarks/precision.py --seeds 1 --epochs 1 --limit 40 --no_reliable --runs runs/look       a first look

Training: the demo's four networks from several seeds, each in float32 and under bfloat16 autocast, attacked in
float32 and judged in float32. Differences are paired by seed, with 95 % t intervals.

Crafting: the attacks of the suite quick on the float32 networks, each attack alone on all images that are classified
correctly, in float32, in bfloat16 and, for scale, in float32 with other draws; every result is judged in float32.
"Hollow" is an image that bfloat16 alone calls misclassified. In the suite itself such images are attacked again.

What is complete is kept in --runs, and the same command continues an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.streams import Streams
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation import Effort, run_suite
from robustsnn.evaluation.crafting import Precision
from robustsnn.evaluation.fitting import fit_to
from robustsnn.evaluation.judge import Judge
from robustsnn.ground import modes
from robustsnn.ground.files import write_json
from robustsnn.ground.progress import Display, Progress, part, silent
from robustsnn.ground.seeds import derived
from robustsnn.ground.units import fraction
from robustsnn.runs import jobs as processes
from robustsnn.runs.build import suite
from robustsnn.runs.demo import EPOCHS, configs
from robustsnn.runs.folder import load_run, weights_digest
from tables import Job, Look, arguments, by_name, interval, measure, show, write_rows

RADII = ("8/255", "16/255", "40/255")  # 16/255 is the radius that AT trains with
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
ARMS: tuple[tuple[str, Precision, int], ...] = (
    ("float32", "float32", 0),
    ("bfloat16", "bfloat16", 0),
    ("other draws", "float32", 1),
)
RELIABLE = Look("reliable", "40/255", limit=60)
CRAFTED = 120
"""Images that attacks are crafted on in every precision."""


def crafted(
    attack: Attacker, model: nn.Module, x: Tensor, y: Tensor, precision: Precision, seed: int
) -> dict[str, Any]:
    """What one attack breaks in float32's eyes, what it broke in the eyes it was crafted with, and its time."""
    streams = Streams([derived(seed, "precision", repr(attack), i) for i in range(len(x))], x.device)
    started = time.process_time()
    with modes.precision(precision, x.device):
        images = attack.run(model, x, y, generator=streams).images
    seconds = time.process_time() - started
    with modes.precision(precision, x.device):
        claimed = ~(Judge()(model, images, y)[0] < 0)
    return {"broken": ~(Judge()(model, images, y)[0] < 0), "claimed": claimed, "seconds": seconds}


def compare(model: nn.Module, images: ImageSet, seed: int) -> list[dict[str, Any]]:
    """A row per radius and attack of quick: counts of images over the precisions."""
    x, y = images.floats()
    right = Judge()(model, x, y)[0] < 0
    x, y = x[right], y[right]
    rows = []
    for eps in RADII:
        for _, attack in fit_to(model, suite("quick")(fraction(eps)), x, Judge()).members():
            arms = {name: crafted(attack, model, x, y, kind, seed + 1000 * more) for name, kind, more in ARMS}
            full, half, other = (arms[name]["broken"] for name, _, _ in ARMS)
            rows.append(
                {
                    "eps": eps,
                    "attack": attack.label,
                    "n": len(x),
                    "broken": {name: int(arms[name]["broken"].sum()) for name in arms},
                    "float32 alone": int((full & ~half).sum()),
                    "bfloat16 alone": int((half & ~full).sum()),
                    "first draws alone": int((full & ~other).sum()),
                    "other draws alone": int((other & ~full).sum()),
                    "claimed": int(arms["bfloat16"]["claimed"].sum()),
                    "hollow": int((arms["bfloat16"]["claimed"] & ~half).sum()),
                    "hidden": int((half & ~arms["bfloat16"]["claimed"]).sum()),
                    "seconds": {name: round(arms[name]["seconds"], 3) for name in arms},
                }
            )
    return rows


def suites(model: nn.Module, images: ImageSet, seed: int, out: Path) -> dict[str, Any]:
    """The worst case of quick by radius, crafted in each precision, and per image what one alone breaks."""
    found: dict[str, Any] = {}
    for eps in RADII:
        chosen = suite("quick")(fraction(eps))
        full, half = (
            run_suite(model, images, chosen, Effort(seed=seed, out=out, precision=precision)).standing()
            for precision in PRECISIONS
        )
        found[eps] = {
            "n": len(full),
            "float32": float(full.mean()),
            "bfloat16": float(half.mean()),
            "float32 alone": int((half & ~full).sum()),
            "bfloat16 alone": int((full & ~half).sum()),
        }
    return found


def one(job: Job, runs: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """A network's row of `tables.measure`, and for one trained in float32 what crafting in bfloat16 changes."""
    row = measure(job, runs, progress=part(progress, 0, 3, 4))
    row["precision"] = job.config.train.precision
    if row["precision"] != "float32":
        return row
    run = runs / job.folder
    limit = job.looks[0].limit
    path, key = run / "crafting.json", [weights_digest(run), CRAFTED, limit, torch.__version__]
    kept = json.loads(path.read_text()) if path.exists() else {}
    if kept.get("key") != key:
        _, model, data = load_run(run)
        images = data.test.take(min(CRAFTED, limit or CRAFTED))
        seed = job.config.train.seed
        found = {
            "attacks": compare(model, images, seed),
            "suite": suites(model, images, seed, run / "outcomes" / "test"),
        }
        kept = {"key": key, "crafting": found}
        write_json(path, kept)
    return {**row, "crafting": kept["crafting"]}


def jobs(options: argparse.Namespace) -> list[Job]:
    """Every network in both precisions."""
    looks = tuple(Look("quick", eps, limit=options.limit) for eps in RADII)
    if not options.no_reliable:
        looks = (*looks, replace(RELIABLE, limit=min(RELIABLE.limit or 0, options.limit or RELIABLE.limit or 0)))
    made = []
    for seed in range(1, options.seeds + 1):
        for name, config in configs(seed, options.epochs).items():
            for precision in PRECISIONS:
                training = replace(config.train, precision=precision)
                made.append(Job(f"{name} {precision}", replace(config, train=training), looks))
    return made


def paired(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """bfloat16 minus float32 by network and column: {"mean", "half", "seeds"} of the accuracies."""
    by = by_name(rows)
    found: dict[str, Any] = {}
    for name in dict.fromkeys(label.rsplit(" ", 1)[0] for label in by):
        pairs = list(zip(by[f"{name} float32"], by[f"{name} bfloat16"], strict=True))
        columns = {"clean": [b["clean"] - a["clean"] for a, b in pairs]}
        for look in pairs[0][0]["worst_case"]:
            columns[look] = [b["worst_case"][look] - a["worst_case"][look] for a, b in pairs]
        found[name] = {}
        for column, values in columns.items():
            mean, half = interval(values)
            found[name][column] = {"mean": mean, "half": half if len(values) > 1 else None, "values": values}
    return found


COUNTS = ("float32 alone", "bfloat16 alone", "first draws alone", "other draws alone", "claimed", "hollow", "hidden")


def total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts of crafting summed over networks: all attacks by radius, and "all"."""
    attacks = [entry for row in rows if "crafting" in row for entry in row["crafting"]["attacks"]]
    found = {}
    for eps in (*RADII, "all"):
        some = [entry for entry in attacks if eps in (entry["eps"], "all")]
        found[eps] = {
            "n": sum(entry["n"] for entry in some),
            "broken": {name: sum(entry["broken"][name] for entry in some) for name, _, _ in ARMS},
            **{count: sum(entry[count] for entry in some) for count in COUNTS},
            "seconds": {name: sum(entry["seconds"][name] for entry in some) for name, _, _ in ARMS},
        }
    return found


def print_all(rows: Sequence[dict[str, Any]]) -> None:
    """Both tables."""
    by = by_name(rows)
    looks = list(rows[0]["worst_case"])
    wide = max(16, *(len(look) + 2 for look in looks))
    print(f"training: accuracy in %, judged in float32; mean and 95 % t interval over {len(rows) // len(by)} seeds")
    print(f"{'':18}{'clean':>{wide}}" + "".join(f"{look:>{wide}}" for look in looks))
    for name, found in by.items():
        cells = [[row["clean"] for row in found], *([row["worst_case"][look] for row in found] for look in looks)]
        print(f"{name:18}" + "".join(f"{show(cell):>{wide}}" for cell in cells))
    for name, columns in paired(rows).items():
        print(f"{f'{name}: bf16 - f32':18}" + "".join(f"{show(c['values']):>{wide}}" for c in columns.values()))
    print("\ncrafting: images that single attacks on the float32 networks break, judged in float32, all networks")
    print(
        f"{'eps':8}{'n':>8}{'float32':>9}{'bfloat16':>9}{'f32 alone':>10}{'bf16 alone':>11}{'draws alone':>13}", end=""
    )
    print(f"{'claimed':>9}{'hollow':>8}{'hidden':>8}{'time ratio':>12}")
    for eps, c in total(rows).items():
        draws = f"{c['first draws alone']}/{c['other draws alone']}"
        ratio = c["seconds"]["bfloat16"] / max(1e-9, c["seconds"]["float32"])
        print(f"{eps:8}{c['n']:8}{c['broken']['float32']:9}{c['broken']['bfloat16']:9}{c['float32 alone']:10}", end="")
        print(f"{c['bfloat16 alone']:11}{draws:>13}{c['claimed']:9}{c['hollow']:8}{c['hidden']:8}{ratio:12.2f}")
    print("\nthe suite quick, hollow images attacked again: standing in %, and images that one precision alone breaks")
    for eps in RADII:
        some = [row["crafting"]["suite"][eps] for row in rows if "crafting" in row]
        full, half = (100 * float(np.mean([entry[name] for entry in some])) for name in PRECISIONS)
        alone = [sum(entry[f"{name} alone"] for entry in some) for name in PRECISIONS]
        n = sum(entry["n"] for entry in some)
        print(
            f"{eps:8} n {n:6}  float32 {full:5.2f}  bfloat16 {half:5.2f}  "
            f"float32 alone {alone[0]}, bfloat16 alone {alone[1]}"
        )


def main() -> int:
    """Train, attack, compare, print."""
    parser = arguments(__doc__, "runs/precision", 3)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of training (%(default)s)")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many test images")
    parser.add_argument("--no_reliable", action="store_true", help="leave out the suite reliable on 60 images")
    options = parser.parse_args()
    work = [processes.Job(f"{job.name} {job.config.train.seed}", one, (job, options.runs)) for job in jobs(options)]
    with Display() as display:
        rows = list(processes.values(processes.run_jobs(work, workers=options.workers, progress=display)).values())
    print_all(rows)
    write_rows(rows, options, differences=paired(rows), crafting=total(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
