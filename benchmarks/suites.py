"""What the suites find and cost on the demo's four networks: gradient evaluations, and who is left standing.

    python benchmarks/suites.py --n 120 --json benchmarks/results/suites.json

trains the demo's networks of one seed (or takes them from --work), and prints for quick, paper-sr, autoattack and
reliable the accuracy that is left with its interval, the gradient evaluations and forward passes, and the cost as
a share of reliable's. "reliable, all on all" runs every member of reliable on every image that is classified
correctly, each attack by itself, and takes the worst case of each image: the schedule must find the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from robustsnn.attacks import Suite
from robustsnn.evaluation import Effort, run_suite
from robustsnn.ground.files import write_json
from robustsnn.ground.progress import Display, part
from robustsnn.ground.provenance import provenance
from robustsnn.ground.units import fraction
from robustsnn.records.outcome import Outcomes, rate
from robustsnn.runs import build
from robustsnn.runs.demo import configs
from robustsnn.runs.folder import load_run, show_rate, train_run

SUITES = ("quick", "paper-sr", "autoattack", "reliable")


def alone(suite: Suite) -> Suite:
    """Every member in a column of its own, so that each attacks all images."""
    columns = tuple((f"{number} {attack.label}", (attack,)) for number, (_, attack) in enumerate(suite.members()))
    return Suite(f"{suite.name}, all on all", columns)


def row(found: Outcomes) -> dict[str, Any]:
    """What one run left and cost."""
    costs = {"gradients": int(found.backwards.sum()), "forwards": int(found.forwards.sum())}
    return {**rate(found.standing()), **costs, "standing": found.standing().nonzero()[0].tolist()}


def main() -> None:
    """Run all suites on all networks, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/suites"), help="folder of the trained networks")
    parser.add_argument("--models", nargs="*", default=["vanilla", "SR", "AT", "SR*"])
    parser.add_argument("--n", type=int, default=120, help="test images")
    parser.add_argument("--eps", type=str, default="40/255")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exhaustive", action="store_true", help="also every member of reliable on every image")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with Display() as display:
        for number, name in enumerate(options.models):
            tell = part(display, number, 1, len(options.models))
            run = options.work / name.lower().replace("*", "-at")
            train_run(configs(options.seed)[name], run, resume=True)
            _, model, data = load_run(run)
            test = data.test.take(options.n)
            suites = [build.suite(suite)(fraction(options.eps)) for suite in SUITES]
            suites += [alone(suites[-1])] if options.exhaustive else []
            rows: dict[str, Any] = {}
            for position, suite in enumerate(suites):
                inner = part(tell, position, 1, len(suites))
                out = options.work / "outcomes" / name.lower().replace("*", "-at")
                found = run_suite(
                    model, test, suite, Effort(batch_size=options.n, seed=options.seed, out=out), progress=inner
                )
                rows[suite.name] = row(found)
                rows[suite.name]["correct"] = int(found.correct.sum())
            results[name] = rows
            full = rows["reliable"]["gradients"]
            for suite_name, found_row in rows.items():
                print(
                    f"{name:8} {suite_name:24} n={options.n} left {show_rate(found_row):22} "
                    f"gradients {found_row['gradients']:9,} ({100 * found_row['gradients'] / full:6.1f} % of reliable) "
                    f"forwards {found_row['forwards']:9,}",
                    flush=True,
                )
            if options.exhaustive:
                same = rows["reliable"]["standing"] == rows["reliable, all on all"]["standing"]
                print(f"{name:8} the schedule leaves the same images standing as all on all: {same}", flush=True)
    if options.json:
        settings = {key: str(value) for key, value in vars(options).items()}
        write_json(options.json, {"provenance": provenance(), "settings": settings, "models": results})


if __name__ == "__main__":
    sys.exit(main())
