"""What spikes cost or save: the demo's networks beside their ReLU twins, trained and judged alike, on digits.

    python benchmarks/twins.py --seeds 2 --json benchmarks/results/twins.json

A twin has the same layers, first weights, data, objective, options and epochs, and a ReLU in the place of every neuron
layer (`model.activation=relu`). Suite reliable on the first test images; it has more rules for spikes than for ReLUs,
whose own gradient is right. Intervals are 95 % t intervals over seeds; differences are paired by seed.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from robustsnn.names.config import Config
from robustsnn.runs.demo import configs
from tables import Job, Look, arguments, measure_all, print_accuracies, write_rows

LOOKS = tuple(Look("reliable", eps, limit=100) for eps in ("8/255", "16/255"))


def twin(config: Config) -> Config:
    """The same with ReLUs."""
    return replace(config, model=replace(config.model, activation="relu"))


def main() -> int:
    """Train, attack, print."""
    options = arguments(__doc__, "runs/twins", 2).parse_args()
    pairs: dict[str, str] = {}
    jobs = []
    for seed in range(1, options.seeds + 1):
        for name, config in configs(seed).items():
            pairs[f"{name}, ReLU"] = name
            jobs += [Job(name, config, LOOKS), Job(f"{name}, ReLU", twin(config), LOOKS)]
    rows = measure_all(jobs, options)
    print_accuracies(rows, tuple(pairs.items()))
    write_rows(rows, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
