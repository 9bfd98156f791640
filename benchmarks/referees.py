"""What a suite of ours leaves standing, and what published attack packages still break of it.

    python -m venv referees && . referees/bin/activate      a fresh environment; the package does not need any of it
    pip install torch==2.13.0                               first, so that nothing below brings another
    pip install -e .
    pip install --no-deps -r benchmarks/requirements-referees.txt
    pip install requests tqdm GitPython                     all that they import; torchattacks asks for more

    python benchmarks/referees.py --models vanilla SR AT "SR*"
    python benchmarks/referees.py --models VGG-11 WRN-16-4 "WRN-16-4 AT" --precision bfloat16

The networks are trained into --out/runs, or taken from there: the demo's four on digits, and large ones briefly
on drawn images. Every referee runs its package's own code on the network's own autograd gradient and attacks
the test images that are classified correctly; the four parts of AutoAttack (standard) follow one another, each on what
is left, as there. All results are judged here: within eps (+1e-6, in float64), in [0, 1], and misclassified by a fresh
forward pass. "Missed" are images that our suite leaves standing and some referee breaks.

The network is wrapped before a referee sees it, to count passes. The wrapper is needed for another reason too:
torchattacks takes images for normalised ones if the network has attributes `mean` and `std`, as ours has.

Outcomes are kept in --out/outcomes, named by all that they depend on; an interrupted call continues. With
--precision bfloat16 it is the network under autocast that is attacked, by referees and by us.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import robustsnn
from arguments import THREADS_HELP, Parser, context, output, positive
from robustsnn import demo
from robustsnn.attacks.threat import TOLERANCE, Linf
from robustsnn.bench.machine import quiet
from robustsnn.bench.show import heading
from robustsnn.bench.timing import clock
from robustsnn.build import suite
from robustsnn.config import Config, DataConfig, ModelConfig, SurrogateConfig, TrainConfig
from robustsnn.errors import UserError
from robustsnn.evaluation import run_suite
from robustsnn.files import write_arrays, write_json
from robustsnn.losses import correct, margin
from robustsnn.modes import frozen, precision
from robustsnn.progress import Display, Progress
from robustsnn.runs import load_run, train_run
from robustsnn.units import fraction, show_fraction

try:
    import eagerpy
    import foolbox
    import pyautoattack
    import torchattacks
except ImportError as error:
    sys.exit(f"referees.py: a referee cannot be used ({error}); see the first lines of this file for the installation")

CPU = torch.device("cpu")
PACKAGES = {"torchattacks": torchattacks, "pyautoattack": pyautoattack, "foolbox": foolbox, "eagerpy": eagerpy}

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, x, y) -> attacked images."""


@dataclass(frozen=True)
class Subject:
    """A network under test: how it is trained, how many test images are attacked and within which radii."""

    config: Config
    n: int
    eps: tuple[str, ...]
    cost: float = 1.0  # of a forward pass against a digits network, for the estimate of the time left


@dataclass(frozen=True)
class Referee:
    """An attack of another package; `key` tells all its settings but eps and seed."""

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
    forwards: int
    backwards: int


class Counted(nn.Module):
    """The network in a precision, counting images that pass forward and gradients that come back."""

    def __init__(self, model: nn.Module, name: str, tell: Callable[[int], None] = lambda forwards: None) -> None:
        super().__init__()
        self.model, self.precision, self.tell = model, name, tell
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        with precision(self.precision, CPU):
            logits = self.model(x).float()
        self.forwards += len(x)
        self.tell(self.forwards)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def subjects() -> dict[str, Subject]:
    """The demo's networks, and large ones trained just long enough to be accurate."""
    made = {name: Subject(config, 360, ("40/255", "16/255")) for name, config in demo.configs().items()}
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


def referees(eps: float, seed: int) -> list[Referee]:
    """All referees for Linf balls of radius eps."""

    def pgd(steps: int) -> Attack:
        alpha = 2.5 * eps / steps
        return lambda model, x, y: torchattacks.PGD(model, eps=eps, alpha=alpha, steps=steps)(x, y)

    def apgd(loss: str) -> Attack:
        return lambda model, x, y: torchattacks.APGD(model, eps=eps, steps=100, seed=seed, loss=loss)(x, y)

    def auto(part: str) -> Attack:
        def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            made = pyautoattack.AutoAttack(model, norm="Linf", eps=eps, seed=seed, version="standard")
            made.verbose, made.attacks_to_run = False, [part]
            return made.run_standard_evaluation(x, y, batch_size=len(x))[0]

        return run

    def fool(make: Callable[..., Any], **settings: Any) -> Attack:
        def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            seen = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
            attack = make(random_start=True, **settings)
            return attack(seen, x, foolbox.criteria.Misclassification(y), epsilons=eps)[1]

        return run

    made = [
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
    for part, cost in (("apgd-ce", 300), ("apgd-t", 1000), ("fab-t", 1000), ("square", 2000)):
        made.append(Referee(f"AA {part}", f"AutoAttack standard, {part}", auto(part), cost, parts))
        parts = (*parts, f"AA {part}")
    return made


def digest(*parts: Any) -> str:
    """Of tensors and of what has a repr."""
    made = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            made.update(part.detach().contiguous().flatten().view(torch.uint8).numpy().data)
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
    return (~correct(logits, y) & allowed).numpy(), margin(logits, y).numpy(), distance.numpy()


def timer(device: torch.device = CPU) -> float:
    return time.process_time() if clock(device) == "processor" else time.perf_counter()


class Trial:
    """A trained network, its test images and the folder of outcomes."""

    def __init__(self, name: str, subject: Subject, options: argparse.Namespace) -> None:
        run = options.out / "runs" / name.lower().replace("*", "-at").replace(" ", "-")
        with Display(20) as display:
            train_run(subject.config, run, resume=True, progress=display)  # at once, if it is there
        _, network, data = load_run(run)
        self.name, self.subject, self.options = name, subject, options
        self.network = network.to(CPU)
        self.x, self.y = data.test.take(options.n or subject.n).floats()
        judged = Counted(self.network, options.precision)
        with frozen(judged):
            self.standing = correct(judged(self.x), self.y)
        weights = [value for _, value in sorted(self.network.state_dict().items())]
        self.key = digest(self.x, self.y, *weights, options.precision, torch.__version__)

    def kept(self, label: str, key: tuple[Any, ...], make: Callable[[], Verdict]) -> Verdict:
        """The verdict of that name and key from the folder, or made now."""
        file = f"{self.name} {label}".lower().replace("*", "-at").replace(" ", "-").replace("/", "-")
        path = self.options.out / "outcomes" / f"{file}-{digest(self.key, *key)[:12]}.npz"
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
            verdict = Verdict(np.zeros(n, bool), np.full(n, np.nan), np.zeros(n), 0.0, 0, 0)
            if not bool(at.any()):
                return verdict
            with frozen(model):
                torch.manual_seed(self.options.seed)
                x, y = self.x[at].clone(), self.y[at].clone()
                started = timer()
                z = referee.attack(model, x, y).detach()
                verdict.seconds = timer() - started
                verdict.forwards, verdict.backwards = model.forwards, model.backwards
                found = judge(model, z, self.x[at], self.y[at], eps, f"{self.name}, {referee.name}")
                verdict.broken[at], verdict.margin[at], verdict.distance[at] = found
            return verdict

        package = [(name, module.__version__) for name, module in PACKAGES.items()]
        label = f"{referee.name} {show_fraction(eps)}"
        return self.kept(label, (referee.key, eps, self.options.seed, at, package), make)

    def ours(self, eps: float, progress: Progress) -> Verdict:
        """Our suite, and what it breaks."""
        made, seed = suite(self.options.suite)(eps), self.options.seed

        def make() -> Verdict:
            started = timer()
            model = Counted(self.network, self.options.precision)
            found = run_suite(model, (self.x, self.y), made, batch_size=len(self.x), seed=seed, progress=progress)
            seconds = timer() - started
            broken = found.correct & ~found.standing()
            hit = np.where(found.broken, found.distance, 0).max(0)
            least = np.where(found.attacked, found.margin, -np.inf).max(0)
            return Verdict(broken, least, hit, seconds, model.forwards, model.backwards)

        # The code that the outcome depends on is part of the key, since the version stands still between releases.
        rooms = [Path(robustsnn.__file__).parent / room for room in ("attacks", "evaluation", "neurons")]
        code = digest(*(path.read_text(encoding="utf-8") for room in rooms for path in sorted(room.glob("*.py"))))
        return self.kept(f"{made.name} {show_fraction(eps)}", (repr(made), eps, seed, code), make)

    def compare(self, eps: float, progress: Progress) -> dict[str, Any]:
        """All referees, then ours."""
        skip = self.options.skip_autoattack
        chosen = [r for r in referees(eps, self.options.seed) if not (skip and r.name.startswith("AA"))]
        total = sum(referee.cost for referee in chosen) + OURS
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

        def forward(part: int, whole: int, text: str) -> None:
            progress(round(1e4 * (done + OURS * part / whole)), round(1e4 * total), f"{self.name}, ours: {text}")

        ours = self.ours(eps, forward)
        return self.summary(eps, verdicts, ours)

    def summary(self, eps: float, verdicts: dict[str, Verdict], ours: Verdict) -> dict[str, Any]:
        """One row of the result; counts of images."""
        clean = self.standing.numpy()
        rows: dict[str, Any] = {}
        broken = np.zeros(len(clean), bool)
        autoattack = np.zeros(len(clean), bool)
        for name, verdict in verdicts.items():
            broken |= verdict.broken
            hit = verdict.broken
            if name.startswith("AA"):
                hit = autoattack = autoattack | verdict.broken
            rows[name] = {"standing": int((clean & ~hit).sum()), **costs(verdict)}
        missed = broken & clean & ~ours.broken
        by = {name: np.flatnonzero(missed & v.broken).tolist() for name, v in verdicts.items()}
        return {
            "model": self.name,
            "eps": show_fraction(eps),
            "n": len(clean),
            "clean": int(clean.sum()),
            "referees": rows,
            "standing_after_referees": int((clean & ~broken).sum()),
            "suite": self.options.suite,
            "ours": {"standing": int((clean & ~ours.broken).sum()), **costs(ours)},
            "missed": int(missed.sum()),
            "missed_by": {name: hits for name, hits in by.items() if hits},
            "missed_margins": {
                name: [float(f"{v.margin[i]:.4g}") for i in by[name]] for name, v in verdicts.items() if by[name]
            },
            "only_ours": int((clean & ours.broken & ~broken).sum()),
        }


OURS = 2000  # forward passes per image of our suite, about, for the estimate


def costs(verdict: Verdict) -> dict[str, Any]:
    return {"seconds": round(verdict.seconds, 1), "forwards": verdict.forwards, "gradients": verdict.backwards}


def tables(rows: list[dict[str, Any]]) -> list[Table]:
    """Images that stand, and what it cost."""
    names = list(rows[0]["referees"])
    standing = Table(title="images that stand (AA: after it and the parts before it)")
    cost = Table(title="seconds / thousand gradients (AA square: none, forward passes only)")
    for table in (standing, cost):
        for column in ("model", "eps"):
            table.add_column(column, no_wrap=True)
    heads = ("n", "clean", *names, "all referees", "ours", "only ours breaks", "ours missed")
    for column in heads:
        standing.add_column(column, justify="right")
    for column in (*names, "ours"):
        cost.add_column(column, justify="right")
    for row in rows:
        found = [str(row["referees"][name]["standing"]) for name in names]
        last = (row["standing_after_referees"], row["ours"]["standing"], row["only_ours"])
        missed = f"{row['missed']} ({100 * row['missed'] / row['n']:.1f} %)"
        counts = (str(row["n"]), str(row["clean"]), *found, *map(str, last), missed)
        standing.add_row(row["model"], row["eps"], *counts)
        spent = [*(row["referees"][name] for name in names), row["ours"]]
        cost.add_row(row["model"], row["eps"], *(f"{c['seconds']:.0f} / {c['gradients'] / 1e3:.0f}" for c in spent))
    return [standing, cost]


def main() -> None:
    known = subjects()
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=known, default=list(known), help="default: all")
    parser.add_argument("--n", type=positive, help="test images; default 360 for digits, 64 for the large networks")
    parser.add_argument("--eps", nargs="+", help='radii such as "8/255"; default: each network\'s own')
    parser.add_argument("--seed", type=int, default=0, help="of referees and ours; default %(default)s")
    parser.add_argument("--suite", default="reliable", help="ours; default %(default)s")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default %(default)s")
    parser.add_argument("--skip-autoattack", action="store_true", help="leave out the longest referee")
    parser.add_argument("--out", type=Path, default=Path("runs/referees"), help="runs, outcomes; default %(default)s")
    parser.add_argument("--threads", type=positive, help=THREADS_HELP)
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    quiet()
    versions = {name: module.__version__ for name, module in PACKAGES.items()}
    document = {**context(CPU), **versions, "precision": options.precision, "seed": options.seed}
    print(heading(document), flush=True)
    rows: list[dict[str, Any]] = []
    try:
        suite(options.suite)
        jobs = [(name, fraction(eps)) for name in options.models for eps in options.eps or known[name].eps]
        weights = [known[name].cost * (options.n or known[name].n) for name, _ in jobs]
        with Display(15) as display:
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
        if row["missed"]:
            print(f"{row['model']}, {row['eps']}: missed images by referee {row['missed_by']}")


if __name__ == "__main__":
    main()
