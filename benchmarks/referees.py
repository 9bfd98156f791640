"""What our suites leave standing, what published attacks still break of it, and the time that both take.

    python -m venv referees && . referees/bin/activate      a fresh environment; the package does not need any of it
    pip install torch==2.13.0                               first, so that nothing below brings another
    pip install -e .
    pip install --no-deps -r benchmarks/requirements-referees.txt
    pip install requests tqdm GitPython                     all that they import; torchattacks asks for more

    python benchmarks/referees.py --models vanilla SR AT "SR*" --eps 16/255 --n 100 --json OUT
    python benchmarks/referees.py --models VGG-11 WRN-16-4 --precision bfloat16 --suites quick --referees PGD50
    python benchmarks/referees.py --runs runs/mine --eps 2/255 8/255 --n 50 --suites quick reliable

The networks are trained into --out/runs, or taken from there: the demo's four and an unusual one ("phase AT") on
digits, and large ones briefly on drawn images. A referee attacks the test images that are classified correctly: by its
package's own code on the network's own autograd gradient, or (ASSG) by `published_assg.py`, which brings a gradient of
its own. The four parts of AutoAttack (standard) follow one another, each on what is left, as there. All results are
judged here: within eps (+1e-6, in float64), in [0, 1], and misclassified by a fresh forward pass. "Missed" are images
that a suite of ours leaves standing and some referee breaks. Seconds are those of a clock on the wall, by default
with one thread; the JSON has processor seconds too, which other programs disturb less.

The network is wrapped before a referee sees it, to count passes. The wrapper is needed for another reason too:
torchattacks takes images for normalised ones if the network has attributes `mean` and `std`, as ours has.

Outcomes are kept in --out/outcomes, named by all that they depend on; an interrupted call continues. With
--precision bfloat16 it is the network under autocast that is attacked, by referees and by us. With --device cuda all of
them run on a GPU; on its own it then compiles forward passes, for the referees too.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import published_assg
import robustsnn
from arguments import Parser, context, output, positive
from robustsnn.attacks.threat import TOLERANCE, Linf
from robustsnn.bench.machine import quiet
from robustsnn.bench.show import heading
from robustsnn.evaluation import Effort, run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import own_name, write_arrays, write_json
from robustsnn.ground.modes import frozen, precision
from robustsnn.ground.progress import Display, Progress
from robustsnn.ground.units import fraction, show_fraction
from robustsnn.losses import correct, margin
from robustsnn.names.config import (
    Config,
    DataConfig,
    EncoderConfig,
    ModelConfig,
    NeuronConfig,
    SurrogateConfig,
    TrainConfig,
)
from robustsnn.neurons import compilation
from robustsnn.runs import demo
from robustsnn.runs.build import suite
from robustsnn.runs.folder import load_run, train_run
from robustsnn.statistics.binomial import clopper_pearson

try:
    import eagerpy
    import foolbox
    import pyautoattack
    import torchattacks
    from pyautoattack.square import SquareAttack
except ImportError as error:
    sys.exit(f"referees.py: a referee cannot be used ({error}); see the first lines of this file for the installation")

PACKAGES = {"torchattacks": torchattacks, "pyautoattack": pyautoattack, "foolbox": foolbox, "eagerpy": eagerpy}

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, x, y) -> attacked images."""


@dataclass(frozen=True)
class Subject:
    """A network under test: its training or its folder, how many test images are attacked, and within which radii."""

    config: Config | Path
    n: int
    eps: tuple[str, ...]
    cost: float = 1.0  # of a forward pass against a digits network, for the estimate of the time left


@dataclass(frozen=True)
class Referee:
    """An attack that others published; `key` tells all its settings but eps and seed."""

    name: str
    key: str
    attack: Attack
    cost: float  # forward passes per image, about, for the estimate
    after: tuple[str, ...] = ()  # referees whose victims it does not see


@dataclass
class Verdict:
    """What an attack did to n images, `[n]` each, and what it cost in all."""

    broken: np.ndarray
    margin: np.ndarray
    distance: np.ndarray
    seconds: float
    processor: float
    forwards: int
    backwards: int


class Counted(nn.Module):
    """The network in a precision, counting images that pass forward and gradients that come back."""

    def __init__(self, model: nn.Module, name: str, tell: Callable[[int], None] = lambda forwards: None) -> None:
        super().__init__()
        self.model, self.precision, self.tell = model, name, tell
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        with precision(self.precision, x.device):
            logits = self.model(x).float()
        self.forwards += len(x)
        self.tell(self.forwards)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def unusual() -> Config:
    """AT with another code, another neuron and another surrogate than the demo's."""
    at = demo.configs(seed=1, epochs=14)["AT"]
    phase, neuron = EncoderConfig("phase", {"period": 8}), NeuronConfig(tau=0.5, reset="soft")
    model = ModelConfig(steps=8, encoder=phase, neuron=neuron, surrogate=SurrogateConfig("sigmoid", 12.0))
    train = replace(at.train, optimiser="adam", lr=3e-3, weight_decay=0.0)
    return replace(at, name="phase AT", model=model, train=train)


def subjects() -> dict[str, Subject]:
    """The networks on digits, and large ones trained just long enough to be accurate."""
    digits = demo.configs() | {"phase AT": unusual()}
    made = {name: Subject(config, 360, ("40/255", "16/255")) for name, config in digits.items()}
    train = TrainConfig(
        epochs=2,
        batch_size=50,
        optimiser="adam",
        lr=1e-3,
        weight_decay=0.0,
        schedule="constant",
        crop=0,
        precision="bfloat16",
    )
    data, smooth = DataConfig("procedural"), SurrogateConfig("arctan", 2.0)  # trains deep networks in fewer steps
    deep, wide = ModelConfig("vgg11", steps=2, surrogate=smooth), ModelConfig("wide_resnet16", steps=4)
    large = {
        "VGG-11": (Config("VGG-11", data, deep, train=replace(train, epochs=1, batch_size=25, lr=1e-4)), ("2/255",)),
        "WRN-16-4": (Config("WRN-16-4", data, wide, train=train), ("4/255",)),
    }
    return made | {name: Subject(config, 64, eps, cost=300) for name, (config, eps) in large.items()}


def referees(eps: float, seed: int, device: str = "cpu") -> list[Referee]:
    """All referees for Linf balls of radius eps."""

    def pgd(steps: int) -> Attack:
        alpha = 2.5 * eps / steps
        return lambda model, x, y: torchattacks.PGD(model, eps=eps, alpha=alpha, steps=steps)(x, y)

    def apgd(loss: str) -> Attack:
        return lambda model, x, y: torchattacks.APGD(model, eps=eps, steps=100, seed=seed, loss=loss)(x, y)

    def auto(part: str) -> Attack:
        def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            made = pyautoattack.AutoAttack(model, norm="Linf", eps=eps, seed=seed, version="standard", device=device)
            made.verbose, made.attacks_to_run = False, [part]
            return made.run_standard_evaluation(x, y, batch_size=len(x))[0]

        return run

    def fool(make: Callable[..., Any], **settings: Any) -> Attack:
        def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            seen = foolbox.PyTorchModel(model, bounds=(0, 1), device=device)
            attack = make(random_start=True, **settings)
            return attack(seen, x, foolbox.criteria.Misclassification(y), epsilons=eps)[1]

        return run

    def assg(steps: int, scales: tuple[float, ...]) -> Referee:
        name = f"ASSG {steps}x{len(scales)}"
        code = digest(inspect.getsource(published_assg))
        key = f"ASSG + SA-PGD as published, {steps} steps, starts with a = {scales}, {code}"
        attack = partial(published_assg.attack, eps=eps, steps=steps, scales=scales)
        return Referee(name, key, attack, 1.5 * steps * (1 + len(scales)))

    def square(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attack = SquareAttack(model, norm="Linf", n_queries=20000, eps=eps, seed=seed, device=device)
        return attack.perturb(x, y)

    made = [
        assg(100, (0.435,)),  # the scale of the source's ablations
        assg(300, published_assg.SCALES),
        Referee("Square 20k", "pyautoattack Square, 20000 queries, schedule drawn out to them", square, 10000),
        Referee("PGD10", "torchattacks PGD, 10 steps of eps/4, random start", pgd(10), 30),
        Referee("PGD50", "torchattacks PGD, 50 steps of eps/20, random start", pgd(50), 150),
        Referee("APGD-CE", "torchattacks APGD, 100 steps, ce", apgd("ce"), 300),
        Referee("APGD-DLR", "torchattacks APGD, 100 steps, dlr", apgd("dlr"), 300),
        Referee("fb-PGD", "foolbox LinfPGD, 40 steps of eps/30, random start", fool(foolbox.attacks.LinfPGD), 120),
        Referee(
            "fb-BIM",
            "foolbox LinfBasicIterativeAttack, 20 steps of eps/10, random start",
            fool(foolbox.attacks.LinfBasicIterativeAttack, rel_stepsize=0.1, steps=20),
            60,
        ),
    ]
    parts: tuple[str, ...] = ()
    for part, cost in (("apgd-ce", 300), ("apgd-t", 1500), ("fab-t", 2000), ("square", 2500)):
        made.append(Referee(f"AA {part}", f"AutoAttack standard, {part}", auto(part), cost, parts))
        parts = (*parts, f"AA {part}")
    return made


def digest(*parts: Any) -> str:
    """Of tensors and of what has a repr."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            made.update(part.detach().contiguous().flatten().view(torch.uint8).cpu().numpy().data)
        else:
            made.update(repr(part).encode())
    return made.hexdigest()


def judge(model: nn.Module, z: Tensor, x: Tensor, y: Tensor, eps: float, name: str) -> tuple[np.ndarray, ...]:
    """(broken, margin, distance) of attacked images; what leaves ball or range is not broken."""
    threat = Linf(eps)
    distance = threat.distance(z, x)
    allowed = (distance <= eps + TOLERANCE) & ((z >= 0) & (z <= 1)).flatten(1).all(1)
    if not bool(allowed.all()):
        print(f"{name}: {int((~allowed).sum())} images outside the threat, not counted", file=sys.stderr)
    with torch.no_grad():
        logits = model(z)
    return tuple(values.cpu().numpy() for values in (~correct(logits, y) & allowed, margin(logits, y), distance))


class Watch:
    """Seconds since it was made, of the wall clock and of the processor."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.processor


def together(verdicts: list[Verdict]) -> Verdict:
    """Of attacks that followed one another: what any of them broke, and the sum of costs."""
    sums = {name: sum(getattr(v, name) for v in verdicts) for name in ("seconds", "processor", "forwards", "backwards")}
    least, hit = np.array([v.margin for v in verdicts]), np.array([v.distance for v in verdicts])
    broken = np.any([v.broken for v in verdicts], axis=0)
    return Verdict(broken, np.fmin.reduce(least), hit.max(0), **sums)


class Trial:
    """A trained network, its test images and the folder of outcomes."""

    def __init__(self, name: str, subject: Subject, options: argparse.Namespace) -> None:
        if isinstance(subject.config, Path):
            run = subject.config
        else:
            run = options.out / "runs" / name.lower().replace("*", "-at").replace(" ", "-")
            with Display(20) as display:
                train_run(subject.config, run, resume=True, progress=display)  # at once, if it is there
        _, network, data = load_run(run)
        self.name, self.subject, self.options = name, subject, options
        self.network = network.to(options.device)
        self.x, self.y = (given.to(options.device) for given in data.test.take(options.n or subject.n).floats())
        judged = Counted(self.network, options.precision)
        with frozen(judged):
            self.standing = correct(judged(self.x), self.y).cpu()
        weights = [value for _, value in sorted(self.network.state_dict().items())]
        self.key = digest(self.x, self.y, *weights, options.precision, torch.__version__)

    def kept(self, label: str, key: tuple[Any, ...], make: Callable[[], Verdict]) -> Verdict:
        """The verdict of that name and key from the folder, or made now."""
        file = f"{self.name} {label}".lower().replace("*", "-at").replace(" ", "-").replace("/", "-")
        known = digest(self.key, *key, *(field.name for field in fields(Verdict)))
        path = self.options.out / "outcomes" / f"{file}-{known[:12]}.npz"
        if path.exists():
            with np.load(path) as saved:
                return Verdict(**{name: saved[name] if saved[name].ndim else saved[name].item() for name in saved})
        verdict = make()
        write_arrays(path, **asdict(verdict))
        return verdict

    def referee(self, referee: Referee, eps: float, at: Tensor, tell: Callable[[float], None]) -> Verdict:
        """Run one referee on the images `at` (bool [n])."""

        def make() -> Verdict:
            expected = referee.cost * int(at.sum())
            # A backward to the input costs about two forwards; `expected` has that in it.
            model = Counted(
                self.network,
                self.options.precision,
                lambda forwards: tell(min(1.0, (forwards + 2 * model.backwards) / max(1, expected))),
            )
            n = len(self.x)
            verdict = Verdict(np.zeros(n, bool), np.full(n, np.nan), np.zeros(n), 0.0, 0.0, 0, 0)
            if not bool(at.any()):
                return verdict
            with frozen(model):
                torch.manual_seed(self.options.seed)
                x, y = self.x[at].clone(), self.y[at].clone()
                watch = Watch()
                z = referee.attack(model, x, y).detach()
                verdict.seconds, verdict.processor = watch.read()
                verdict.forwards, verdict.backwards = model.forwards, model.backwards
                found = judge(model, z, self.x[at], self.y[at], eps, f"{self.name}, {referee.name}")
                verdict.broken[at], verdict.margin[at], verdict.distance[at] = found
            return verdict

        package = [(name, module.__version__) for name, module in PACKAGES.items()]
        label = f"{referee.name} {show_fraction(eps)}"
        return self.kept(label, (referee.key, eps, self.options.seed, at, package), make)

    def ours(self, name: str, eps: float, progress: Progress) -> Verdict:
        """A suite of ours, and what it breaks."""
        made, seed = suite(name)(eps), self.options.seed

        def make() -> Verdict:
            watch = Watch()
            model = Counted(self.network, self.options.precision)
            found = run_suite(
                model, (self.x, self.y), made, Effort(batch_size=len(self.x), seed=seed), progress=progress
            )
            spent = watch.read()
            broken = found.correct & ~found.standing()
            hit = np.where(found.broken, found.distance, 0).max(0)
            least = np.where(found.attacked, found.margin, -np.inf).max(0)
            return Verdict(broken, least, hit, *spent, model.forwards, model.backwards)

        # The code that the outcome depends on is part of the key, since the version stands still between releases.
        rooms = [Path(robustsnn.__file__).parent / room for room in ("attacks", "evaluation", "neurons")]
        code = digest(*(path.read_text(encoding="utf-8") for room in rooms for path in sorted(room.glob("*.py"))))
        return self.kept(f"{made.name} {show_fraction(eps)}", (repr(made), eps, seed, code), make)

    def compare(self, eps: float, progress: Progress) -> dict[str, Any]:
        """All referees, then ours."""
        chosen = [
            r for r in referees(eps, self.options.seed, self.options.device) if group(r.name) in self.options.referees
        ]
        total = sum(referee.cost for referee in chosen) + OURS * len(self.options.suites)
        done = 0.0
        verdicts: dict[str, Verdict] = {}
        for referee in chosen:
            at = self.standing.clone()
            for name in referee.after:
                at &= ~torch.from_numpy(verdicts[name].broken)

            def tell(share: float, referee: Referee = referee, done: float = done) -> None:
                progress(round(1e4 * (done + share * referee.cost)), round(1e4 * total), f"{self.name}, {referee.name}")

            verdicts[referee.name] = self.referee(referee, eps, at, tell)
            done += referee.cost
            tell(1.0, done=done - referee.cost)
        ours: dict[str, Verdict] = {}
        for name in self.options.suites:

            def forward(part: int, whole: int, text: str, name: str = name, done: float = done) -> None:
                share = done + OURS * part / whole
                progress(round(1e4 * share), round(1e4 * total), f"{self.name}, {name}: {text}")

            ours[name] = self.ours(name, eps, forward)
            done += OURS
        return self.summary(eps, verdicts, ours)

    def summary(self, eps: float, parts: dict[str, Verdict], ours: dict[str, Verdict]) -> dict[str, Any]:
        """One row of the result; counts of images."""
        clean = self.standing.numpy()
        verdicts = {
            name: together([v for part, v in parts.items() if group(part) == name]) for name in map(group, parts)
        }
        union = np.any([verdict.broken for verdict in verdicts.values()], axis=0) & clean

        def entry(verdict: Verdict) -> dict[str, Any]:
            broken = int((verdict.broken & clean).sum())
            costs = {name: round(getattr(verdict, name), 1) for name in ("seconds", "processor")}
            passes = {"forwards": verdict.forwards, "gradients": verdict.backwards}
            speed = round(broken / max(verdict.seconds, 1e-9), 3)
            return {"standing": int(clean.sum()) - broken, **costs, **passes, "broken_per_second": speed}

        def missing(verdict: Verdict, other: Verdict) -> list[int]:
            """Images that the other attack broke alone."""
            return np.flatnonzero(other.broken & clean & ~verdict.broken).tolist()

        def times(verdict: Verdict, other: Verdict) -> list[float]:
            """Seconds over seconds, of the wall clock and of the processor."""
            clocks = ("seconds", "processor")
            return [round(getattr(verdict, name) / max(getattr(other, name), 1e-9), 3) for name in clocks]

        suites = {}
        for name, verdict in ours.items():
            missed = int((union & ~verdict.broken).sum())
            suites[name] = {
                **entry(verdict),
                "missed": missed,
                "missed_percent": round(100 * missed / max(1, int(union.sum())), 2),
                "missed_by": {n: hits for n, v in verdicts.items() if (hits := missing(verdict, v))},
                "behind": {n: len(hits) for n, v in ours.items() if (hits := missing(verdict, v))},
                "only_ours": int((clean & verdict.broken & ~union).sum()),
                "times": {n: times(verdict, v) for n, v in (verdicts | ours).items() if n in ("AutoAttack", *ours)},
            }
        return {
            "model": self.name,
            "eps": show_fraction(eps),
            "n": len(clean),
            "clean": int(clean.sum()),
            "referees": {name: entry(verdict) for name, verdict in verdicts.items()},
            "parts": {name: entry(verdict) for name, verdict in parts.items() if name not in verdicts},
            "standing_after_referees": int((clean & ~union).sum()),
            "suites": suites,
        }


MUST = ["ASSG 100x1", "ASSG 300x5", "Square 20k", "PGD50", "AutoAttack"]
SUITES = ["quick", "reliable", "exhaustive"]
OURS = 5000  # forward passes per image of a suite of ours, about, for the estimate


def existing(names: list[str]) -> list[str]:
    """Those of the suites that there are; UserError if there is none."""
    found = []
    for name in names:
        try:
            suite(name)
            found.append(name)
        except UserError as error:
            if not found and name == names[-1]:
                raise
            print(f"skipped: {error}", file=sys.stderr)
    return found


def group(referee: str) -> str:
    """The referee of which this is a part."""
    return "AutoAttack" if referee.startswith("AA ") else referee


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """What the referees leave, what our suites leave and miss, and what all cost."""
    names, suites = list(rows[0]["referees"]), list(rows[0]["suites"])
    standing = Table(title="images that stand after each attack")
    cost = Table(title="seconds / thousand gradients (Square: none, forward passes only)")
    ours = Table(
        title="suites; missed: % of what the referees break; behind: images that only the other suite breaks;\n"
        "seconds and their ratios: wall, processor; broken images per second of the wall clock"
    )
    others = [other for other in ("AutoAttack", "reliable") if other in (*names, *suites)]
    compared = ("missed", "only ours breaks", "behind", "seconds", *(f"/ {other}" for other in others))
    for table, columns in (
        (standing, ("n", "clean", *names, "all referees", *suites)),
        (cost, (*names, *suites)),
        (ours, ("suite", "stand", *compared, "broken / s", "of AutoAttack")),
    ):
        for column in ("model", "eps", *columns):
            table.add_column(column, justify="left" if column in ("model", "eps", "suite") else "right", no_wrap=True)
    for row in rows:
        start = row["model"], row["eps"]
        found = row["referees"] | row["suites"]
        left = {name: str(found[name]["standing"]) for name in found} | {"": str(row["standing_after_referees"])}
        standing.add_row(*start, str(row["n"]), str(row["clean"]), *(left[name] for name in (*names, "", *suites)))
        cost.add_row(*start, *(f"{c['seconds']:.0f} / {c['gradients'] / 1e3:.0f}" for c in found.values()))
        for name, c in row["suites"].items():
            missed = f"{c['missed']} ({c['missed_percent']:.1f} %)"
            behind = ", ".join(f"{other} {count}" for other, count in c["behind"].items())
            ratios = ["{:.2f}, {:.2f}".format(*c["times"][other]) for other in others]
            speeds = [f"{found[n]['broken_per_second']:.2g}" if n in found else "" for n in (name, "AutoAttack")]
            figures = (missed, str(c["only_ours"]), behind, f"{c['seconds']:.0f}, {c['processor']:.0f}", *ratios)
            ours.add_row(*start, name, left[name], *figures, *speeds)
    return [standing, cost, ours]


def over_all(rows: list[dict[str, Any]]) -> list[str]:
    """What each suite leaves, over all rows, of the images that the referees and that the other suites break."""
    made = []
    for name in rows[0]["suites"]:
        found = [(row["clean"], row["standing_after_referees"], row["suites"]) for row in rows]
        left = {"all referees": [(suites[name]["missed"], clean - stand) for clean, stand, suites in found]}
        for other in rows[0]["suites"]:
            if other != name:
                counts = [
                    (suites[name]["behind"].get(other, 0), c - suites[other]["standing"]) for c, _, suites in found
                ]
                left[other] = counts
        for other, counts in left.items():
            k, n = (sum(values) for values in zip(*counts, strict=True))
            low, high = clopper_pearson(k, n)
            share = f"{k / n:.1%} [{low:.1%}, {high:.1%}]" if n else "none"
            made.append(
                f"{name} leaves {k} of the {n} images that {other} break{'' if 'all' in other else 's'}: {share}"
            )
    return made


def main() -> None:
    known = subjects()
    names = list(dict.fromkeys(group(referee.name) for referee in referees(0.1, 0)))
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=known, help="default: all, or none with --runs")
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="run folders of your own, each under its name")
    parser.add_argument("--n", type=positive, help="test images; default 360 for digits, 64 for the large networks")
    parser.add_argument("--eps", nargs="+", help='radii such as "8/255"; default: each network\'s own')
    parser.add_argument("--seed", type=int, default=0, help="of referees and ours; default %(default)s")
    parser.add_argument(
        "--suites", nargs="+", default=SUITES, help="ours; unknown ones are skipped; default: %(default)s"
    )
    parser.add_argument("--referees", nargs="+", choices=names, default=MUST, help="default: %(default)s")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default %(default)s")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/referees"), help="runs, outcomes; default %(default)s")
    parser.add_argument("--threads", type=positive, default=1, help="of torch; default %(default)s")
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    options.models = options.models or ([] if options.runs else list(known))
    own = {own_name(run): Subject(run, 64, ("8/255",), cost=300) for run in options.runs}
    known |= own
    options.models += own
    torch.set_num_threads(options.threads)
    quiet()
    versions = {name: module.__version__ for name, module in PACKAGES.items()}
    document = {
        **context(torch.device(options.device)),
        **versions,
        "precision": options.precision,
        "seed": options.seed,
    }
    print(heading(document), flush=True)
    rows: list[dict[str, Any]] = []
    try:
        options.suites = existing(options.suites)
        jobs = [(name, fraction(eps)) for name in options.models for eps in options.eps or known[name].eps]
        weights = [known[name].cost * (options.n or known[name].n) for name, _ in jobs]
        with compilation("forward" if options.device == "cuda" else "auto"), Display(15) as display:
            for i, (name, eps) in enumerate(jobs):
                if i == 0 or jobs[i - 1][0] != name:
                    trial = Trial(name, known[name], options)

                def tell(done: int, total: int, text: str, i: int = i) -> None:
                    share = (sum(weights[:i]) + weights[i] * done / total) / sum(weights)
                    display(round(1e6 * share), 10**6, text)

                rows.append(trial.compare(eps, tell))
                if options.json:
                    write_json(options.json, {**document, "rows": rows})
    except UserError as error:
        parser.error(str(error))
    console = Console(width=None if sys.stdout.isatty() else 200)
    for table in tables(rows):
        console.print(table)
    for row in rows:
        for name, c in row["suites"].items():
            if c["missed"]:
                print(f"{row['model']}, {row['eps']}: {name} misses images, by referee {c['missed_by']}")
    print(f"Over all {len(rows)} rows (95 % intervals; images of one network in two rows count twice):")
    print(*over_all(rows), sep="\n")


if __name__ == "__main__":
    main()
