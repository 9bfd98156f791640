"""Max, average and hybrid pooling in a SEW-ResNet18 on digits: table 3 and figures 3 and 5 of the trail paper.

    python benchmarks/pooling.py --seeds 3 --json benchmarks/results/pooling.json
    python benchmarks/pooling.py --unweighted --runs runs/pooling-unweighted     with spikes of one size, as released

trains the config digits_sew18_phase_max and its twins from several seeds, attacks all test images by the paper's
FGSM and PGD7 (on pixels, on the phase code, and on the phase code with batch statistics as its released code does)
and by the suite reliable, and follows the gradient through every operation. Intervals are 95 % t intervals over
seeds; differences are paired by seed. Nothing was chosen on test images.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from torch import nn

from robustsnn.data.batches import ImageSet
from robustsnn.names.config import Config
from robustsnn.names.parsing import parse_config, read_config
from robustsnn.names.shipped import shipped
from robustsnn.studies.trail.measure import trail
from tables import Job, Look, arguments, by_name, measure_all, print_accuracies, show, write_rows

CONFIG = shipped()["digits_sew18_phase_max"]
POOLINGS = ("max", "average", "hybrid")  # the hybrid learns its share of max-pooling
EPS = "8/255"
LOOKS = (
    Look("paper-trail", EPS),
    Look("paper-trail-encoded", EPS),
    Look("paper-trail-train-mode-encoded", EPS),
    Look("reliable", EPS, limit=48),
)
PUBLISHED = "CIFAR-10, FGSM / PGD7 / clean: max 46.99 / 34.33 / 73.78, average 45.71 / 25.72 / 75.76"
TRAIL_IMAGES = 120


def sparsity(model: nn.Module, images: ImageSet) -> dict[str, Any]:
    """Share of exact zeros per kind of operation, and what the kind added itself; norms at the pixels."""
    found = trail(model, images.take(TRAIL_IMAGES))
    kinds = {kind: {"zeros": zeros, "added": added} for kind, (zeros, added) in found.kinds().items()}
    pooling = [operation for operation in found.operations if operation.path.startswith("body.stem.2.0")]
    return {
        "trail": {
            "n": found.n,
            "pixels": {"zeros": found.input.sparsity, "l1": found.input.l1.mean, "l2": found.input.l2.mean},
            "pooling": {operation.kind: operation.input.sparsity for operation in pooling},
            "kinds": kinds,
            "operations": [
                {"name": o.name, "zeros": o.input.sparsity, "above": o.output.sparsity, "l2": o.input.l2.mean}
                for o in found.operations
            ],
        }
    }


def configs(seed: int, weighted: bool) -> dict[str, Config]:
    """The twins, which differ in the pooling alone."""
    base = parse_config(read_config(CONFIG), str(CONFIG))
    if not weighted:
        encoder = replace(base.model.encoder, options={**base.model.encoder.options, "weighted": False})
        base = replace(base, model=replace(base.model, encoder=encoder))
    made = {}
    for pooling in POOLINGS:
        model = replace(base.model, options={**base.model.options, "pooling": pooling})
        made[pooling] = replace(base, name=f"SEW18 {pooling}", model=model, train=replace(base.train, seed=seed))
    return made


def print_trails(rows: list[dict[str, Any]]) -> None:
    """Zeros per kind of operation, means over seeds."""
    by = by_name(rows)
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["trail"]["kinds"]))
    print(f"\nexact zeros of the gradient in %, n = {TRAIL_IMAGES} test images (in brackets: added by the operation)")
    print(f"{'at the input of':18}" + "".join(f"{name:>32}" for name in by))
    for kind in kinds:
        line = f"{kind:18}"
        for found in by.values():
            values = [row["trail"]["kinds"][kind] for row in found if kind in row["trail"]["kinds"]]
            own = [value["added"] for value in values]
            added = "unknown" if None in own else show(own).strip()
            text = f"{show([value['zeros'] for value in values])} ({added})" if values else "-"
            line += f"{text:>32}"
        print(line)
    for what in ("zeros", "l2"):
        cells = [[row["trail"]["pixels"][what] for row in found] for found in by.values()]
        scale = 1.0 if what == "zeros" else 0.01
        label = "pixels" if what == "zeros" else "pixels, l2 norm"
        print(f"{label:18}" + "".join(f"{show([scale * value for value in cell]):>32}" for cell in cells))


def main() -> int:
    """Train, attack, follow the gradient, print."""
    parser = arguments(__doc__, "runs/pooling", 3)
    parser.add_argument("--unweighted", action="store_true", help="bare spikes in the phase code")
    options = parser.parse_args()
    jobs = [
        Job(name, configs(seed, not options.unweighted)[name], LOOKS, extra=sparsity)
        for name in POOLINGS
        for seed in range(1, options.seeds + 1)
    ]
    rows = measure_all(jobs, options)
    print_accuracies(rows, (("max", "average"), ("hybrid", "average")))
    print(f"published: {PUBLISHED}")
    print_trails(rows)
    write_rows(rows, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
