"""Hostile inputs to every command: each ends with 0 or with one line and 2, runs nothing, and spoils nothing.

    python benchmarks/storm_inputs.py --minutes 10 --seed 0 --jobs 2 --json OUT   # exit code 1 if anything failed

Every option of every command, as a flag and in a file, with every value of `hostile.VALUES`; and every file of a run,
a sweep, a reproduction, a demo, every format of data, weights of others and figures of `bench`, cut, changed, replaced
or said otherwise, under every command that reads it. An input that takes 10 s of processor time is ended,
and done once more with a minute: what then ends with 0 was work that is allowed, and is counted apart. What is
printed at the end: inputs, and of these tracebacks, imports of what a file names, more than 2 GiB or 10 s, files of
the user touched, and folders that a refused training left behind. `--jobs 4 --seed 7` is four processes with a folder
and a seed each, 7 to 10; `--json` adds the counts of each seed to those that the file has of others. No GPU is used.

Reproduction and demo are the small ones of `storm.py`. `pip install robustsnn[test]` has what writes the data.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import hostile
import storm
import storm_sets
from robustsnn import api
from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.ground.provenance import git_revision
from robustsnn.recipes import running
from robustsnn.reporting import exhibits, page
from robustsnn.runs import demo, sweep
from robustsnn.runs.jobs import attempt

SECONDS, LONG, BYTES, WAIT = 10, 60, 2 << 30, 300
PRELOADED = (torch, api, demo, sweep, page, exhibits)
"""What every child would import anew."""
BENCH = ["bench", "--parts", "data", "--rounds", "1", "--images", "1", "--networks", "vgg_small"]
BENCH += ["--steps", "1", "--batch", "2", "--image", "1x8x8"]
ATTACK = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "2"]
Readers = dict[str, tuple[list[str], ...]]
"""By the folder or file of `kept` that is damaged: the commands that read it."""
READERS: Readers = {
    "run": (
        ["evaluate", "run", *ATTACK, "--resume"],
        ["evaluate", "run", *ATTACK, "--merge"],
        ["evaluate", "run", *ATTACK, "--shard", "1/2"],
        ["evaluate", "run", "--images", "run/adversarial/paper-trail.safetensors"],
        ["evaluate", "kept/run", "--suite", "paper-sr-10", *ATTACK[2:], "--source", "run"],
        ["report", "run", "--out", "page.html", "--card"],
        ["analyze", "run", "--parts", "energy", "--limit", "2"],
        ["train", "tiny.yaml", "--out", "run", "--resume"],
        ["doctor", "--determinism", "run"],
        ["certify", "run", "--limit", "1", "--draws", "5"],
        ["zoo", "add", "run", "--zoo", "new"],
    ),
    "zoo": (
        ["zoo", "list", "zoo"],
        ["leaderboard", "zoo", "--out", "new"],
        ["zoo", "pull", "zoo/run.json", "--out", "new"],
        ["zoo", "judge", "zoo/run.json", "--limit", "1"],
        ["zoo", "add", "kept/run", "--zoo", "zoo"],
    ),
    "runs": (
        ["sweep", "tiny.yaml", "--over", "train.seed=0", "--out", "runs", *ATTACK, "--workers", "1"],
        ["report", "runs/seed=0", "--out", "page.html"],
    ),
    "reproduce": (["reproduce", "p1-fig3", "--out", "reproduce", "--limit", "4", "--workers", "1"],),
    "demo": (["demo", "--out", "demo"],),
    "bench": (["bench", "--compare", "bench/new.json", "kept/bench/new.json"],),
}
OFTEN = {"run": 10, "runs": 3, "zoo": 3, "reproduce": 3, "bench": 3}
"""How often one of these is drawn for one set of data, or for one demo, which takes 20 times as long as the others."""
SMALL = ("reproduce", "demo")
"""Commands whose work is cut, as in `storm.py`, in processes of their own."""


@dataclass(frozen=True)
class Input:
    """A command line, with a config's text or a damaged file, whose place is as below `kept`."""

    arguments: list[str]
    told: str
    text: str = ""
    needs: tuple[str, ...] = ("run", "runs")
    file: Path | None = None
    content: bytes = b""


@dataclass
class Found:
    """What became of the inputs: counts, and the first few inputs of each kind of failure."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, dict[str, str]] = field(default_factory=dict)
    """By the line of the source that raised them, and by form."""
    long: list[str] = field(default_factory=list)
    """Inputs that are allowed and mean more work than 10 s; no failures."""

    def add(self, kind: str, told: str) -> None:
        self.counts[kind] += 1
        if len(self.shown.setdefault(kind, [])) < 40:
            self.shown[kind].append(told)

    def record(self) -> dict[str, Any]:
        """What `--json` says of one seed."""
        commands = {kind: count for kind, count in sorted(self.counts.items()) if kind.startswith("of ")}
        failures = {kind: self.counts[kind] for kind in FAILURES}
        return {"inputs": self.counts["inputs"], **failures, **commands, "failures": self.shown, "long work": self.long}


@dataclass
class Verdict:
    """Of an input: exit code, {failure: more about it}, [a line about an error, the place that made it]."""

    code: int
    kinds: dict[str, str] = field(default_factory=dict)
    lines: list[list[str]] = field(default_factory=list)


def tried(inputs: list[Input], found: Found) -> None:
    """Try inputs one after the other in a child, and those behind one that ended it in the next."""
    while inputs:
        verdicts = _verdicts(inputs, SECONDS)
        if not verdicts:  # the first took too long
            verdicts = _verdicts(inputs[:1], LONG)
            if verdicts and verdicts[0].code == 0:
                found.long.append(_short(inputs[0]))
            else:
                found.add("over 10 s", _short(inputs[0]))
        for one, verdict in zip(inputs, verdicts or [Verdict(1)], strict=False):
            found.counts["inputs"] += 1
            found.counts[f"of {one.arguments[0]}"] += 1
            for kind, more in verdict.kinds.items():
                found.add(kind, f"{_short(one)}{more}")
            for line, site in verdict.lines:
                found.messages.setdefault(site, {}).setdefault(_form(line), f"{_short(one)}: {line}")
        inputs = inputs[max(len(verdicts), 1) :]


def _verdicts(inputs: list[Input], seconds: int) -> list[Verdict]:
    """Of the first inputs, up to one that took longer or was too much."""
    log = Path("verdicts")
    log.write_text("")
    child = os.fork()
    if child == 0:
        _child(inputs, log, seconds)
    last, used = time.monotonic(), ""
    while not os.waitpid(child, os.WNOHANG)[0]:
        now = " ".join(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15])
        if now != used:
            last, used = time.monotonic(), now
        if time.monotonic() - last > WAIT:  # it sleeps
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return [Verdict(*json.loads(line)) for line in log.read_text().splitlines()]


@contextmanager
def _ending() -> Iterator[None]:
    """What a forked process does; it ends behind it, whatever happens, with 0 if it was done."""
    try:
        yield
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(1)


def _short(one: Input) -> str:
    return f"{one.told}: {' '.join(one.arguments)[:250]}"


def _form(line: str) -> str:
    """A message without its numbers and quoted texts, so that those of one kind are told once."""
    return "".join("0" if letter.isdigit() else letter for letter in line)[:90]


def _child(inputs: list[Input], log: Path, seconds: int) -> None:
    """Try inputs, a verdict each, until one has taken too much."""
    with _ending():
        resource.setrlimit(resource.RLIMIT_AS, (BYTES * 2 + _size(),) * 2)
        _alone(inputs[0].arguments[0])
        user = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
        state: tuple[Any, ...] = ()
        for one in inputs:
            if not state or state != (one.needs, _state(one.needs)) or one.file:
                restored(one.needs)
                state = (one.needs, _state(one.needs))
            Path("hostile.yaml").write_text(one.text)
            if one.file is not None:
                one.file.write_bytes(one.content)
                state = ()
            used, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds + 1, resource.RLIM_INFINITY))
            code, said = _run(one.arguments)
            kinds, lines = _judged(code, said)
            sites = [[line, Where.last] for line in lines]
            if (code == 2 or "--dry_run" in one.arguments) and Path("new").exists() and not one.file:
                kinds["folders left"] = f"\n{one.text}"
            shutil.rmtree("new", ignore_errors=True)
            if any(not path.exists() or path.read_bytes() != content for path, content in user.items()):
                kinds["user files touched"] = ""
                for path, content in user.items():
                    path.write_bytes(content)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if most > max(BYTES, before):
                kinds["over 2 GiB"] = f"\n{most >> 20} MiB {said[-300:]}"
            with open(log, "a") as stream:
                stream.write(json.dumps([code, kinds, sites]) + "\n")
            if kinds or most > BYTES // 2:  # the next has a process of its own size
                break


class Where:
    """The line of the source that made the last `UserError`."""

    last = ""


def _noted(error: UserError, *words: object) -> None:
    frame = sys._getframe(1)
    Where.last = f"{frame.f_code.co_filename.rpartition('robustsnn/')[2]}:{frame.f_lineno}"
    ValueError.__init__(error, *words)


def _run(arguments: list[str]) -> tuple[int, str]:
    """A command's exit code and all that it said."""
    Where.last, UserError.__init__ = "", _noted  # type: ignore[method-assign]
    out = os.open("said", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(out, stream)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    try:
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
        code = 1
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            file.flush()
    os.close(out)
    return code, Path("said").read_text("utf-8", "replace")


def _judged(code: int, said: str) -> tuple[dict[str, str], list[str]]:
    """({failure: more about it}, the lines about errors) of a command."""
    kinds: dict[str, str] = {}
    lines = [line for line in said.splitlines() if line.startswith("robustsnn: error: ")]
    if code not in (0, 2) or "Traceback" in said:
        kinds["tracebacks"] = f"\n{said[-1200:]}"
    elif code == 2 and len(lines) != 1:
        kinds["not one line"] = f"\n{said[-600:]}"
    if Path("imported").exists():
        kinds["foreign imports"] = ""
        Path("imported").unlink()
    return kinds, lines


def _alone(command: str) -> None:
    """Make this process one that does all jobs of a command itself, and those of the large ones cut."""
    if command in SMALL:
        storm.make_small()
    for module in (sweep, running, demo):
        module.run_jobs = _here  # type: ignore[attr-defined]


def _here(jobs: Any, **_: Any) -> dict[str, Any]:
    """A sweep's jobs one after the other in this process: a new one for each would load all libraries again."""
    return {job.name: attempt(job) for job in jobs}


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _state(names: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """Every file with its size and when it was written."""
    files = [(path, path.stat()) for name in names for path in (Path(name), *Path(name).rglob("*")) if path.exists()]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in files]


def restored(names: tuple[str, ...]) -> None:
    """These of `kept` as they were made, and no other work."""
    for name in ("new", *(path.name for path in Path("kept").iterdir())):
        shutil.rmtree(name, ignore_errors=True)
    for name in names:
        kept = Path("kept") / name
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copytree(kept, name) if kept.is_dir() else shutil.copyfile(kept, name)


@contextmanager
def place() -> Iterator[Readers]:
    """A folder with a run of everything, files of a user, and a module that must not be imported; what reads them."""
    start, readers = Path.cwd(), dict(READERS)
    with tempfile.TemporaryDirectory() as outer:  # so deep that ../.. is in it
        folder = Path(outer) / "a" / "b" / "c"
        folder.mkdir(parents=True)
        os.chdir(folder)
        Path("tiny.yaml").write_text(hostile.told(("train", "seed"), 0, "sparsity"))
        Path("hostile_canary.py").write_text("import pathlib\npathlib.Path('imported').touch()\ndef X(**_): pass\n")
        Path("mine/analysis").mkdir(parents=True)
        for name in ("results.json", "samples.npz", "card.md", "notes.txt", "config.yaml", "analysis/own.json"):
            (Path("mine") / name).write_text(f"a user's {name}")
        Path("mine/link").symlink_to("results.json")
        Path("kept/bench").mkdir(parents=True)
        for command in (  # here, so that what is loaded at first use is there for all children
            ["train", "tiny.yaml", "--out", "kept/run"],
            ["evaluate", "kept/run", *ATTACK, "--save_images"],
            ["analyze", "kept/run", "--parts", "energy,gradients", "--limit", "2"],
            ["report", "kept/run", "--out", "page.html"],
            ["zoo", "add", "kept/run", "--zoo", "kept/zoo"],
            ["zoo", "pull", "kept/zoo/run.json", "--out", "new"],
            ["leaderboard", "kept/zoo", "--out", "new/board"],
        ):
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                if main(command):
                    raise SystemExit(f"{command} failed")
        for command in (
            ["sweep", "tiny.yaml", "--over", "train.seed=0", "--out", "kept/runs", *ATTACK, "--workers", "1"],
            ["reproduce", "p1-fig3", "--out", "kept/reproduce", "--limit", "4", "--workers", "1"],
            ["demo", "--out", "kept/demo"],
            [*BENCH, "--json", "kept/bench/new.json"],
        ):
            _must(command)
        for name, write in storm_sets.WRITERS.items():
            for inner, command in write(Path("kept") / name).items():
                readers[f"{name}/{inner}"] = ([word.format(name) for word in command],)
                _must([word.format(f"kept/{name}") for word in command], allowed=2 if "archive" in inner else 0)
        try:
            yield readers
        finally:
            os.chdir(start)


def _must(command: list[str], allowed: int = 0) -> None:
    """Do a command that ends well, or as it must."""
    child = os.fork()
    if child == 0:
        _alone(command[0])
        os._exit(_run(command)[0])
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != allowed:
        raise SystemExit(f"{command} failed:\n{Path('said').read_text()}")
    shutil.rmtree("new", ignore_errors=True)


def inputs(draws: random.Random, readers: Readers) -> Iterator[Input]:
    """Options and files in a random order, without end.

    A kind of file is drawn first, so that one of hundreds of recordings does not take the place of a run's weights.
    """
    own = [(path, name) for name, path in hostile.own_options()]
    every = [(path, "natural") for path in hostile.options()] + [(p, "natural" if n == "model" else n) for p, n in own]
    flags = [(c, a) for c, actions in hostile.flags().items() for a in actions if a.option_strings or a.required]
    texts = [text for text in hostile.TEXTS if "\0" not in text and "hostile_canary" not in text]
    texts += ["mine", "mine/results.json", "mine/link", "mine/new/deep"]
    others = [path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()]
    files: dict[str, list[Path]] = {}
    for path in sorted(Path("kept").rglob("*")):
        if path.is_file():
            below = path.relative_to("kept")
            name = next(str(above) for above in (below, *below.parents) if str(above) in readers)
            files.setdefault(name, []).append(below)
    often = [name for name in files for _ in range(OFTEN.get(name, 1))]
    while True:
        kind = draws.randrange(3)
        if kind == 0:
            path, objective = draws.choice(every)
            text = hostile.told(path, draws.choice(hostile.VALUES), objective)
            yield Input(["train", "hostile.yaml", "--out", "new"], text.replace("\n", "; ")[-300:], text)
        elif kind == 1:
            command, action = draws.choice(flags)
            yield Input(_flagged(command, action, draws.choice(texts)), "flag")
        else:
            name = draws.choice(often)
            file, number = draws.choice(files[name]), draws.randrange(1 << 30)
            content = hostile.damaged((Path("kept") / file).read_bytes(), others, random.Random(number))
            for arguments in draws.sample(readers[name], min(2, len(readers[name]))):
                yield Input(list(arguments), f"{file} ({number})", "", (name,), file, content)


def _flagged(command: str, action: argparse.Action, text: str) -> list[str]:
    """A command line of a command with one hostile argument; without work where the value is allowed."""
    base = {
        "train": ["train", "tiny.yaml", "--out", "new", "--dry_run"],
        "evaluate": ["evaluate", "run", *ATTACK],
        "analyze": ["analyze", "run", "--parts", "energy", "--limit", "2"],
        "sweep": ["sweep", "tiny.yaml", "--over", "train.seed=0", "--out", "runs", "--workers", "1"],
        "report": ["report", "run", "--out", "page.html"],
        "reproduce": ["reproduce", "p1-table2", "--scale", "full"],
        "bench": BENCH,
        "demo": ["demo", "--out", "run", "--seed", "0"],
        "certify": ["certify", "run", "--limit", "1", "--draws", "5"],
        "leaderboard": ["leaderboard", "kept/zoo", "--out", "new"],
        "zoo": ["zoo", "add", "run", "--zoo", "new"],
    }.get(command, [command])
    if action.option_strings:
        return [*base, action.option_strings[-1], *([text] if action.nargs != 0 else [])]
    return [base[0], text, *base[2:]]


def storming(minutes: float, seeds: Sequence[int]) -> dict[int, Found]:
    """All that fits in the time, by seed; each in a process and a folder of its own."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with place() as readers:
        until, made = time.monotonic() + 60 * minutes, Path.cwd()
        for seed in seeds:
            folder = made.parents[2] / str(seed) / "b" / "c"
            shutil.copytree(made, folder, symlinks=True)
            if os.fork() == 0:
                os.chdir(folder)
                with _ending():
                    Path("found").write_bytes(pickle.dumps(_stormed(until, seed, readers)))
        for _ in seeds:
            os.wait()
        return {seed: pickle.loads((made.parents[2] / str(seed) / "b/c/found").read_bytes()) for seed in seeds}


def _stormed(until: float, seed: int, readers: Readers) -> Found:
    endless, found = inputs(random.Random(seed), readers), Found()
    while time.monotonic() < until:
        drawn = list(islice(endless, 60))
        for small in (False, True):
            tried([one for one in drawn if (one.arguments[0] in SMALL) == small], found)
    return found


FAILURES = ("tracebacks", "not one line", "foreign imports", "over 2 GiB", "over 10 s")
FAILURES += ("user files touched", "folders left")


def together(parts: Iterable[Found]) -> Found:
    """What was found with all seeds."""
    whole = Found()
    for part in parts:
        whole.counts += part.counts
        whole.long += part.long
        for kind, told in part.shown.items():
            whole.shown.setdefault(kind, []).extend(told)
        for site, lines in part.messages.items():
            whole.messages.setdefault(site, {}).update(lines)
    return whole


def table(found: Found) -> str:
    """The counts."""
    lines = [f"{kind:20} {found.counts[kind]:7}" for kind in ("inputs", *FAILURES)]
    lines.append(f"{'allowed, over 10 s':20} {len(found.long):7}")
    return "\n".join([*lines, f"{'messages':20} {len(found.messages):7}"])


def drawn(found: Found, count: int, draws: random.Random) -> list[str]:
    """So many messages, each of another line of the source as long as there are enough."""
    sites = draws.sample(sorted(found.messages), min(count, len(found.messages)))
    return [f"[{site}] {draws.choice(sorted(found.messages[site].values()))}" for site in sites]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes, with the seed and those that follow")
    parser.add_argument("--json", type=Path, default=None, help="counts and failures of each seed")
    parser.add_argument("--show", type=int, default=0, help="print so many messages, drawn at random with the seed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    by_seed = storming(options.minutes, range(options.seed, options.seed + options.jobs))
    made = together(by_seed.values())
    print(table(made))
    if options.json is not None:
        content = json.loads(options.json.read_text()) if options.json.exists() else {}
        content |= {f"seed {seed}": {"code": git_revision(), **found.record()} for seed, found in by_seed.items()}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    print(
        "\n".join(drawn(made, options.show, random.Random(options.seed))).encode("utf-8", "backslashreplace").decode()
    )
    for kind, told in made.shown.items():
        print(f"\n{kind}, the first: {told[0]}")
    sys.exit(bool(made.shown))
