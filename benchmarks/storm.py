"""Kill everything at any moment, go on, and compare every bit.

    python benchmarks/storm.py kills --minutes 20 --json storm-kills.json
    python benchmarks/storm.py pairs --json storm-pairs.json   # two of everything at once on one folder

does small forms of training, evaluation (whole and in shards), analyze, report, sweep, reproduce and the demo, each
once undisturbed. Then each is killed (SIGKILL) at every one of its file operations, and at random instants until the
time is up; it is repeated until it comes to its end; and all files that it left are compared with those of the
undisturbed one, byte by byte. Clock and command line are the same for all, so nothing is left out but the content of
the lock's file, which says who was killed. Printed are, per work: kills, temporary files that they left, those left
after the next command, files under their final names that cannot be read, works that could not be continued, and
files that differ.

The works run in copies of one process that has loaded everything (`fork`), so that a kill costs tenths of a second.
What differs from the command line is how the processes of sweep, reproduce and demo start. Attacks are two steps long
and nothing checks for masking: what is tried here is files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arguments import Parser, output, positive
from robustsnn.attacks import Source, Suite, fgsm, pgd
from robustsnn.attacks.suites import black_box
from robustsnn.data.batches import Splits
from robustsnn.data.digits import digits
from robustsnn.evaluation import Effort, Shard, measure
from robustsnn.ground import provenance
from robustsnn.ground.files import write_json
from robustsnn.ground.ours import LOCK
from robustsnn.ground.tensors import read_tensors
from robustsnn.names.config import Config, ModelConfig, ObjectiveConfig, TrainConfig, TrainingAttackConfig
from robustsnn.recipes import making, running
from robustsnn.recipes.recipe import Look as RecipeLook
from robustsnn.recipes.recipe import Need, Recipe, Subject
from robustsnn.records.exhibit import Exhibit, Words
from robustsnn.reporting.card import write_cards
from robustsnn.reporting.page import write_report
from robustsnn.runs import analyses, demo, folder, sweep
from robustsnn.training import fit
from robustsnn_papers.networks import Network

SLOWEST = 600.0
"""Seconds after which a work counts as hanging."""


# --------------------------------------------------------------------------------------------- the works


def config(name: str = "storm", epochs: int = 3, objective: ObjectiveConfig | None = None) -> Config:
    """A network of a second, with all files that a training writes."""
    train = TrainConfig(epochs=epochs, batch_size=32, select="validation", precision="float32")
    model = ModelConfig(steps=1, options={"width": 0.25})
    return Config(name, model=model, objective=objective or ObjectiveConfig(), train=train)


def train(out: Path) -> None:
    """A training that selects its best epoch."""
    folder.train_run(config(), out / "run", resume=True)


def evaluate(out: Path) -> None:
    """An evaluation with a curve that keeps its images, of a run that is there."""
    folder.evaluate_run(out / "run", "paper-sr-10", "16/255", Effort(3), curve=["8/255"], limit=6, save=True)


def shards(out: Path) -> None:
    """The same in two shards, merged."""
    for index in (1, 2):
        folder.evaluate_run(out / "run", "paper-sr-10", "16/255", Effort(2), limit=6, shard=Shard(index, 2))
    folder.evaluate_run(out / "run", "paper-sr-10", "16/255", Effort(2), limit=6, merge=[])


def analyze(out: Path) -> None:
    """Two studies, one with arrays."""
    analyses.analyze(out / "run", None, ["gradients", "energy"], limit=2)


def report(out: Path) -> None:
    """A page with its tables, and a card."""
    write_report([out / "run"], out / "report.html")
    write_cards([out / "run"])


def sweeping(out: Path) -> None:
    """Two points, attacked on validation images."""
    look = sweep.SweepLook("paper-sr-10", "16/255", limit=4)
    base = replace(config(epochs=2), train=replace(config(epochs=2).train, select="last"))
    check_points(sweep.sweep(base, {"train.seed": ["1", "2"]}, out / "sweep", look=look, workers=2))


def check_points(document: dict[str, Any]) -> None:
    """A point that failed is in the table; here it means: once more."""
    if any("error" in point for point in document["points"]):
        raise RuntimeError(str(document["points"]))


def reproducing(out: Path) -> None:
    """Two networks, one attacked from the other, and a measure."""
    making.reproduce(["p1-fig3"], out / "reproduce", limit=4, workers=2)


def demonstrating(out: Path) -> None:
    """The demo with networks of a second."""
    demo.demo(out / "demo", epochs=1, limit=4)


WORKS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "train": (train, False),
    "evaluate": (evaluate, True),
    "shards": (shards, True),
    "analyze": (analyze, True),
    "report": (report, True),
    "sweep": (sweeping, False),
    "reproduce": (reproducing, False),
    "demo": (demonstrating, False),
}
"""By name, and whether it needs a run that is trained."""


def two_steps(name: str, sources: Sequence[Source] = (), norm: str = "Linf") -> Callable[[float], Suite]:
    """In the place of every suite."""

    def build(eps: float) -> Suite:
        columns = (("FGSM", (fgsm(eps),)), ("PGD", (pgd(eps, steps=2),)))
        return Suite("storm", (*columns, *(black_box(columns, sources) if sources else ())))

    return build


def images(subject: Subject) -> dict[str, int]:
    """A measure."""
    return {"n": len(subject.images)}


def make_small() -> None:
    """Few images, short attacks, a clock that stands still, children that start at once: for this process alone."""
    few = digits()
    cut = Splits(few.train.take(64), few.validation.take(24), few.test.take(12), few.note)
    folder.build_data = lambda *_: cut  # type: ignore[assignment]
    for module in (folder, sweep, running):
        module.suite = two_steps  # type: ignore[attr-defined]
    measure.checks = lambda *_: []  # type: ignore[attr-defined]
    sweep._norms = lambda *_: {"l1": 1.0, "l2": 1.0}  # type: ignore[assignment]
    fit.time = types.SimpleNamespace(perf_counter=lambda: 0.0)  # type: ignore[assignment]
    moment = provenance.datetime(2026, 1, 1, tzinfo=provenance.timezone.utc)
    provenance.datetime = types.SimpleNamespace(now=lambda *_: moment)  # type: ignore[misc,assignment]
    provenance.git_revision = lambda: "storm"  # type: ignore[assignment]
    sys.argv = ["storm"]
    # Processes that start as copies of this one.
    spawned = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: spawned("fork")  # type: ignore[assignment]
    small = config(epochs=2)
    plain = replace(small, train=replace(small.train, select="last"))
    Network.config = lambda self, scale, seed, root=None: replace(  # type: ignore[method-assign]
        plain, name=self.name(), train=replace(plain.train, seed=seed + 7 * (self.defence == "SR"))
    )
    one, other = Network("CIFAR-10", "VGG-11", "SR"), Network("CIFAR-10", "VGG-11")
    made = [
        Need(one, (RecipeLook("paper-sr-10", 8), RecipeLook("paper-sr-10", 8, other)), (images,)),
        Need(other, (RecipeLook("paper-sr-10", 8),)),
    ]

    def exhibit(results: Any, setting: Any) -> Exhibit:
        words = [f"{need.network.name()}: {results[need.network][0]}" for need in made]
        return Exhibit("p1-fig3", "storm", "none", "digits", (Words(tuple(words)),))

    making.named = lambda name: Recipe(name, lambda scale: made, exhibit)  # type: ignore[assignment]

    def configs(seed: int = 0, epochs: int = 1) -> dict[str, Config]:
        attack = TrainingAttackConfig(eps="16/255", alpha="8/255", steps=1)
        kinds = {
            "vanilla": ObjectiveConfig(),
            "SR": ObjectiveConfig("sparsity", lam=0.3, options={"h": 0.1}),
            "AT": ObjectiveConfig("adversarial", attack=attack),
            "SR*": ObjectiveConfig("sparsity", lam=0.1, options={"h": 0.1}, attack=attack),
        }
        return {name: config(name, epochs, objective) for name, objective in kinds.items()}

    demo.configs = configs


# --------------------------------------------------------------------------------------------- the kills


@dataclass(frozen=True)
class Kill:
    """When: at a file operation of one process, counted from 1, or after so many seconds.

    `group`: the processes that it started die with it; otherwise they notice.
    """

    operation: int = 0
    seconds: float = 0.0
    group: bool = True


@dataclass
class Count:
    """What became of one work."""

    kills: int = 0
    at_operations: int = 0
    trials: int = 0
    leftovers_made: int = 0
    leftovers_kept: int = 0
    half: int = 0
    stuck: int = 0
    differ: int = 0
    files: int = 0
    found: list[str] = field(default_factory=list)


def in_a_copy(work: Callable[[Path], None], out: Path, kill: Kill | None = None) -> int:
    """Do a work in a copy of this process; its exit code, or minus the signal that ended it."""
    child = begun(work, out, out.with_suffix(".log"), kill)
    if kill is not None and kill.seconds:
        time.sleep(kill.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL) if kill.group else os.kill(child, signal.SIGKILL)
    ended = waited(child, SLOWEST)
    emptied(child)
    return ended


def begun(work: Callable[[Path], None], out: Path, log: Path, kill: Kill | None = None) -> int:
    """Begin a work in a copy of this process, in a group of its own; its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            counted(out, kill)
            work(out)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def waited(child: int, most: float) -> int:
    """The exit code of a child; 999 for one that hangs."""
    end = time.monotonic() + most
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 999


def emptied(group: int) -> None:
    """Wait for the processes that lost the one which started them: a next command does not come in milliseconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.02)


def counted(out: Path, kill: Kill | None) -> None:
    """Count the operations of this process on files below `out`, into a file; be killed at one of them."""
    place, seen, changes = str(out), [0], ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
    real_sync = os.fsync

    def one(sync: int | None = None) -> None:
        seen[0] += 1
        if kill is None:
            with open(out.with_suffix(".count"), "a") as stream:
                stream.write(f"{seen[0]}\n")
        elif seen[0] == kill.operation:
            if sync is not None and os.path.isfile(f"/proc/self/fd/{sync}"):
                os.ftruncate(sync, os.fstat(sync).st_size // 2)  # so much of it had reached the disk
            os.killpg(0, signal.SIGKILL) if kill.group else os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path, writes = arguments[0] if arguments else None, event in changes
        if writes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(f"{place}/"):
            one()

    def sync(descriptor: int) -> None:
        one(descriptor)
        real_sync(descriptor)

    os.fsync = sync  # type: ignore[assignment]
    sys.addaudithook(heard)


def contents(out: Path) -> dict[str, str]:
    """The digest of every file; of a lock only that it is there."""
    return {
        str(path.relative_to(out)): "" if path.name == LOCK else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def temporary(names: dict[str, str]) -> list[str]:
    """Those that are no results."""
    return [name for name in names if name.endswith((".tmp", ".lock")) and not name.endswith(LOCK)]


def half(out: Path) -> list[str]:
    """Files under their final names that cannot be read."""
    found = []
    for path in sorted(out.rglob("*")):
        try:
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
            elif path.suffix == ".safetensors":
                read_tensors(path, "")
            elif path.suffix == ".npz":
                with np.load(path) as arrays:
                    [arrays[name] for name in arrays.files]
        except Exception as error:
            found.append(f"{path.relative_to(out)}: {error}")
    return found


@dataclass
class Undisturbed:
    """A work as it should be: what it left, how long it took, and how many operations on files its processes made."""

    name: str
    start: Path | None
    files: dict[str, str]
    seconds: float
    operations: int


def undisturbed(name: str, trained: Path, place: Path) -> Undisturbed:
    """Do a work once, and once more over it, which must change nothing."""
    work, needs = WORKS[name]
    out = fresh(place, trained if needs else None)
    out.with_suffix(".count").unlink(missing_ok=True)
    began = time.monotonic()
    if in_a_copy(work, out) != 0:
        raise SystemExit(f"storm.py: {name} fails undisturbed:\n{out.with_suffix('.log').read_text()}")
    seconds = time.monotonic() - began
    operations = max(int(line) for line in out.with_suffix(".count").read_text().split())
    found = contents(out)
    if in_a_copy(work, out) != 0 or contents(out) != found or temporary(found):
        raise SystemExit(f"storm.py: {name} done twice is not {name} done once")
    return Undisturbed(name, trained if needs else None, found, seconds, operations)


def fresh(out: Path, trained: Path | None) -> Path:
    """An empty folder, or one with a trained run in it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if trained is not None:
        shutil.copytree(trained / "run", out / "run")
    return out


def trial(known: Undisturbed, kills: list[Kill], count: Count, out: Path) -> None:
    """Do a work, killed so often, then to its end, and compare."""
    work, _ = WORKS[known.name]
    fresh(out, known.start)
    count.trials += 1
    for kill in kills:
        ended = in_a_copy(work, out, kill)
        if ended == 0:
            break
        count.kills += 1
        count.at_operations += bool(kill.operation)
        count.leftovers_made += len(temporary(contents(out)))
        bad = half(out)
        count.half += len(bad)
        count.found += [f"{known.name} {kill}: half there: {line}" for line in bad]
    if in_a_copy(work, out) != 0:
        count.stuck += 1
        last = out.with_suffix(".log").read_text().strip().splitlines()[-1:]
        count.found.append(f"{known.name} {kills}: cannot go on: {last}")
        return
    now = contents(out)
    count.leftovers_kept += len(temporary(now))
    count.files += len(now)
    differ = [name for name in {**known.files, **now} if known.files.get(name) != now.get(name)]
    count.differ += len(differ)
    count.found += [f"{known.name} {kills}: differs: {name}" for name in differ]


def kills(works: list[str], seconds: float, most: int | None = None, seed: int = 1) -> dict[str, Count]:
    """Every work killed at every file operation in turn, then at random instants, until time or kills are used up."""
    end = time.monotonic() + seconds
    draws = random.Random(seed)
    counts = {name: Count() for name in works}

    def left() -> bool:
        return time.monotonic() < end and (most is None or sum(count.kills for count in counts.values()) < most)

    with tempfile.TemporaryDirectory() as place:
        train(fresh(Path(place) / "warm", None))  # what is loaded at first use is there for all copies
        trained = fresh(Path(place) / "trained", None)
        if in_a_copy(train, trained) != 0:
            raise SystemExit(f"storm.py: training fails:\n{trained.with_suffix('.log').read_text()}")
        out = Path(place) / "out"  # the same for all, since an outcome says where its sources lie
        known = [undisturbed(name, trained, out) for name in works]
        # All the first operations, then all the second, ...; a sample of them where not all can be had.
        planned = [
            (one, [Kill(operation=number, group=bool(number % 2) or one.name in ALONE)])
            for number in range(1, max(one.operations for one in known) + 1)
            for one in known
            if number <= one.operations
        ]
        if most is not None:
            draws.shuffle(planned)
            planned = planned[: max(1, most // 2)]
        for one, kill in planned:
            if left():
                trial(one, kill, counts[one.name], out)
        while left():
            one = draws.choice(known)
            often = [
                Kill(seconds=draws.uniform(0.001, 1.1 * one.seconds), group=draws.random() < 0.5)
                for _ in range(draws.choice((1, 1, 2, 4)))
            ]
            trial(one, often, counts[one.name], out)
    return counts


# --------------------------------------------------------------------------------------------- two at once


@dataclass
class Both:
    """What became of two works that began at once on one folder."""

    tries: int = 0
    refused: int = 0
    waited: int = 0
    failed: int = 0
    differ: int = 0
    found: list[str] = field(default_factory=list)


def both(first: str, second: str, trained: Path, out: Path, tries: int) -> Both:
    """Begin both at once; each ends well or is told who writes. Then both once more: the files of one after the other.

    How much later the second begins goes from 0 to a second, so that it meets the first one anywhere.
    """
    (one, _), (other, _) = WORKS[first], WORKS[second]
    start, count = (trained if any(WORKS[name][1] for name in (first, second)) else None), Both()

    def after() -> dict[str, str]:
        if in_a_copy(one, out) != 0 or in_a_copy(other, out) != 0:
            count.failed += 1
        return contents(out)

    fresh(out, start)
    after()
    wanted = after()
    for number in range(tries):
        fresh(out, start)
        logs = [out.with_suffix(f".{k}.log") for k in (1, 2)]
        children = [begun(one, out, logs[0])]
        time.sleep(number / max(tries - 1, 1))
        children.append(begun(other, out, logs[1]))
        ended = [waited(child, SLOWEST) for child in children]
        count.tries += 1
        told = ["is being written by" in log.read_text() for log in logs]
        for code, refused, log in zip(ended, told, logs, strict=True):
            count.refused += refused
            count.waited += code == 0
            if code != 0 and not refused:
                count.failed += 1
                count.found.append(f"{first} and {second}: {log.read_text().strip().splitlines()[-1:]}")
        now = after()
        count.differ += sum(wanted.get(name) != now.get(name) for name in {**wanted, **now})
    return count


def pairs(tries: int) -> dict[str, Both]:
    """Every two works that write into one run, and two of those that make a folder of their own."""
    with tempfile.TemporaryDirectory() as place:
        train(fresh(Path(place) / "warm", None))
        trained = fresh(Path(place) / "trained", None)
        if in_a_copy(train, trained) != 0:
            raise SystemExit(f"storm.py: training fails:\n{trained.with_suffix('.log').read_text()}")
        names = [(a, b) for k, a in enumerate(ALONE) for b in ALONE[k:]]
        names += [(name, name) for name in WORKS if name not in ALONE]
        return {f"{a} + {b}": both(a, b, trained, Path(place) / "out", tries) for a, b in names}


def pairs_table(found: dict[str, Both]) -> str:
    """A line per pair."""
    keys = ["tries", "refused", "waited", "failed", "differ"]
    rows = [["pair", *keys], *([name, *(getattr(count, key) for key in keys)] for name, count in found.items())]
    return "\n".join("  ".join(f"{cell!s:>{24 if k == 0 else 8}}" for k, cell in enumerate(row)) for row in rows)


ALONE = ("train", "evaluate", "shards", "analyze", "report")
"""Works of one process."""


def table(counts: dict[str, Count]) -> str:
    """A line per work, and their sum."""
    heads = ["work", "kills", "at operations", "left", "left then", "half there", "stuck", "files", "differ"]
    keys = ["kills", "at_operations", "leftovers_made", "leftovers_kept", "half", "stuck", "files", "differ"]
    rows = [[name, *(getattr(count, key) for key in keys)] for name, count in counts.items()]
    rows.append(["all", *(sum(row[k] for row in rows) for k in range(1, len(heads)))])
    wide = [max(len(str(row[k])) for row in [heads, *rows]) for k in range(len(heads))]
    return "\n".join("  ".join(f"{cell!s:>{w}}" for cell, w in zip(row, wide, strict=True)) for row in [heads, *rows])


def main() -> int:
    """Run, print, and end with 1 if anything was lost."""
    parser = Parser(description="Kill everything at any moment, go on, and compare every bit.")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("kills", help="kill works, go on, compare their files")
    part.add_argument("--minutes", type=float, default=10.0, help="bound in time (%(default)s)")
    part.add_argument(
        "--kills", type=positive, default=None, help="so many, at a sample of the operations; null is all"
    )
    part.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    part.add_argument("--seed", type=positive, default=1, help="of the instants (%(default)s)")
    part.add_argument("--json", type=output, default=None, help="add the counts of this seed to this file")
    part = parts.add_parser("pairs", help="begin two works at once on one folder, compare their files")
    part.add_argument("--tries", type=positive, default=3, help="of each pair (%(default)s)")
    part.add_argument("--json", type=output, default=None, help="write the counts to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a copy of a process has one thread
    code = provenance.git_revision()
    make_small()
    if options.part == "pairs":
        found_both = pairs(options.tries)
        print(pairs_table(found_both))
        print("\n".join([line for count in found_both.values() for line in count.found][:20]))
        if options.json is not None:
            write_json(options.json, {name: asdict(count) for name, count in found_both.items()})
        return 1 if any(count.failed or count.differ for count in found_both.values()) else 0
    counts = kills(options.works, 60 * options.minutes, options.kills, options.seed)
    print(table(counts))
    found = [line for count in counts.values() for line in count.found]
    print("\n".join(found[:20]))
    if options.json is not None:
        kept = json.loads(options.json.read_text()) if options.json.exists() else {}
        made = {"code": code, "works": {name: asdict(count) for name, count in counts.items()}}
        write_json(options.json, kept | {f"seed {options.seed}": made})
    return 1 if any(c.differ or c.leftovers_kept or c.half or c.stuck for c in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
