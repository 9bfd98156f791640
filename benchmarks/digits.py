"""Vanilla, SR, AT and SR* on digits over several seeds: clean and worst-case accuracy, mean and interval.

    python benchmarks/digits.py --seeds 5                 the demo's four networks, on test images
    python benchmarks/digits.py --tune                    the grid over lambda, on validation images

Each seed draws new initial weights, batches, augmentation and attacks; the data split stays. Runs are kept
in --runs and continued if interrupted. Intervals are 95 % t intervals over seeds; differences are paired by
seed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from robustsnn.names.config import Config
from robustsnn.runs.demo import EPS, configs
from tables import Job, Look, arguments, measure_all, print_accuracies, write_rows

# 16/255 is the radius that AT trains with.
LOOKS = (Look("paper-sr-10", EPS, checked=True), Look("paper-sr-10", "16/255"))
GRID = (0.1, 0.2, 0.3, 0.5)
LEAST_CLEAN = 0.90


def grid() -> list[tuple[str, Config]]:
    """SR and SR* over lambda, seed 0."""
    made = []
    for name in ("SR", "SR*"):
        base = configs(0)[name]
        for lam in GRID:
            made.append((f"{name} lambda {lam:g}", replace(base, objective=replace(base.objective, lam=lam))))
    return made


def print_grid(rows: list[dict[str, Any]]) -> None:
    """The grid, and what it chooses: most robust at EPS among those with enough clean accuracy."""
    at = LOOKS[0].label
    print(f"validation images, n = {rows[0]['n']}, seed 0")
    print(f"chosen: the largest worst case of {at} with clean >= {LEAST_CLEAN}")
    for row in rows:
        worst = ", ".join(f"{label} {100 * value:.1f}" for label, value in row["worst_case"].items())
        print(f"{row['name']:18} clean {100 * row['clean']:.1f}, worst case {worst}")
    for name in ("SR", "SR*"):
        able = [r for r in rows if r["name"].startswith(name + " ") and r["clean"] >= LEAST_CLEAN]
        best = max(able, key=lambda r: r["worst_case"][at], default=None)
        print(f"chosen for {name}: {best['name'] if best else 'none is accurate enough'}")


def main() -> int:
    """Train and attack all networks, print the table."""
    parser = arguments(__doc__, "runs/digits", 5)
    parser.add_argument("--tune", action="store_true", help="the grid on validation images instead")
    options = parser.parse_args()
    if options.tune:
        rows = measure_all([Job(name, config, LOOKS, "validation") for name, config in grid()], options)
        print_grid(rows)
    else:
        # Seed 0 chose lambda, so the seeds that are reported begin at 1.
        looks = (*LOOKS, Look("reliable", EPS))
        seeds = range(1, options.seeds + 1)
        jobs = [Job(name, config, looks) for seed in seeds for name, config in configs(seed).items()]
        rows = measure_all(jobs, options)
        print_accuracies(rows, (("SR", "vanilla"), ("AT", "vanilla"), ("SR*", "SR"), ("SR*", "AT")))
    write_rows(rows, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
