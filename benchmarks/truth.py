"""How far the suites are from the true worst case, on networks that are small enough to know it.

    python benchmarks/truth.py --suites quick reliable --json benchmarks/results/truth.json

trains networks with sixteen neurons in the first layer on the digits, chooses for each a Linf radius at which about
half of its validation images are truly robust, decides each test image exactly (`robustsnn.attacks.exact`), and
attacks the same images with each suite. Printed are the images left standing by the truth and by each suite, and the
share of the truly broken images that a suite misses. No suite may break an image that is proved robust: that would be
a defect of the solver, and ends in exit code 1. Suites that do not exist are skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from arguments import Parser, output, positive
from robustsnn.attacks import pgd
from robustsnn.attacks.exact import Exact
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.digits import digits
from robustsnn.evaluation import Effort, run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_json
from robustsnn.ground.provenance import provenance
from robustsnn.ground.units import show_fraction
from robustsnn.losses import correct
from robustsnn.models import Classifier
from robustsnn.models.classifier import classifier
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import IF, LIF, Neurons
from robustsnn.objectives import Adversarial, Natural
from robustsnn.runs import build
from robustsnn.statistics.binomial import clopper_pearson
from robustsnn.training.fit import fit

WIDTH = 16
GRID = tuple(level / 255 for level in (2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40))
"""The radii to choose from."""
CHOOSE_ON = 20  # validation images


@dataclass(frozen=True)
class Tiny:
    """A network to be trained: its first block, its neurons, and whether it sees 4x4 images (2x2 means of pixels)."""

    first: Callable[[], list[nn.Module]]
    neuron: LIF
    steps: int
    small: bool = False

    def build(self) -> Classifier:
        body = Layers(
            *self.first(),
            Neurons(self.neuron, self.steps),
            nn.Flatten(2),
            nn.Linear(WIDTH, WIDTH),
            Neurons(self.neuron, self.steps),
            nn.Linear(WIDTH, 10),
        )
        side = 4 if self.small else 8
        return classifier(body, None, (1, side, side), (0.5,), (0.25,))


def _linear(pixels: int) -> Callable[[], list[nn.Module]]:
    return lambda: [nn.Flatten(2), nn.Linear(pixels, WIDTH)]


def _convolution() -> list[nn.Module]:
    convolution = nn.Conv2d(1, WIDTH // 4, 3, stride=2, padding=1, bias=False)
    return [Fold(nn.AvgPool2d(2), convolution, nn.BatchNorm2d(WIDTH // 4))]


NETWORKS = {
    "linear IF T=2": Tiny(_linear(64), IF(), 2),
    "linear IF T=4": Tiny(_linear(64), IF(), 4),
    "linear LIF soft T=4": Tiny(_linear(64), LIF(tau=0.5, reset="soft"), 4),
    "4x4 IF T=3": Tiny(_linear(16), IF(), 3, small=True),
    "conv LIF T=4": Tiny(_convolution, LIF(tau=0.5), 4),
}
OBJECTIVES = {"vanilla": Natural(), "AT": Adversarial(pgd("16/255", 5, alpha="8/255", keep="last"))}


def shrunk(images: ImageSet) -> ImageSet:
    """2x2 means, rounded to grey levels."""
    return replace(images, images=F.avg_pool2d(images.images.float(), 2).round().to(torch.uint8))


def trained(tiny: Tiny, objective: Natural, data: Splits, seed: int) -> Classifier:
    torch.manual_seed(seed)
    model = tiny.build()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    fit(model, data.train, objective, optimiser, epochs=30, batch_size=64, seed=seed)
    return model


def decided(model: Classifier, data: ImageSet, eps: float, seconds: float) -> tuple[list[str], float]:
    """For each image "wrong" (on clean), "robust", "broken" or "undecided", and the longest time of one."""
    exact, longest, found = Exact(model), 0.0, []
    x, y = data.floats()
    for image, label, right in zip(x, y, correct(model(x), y), strict=True):
        if not right:
            found.append("wrong")
            continue
        verdict = exact.decide(image, int(label), eps, seconds=seconds)
        longest = max(longest, verdict.seconds)
        found.append(verdict.status)
    return found, longest


def chosen(model: Classifier, data: ImageSet, seconds: float) -> float:
    """The first radius at which at most half of the images that are classified right are robust."""
    for eps in GRID:
        found, _ = decided(model, data.take(CHOOSE_ON), eps, seconds)
        if 2 * found.count("robust") <= len(found) - found.count("wrong"):
            return eps
    return GRID[-1]


def row(model: Classifier, data: Splits, suites: Sequence[str], options: Any, seed: int) -> dict[str, Any]:
    """One network: truth and suites, image by image."""
    eps = chosen(model, data.validation, options.seconds)
    test = data.test.take(options.n)
    truth, longest = decided(model, test, eps, options.seconds)
    standing = {
        name: run_suite(model, test, build.suite(name)(eps), Effort(batch_size=options.n, seed=seed))
        .standing()
        .tolist()
        for name in suites
    }
    return {"eps": eps, "pixels": test.images[0].numel(), "truth": truth, "longest": longest, "standing": standing}


def missed(rows: Sequence[dict[str, Any]], suite: str) -> tuple[int, int]:
    """Of the images that are truly broken, how many the suite leaves standing, and how many there are."""
    left = [
        on for row in rows for on, truth in zip(row["standing"][suite], row["truth"], strict=True) if truth == "broken"
    ]
    return sum(left), len(left)


def impossible(rows: Sequence[dict[str, Any]]) -> int:
    """Images that are proved robust, and broken by a suite."""
    return sum(
        truth == "robust" and not on
        for row in rows
        for standing in row["standing"].values()
        for on, truth in zip(standing, row["truth"], strict=True)
    )


def head(suites: Sequence[str]) -> str:
    """The first lines of the table."""
    cells = ["network", "eps", "pixels", "right", "truth", *suites, "longest"]
    return "| " + " | ".join(cells) + " |\n|" + "---|" * len(cells)


def line(row: dict[str, Any], suites: Sequence[str]) -> str:
    """Of one network, the images left standing."""
    truth = row["truth"]
    robust, open_ = truth.count("robust"), truth.count("undecided")
    cells = [row["name"], show_fraction(row["eps"]), row["pixels"], len(truth) - truth.count("wrong")]
    cells += [f"{robust} to {robust + open_}" if open_ else robust, *(sum(row["standing"][suite]) for suite in suites)]
    return "| " + " | ".join(map(str, [*cells, f"{row['longest']:.1f} s"])) + " |"


def summary(rows: Sequence[dict[str, Any]], suite: str) -> str:
    """The share of truly broken images that a suite misses, over all networks."""
    hits, n = missed(rows, suite)
    low, high = clopper_pearson(hits, n)
    share = f"{100 * hits / max(1, n):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{suite} misses {hits} of {n} truly broken images: {share}"


def known(names: Sequence[str]) -> list[str]:
    """The suites that there are; a line for each that there is not."""
    found = []
    for name in names:
        try:
            build.suite(name)
            found.append(name)
        except UserError as error:
            print(f"skipped: {error}")
    return found


def main() -> int:
    """Train, decide, attack, print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--suites", nargs="+", default=["quick", "reliable"])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", type=positive, default=2, help="networks of each kind (%(default)s)")
    parser.add_argument("--n", type=positive, default=60, help="test images (%(default)s)")
    parser.add_argument("--seconds", type=positive, default=30, help="for one image, then undecided (%(default)s)")
    parser.add_argument("--json", type=output, help="write all figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    suites, data = known(options.suites), digits()
    small = replace(data, **{part: shrunk(getattr(data, part)) for part in ("train", "validation", "test")})
    about, rows = provenance(), []  # before the work: the code may change under a long run
    print(f"of {options.n} test images, those left standing\n{head(suites)}")
    for name in options.networks:
        tiny = NETWORKS[name]
        seen = small if tiny.small else data
        for objective, seed in ((o, s) for o in OBJECTIVES for s in range(options.seeds)):
            model = trained(tiny, OBJECTIVES[objective], seen, seed)
            rows.append({"name": f"{name}, {objective}, seed {seed}"} | row(model, seen, suites, options, seed))
            print(line(rows[-1], suites), flush=True)
    print("\n".join(summary(rows, suite) for suite in suites))
    if options.json:
        settings = {key: str(value) for key, value in vars(options).items()}
        write_json(options.json, {"provenance": about, "settings": settings, "rows": rows})
    wrong = impossible(rows)
    print(f"proved robust and yet broken: {wrong}" if wrong else "no suite broke an image that is proved robust")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
