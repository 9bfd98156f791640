"""Hostile inputs to every command: each ends with 0 or with one line and 2, runs nothing, and spoils nothing.

    python benchmarks/storm_inputs.py --minutes 10 --seed 0 --json OUT   # exit code 1 if anything failed

Every option of every command, as a flag and in a file, with every value of `hostile.VALUES`; and every file of a run,
a sweep, a reproduction, a demo, every format of data, weights of others and figures of `bench`, cut, changed, replaced
or said otherwise, under every command that reads it. Each input has a process of its own, which is ended after 10 s of
processor time. What is printed at the end: inputs, and of these tracebacks, imports of what a file names, more than
2 GiB or 10 s, files of the user touched, and folders that a refused training left behind.

Reproduction and demo are the small ones of `storm.py`. `pip install robustsnn[test]` has what writes the data.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import hostile
import storm
import storm_sets
from robustsnn import api
from robustsnn.cli import main
from robustsnn.recipes import running
from robustsnn.reporting import exhibits, page
from robustsnn.runs import demo, sweep
from robustsnn.runs.jobs import attempt

SECONDS, BYTES = 10, 2 << 30
PRELOADED = (torch, api, demo, sweep, page, exhibits)
"""What every child would import anew."""
ATTACK = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "2"]
READERS: dict[str, tuple[list[str], ...]] = {
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
    ),
    "runs": (
        ["sweep", "tiny.yaml", "--over", "train.seed=0", "--out", "runs", *ATTACK, "--workers", "1"],
        ["report", "runs/*", "--out", "page.html"],
    ),
    "reproduce": (["reproduce", "p1-fig3", "--out", "reproduce", "--limit", "4", "--workers", "1"],),
    "demo": (["demo", "--out", "demo"],),
    "bench": (["bench", "--compare", "bench/new.json", "kept/bench/new.json"],),
}
"""By the folder of `kept` whose files are damaged: what reads them. Data and weights are added when written."""
SMALL = ("reproduce", "demo")
"""Commands whose work is cut, as in `storm.py`."""


@dataclass
class Found:
    """What became of the inputs: counts, and the first few inputs of each kind of failure."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, told: str = "") -> None:
        self.counts[kind] += 1
        if told and len(self.shown.setdefault(kind, [])) < 40:
            self.shown[kind].append(told)


def tried(arguments: list[str], found: Found, what: str) -> int:
    """Run a command in a child here; counts how it ended, and returns its exit code."""
    found.counts["inputs"] += 1
    Path("said").unlink(missing_ok=True)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(arguments)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - started > 12 * SECONDS:  # it sleeps, or the machine is busy
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGKILL, -signal.SIGXCPU):
        found.add("over 10 s", f"{what}: {' '.join(arguments)[:200]}")
        return code
    said = Path("said").read_text("utf-8", "replace") if Path("said").exists() else ""
    lines = [line for line in said.splitlines() if line.startswith("robustsnn: error: ")]
    if usage.ru_maxrss * 1024 > BYTES:
        found.add("over 2 GiB", f"{what}: {' '.join(arguments)[:200]}")
    if code not in (0, 2) or "Traceback" in said:
        found.add("tracebacks", f"{what}: {' '.join(arguments)[:200]}\n{said[-1200:]}")
    elif code == 2 and len(lines) != 1:
        found.add("not one line", f"{what}: {' '.join(arguments)[:200]}\n{said[-600:]}")
    for line in lines:
        found.messages.setdefault(_form(line), f"{what}: {line}")
    if Path("imported").exists():
        found.add("foreign imports", what)
        Path("imported").unlink()
    return code


def _form(line: str) -> str:
    """A message without its numbers and quoted texts, so that those of one kind are told once."""
    return "".join("0" if letter.isdigit() else letter for letter in line)[:90]


def _run(arguments: list[str]) -> None:
    """The child: the command, with all it says in the file `said`."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        limit = BYTES * 2 + _size()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if arguments[0] in SMALL:
            storm.make_small()
        for module in (sweep, running, demo):
            module.run_jobs = _here  # type: ignore[attr-defined]
        out = os.open("said", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(out, stream)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _here(jobs: Any, **_: Any) -> dict[str, Any]:
    """A sweep's jobs one after the other in this process: a new one for each would load all libraries again."""
    return {job.name: attempt(job) for job in jobs}


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@contextmanager
def place() -> Iterator[None]:
    """A folder with a run of everything, files of a user, and a module that must not be imported."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as outer:  # so deep that ../.. is in it
        folder = Path(outer) / "a" / "b" / "c"
        folder.mkdir(parents=True)
        os.chdir(folder)
        Path("tiny.yaml").write_text(hostile.told(("train", "seed"), 0, "sparsity"))
        Path("hostile_canary.py").write_text("import pathlib\npathlib.Path('imported').touch()\ndef X(**_): pass\n")
        (Path("mine") / "analysis").mkdir(parents=True)
        for name in ("results.json", "samples.npz", "card.md", "notes.txt", "config.yaml", "analysis/own.json"):
            (Path("mine") / name).write_text(f"a user's {name}")
        Path("mine/link").symlink_to("results.json")
        Path("kept/bench").mkdir(parents=True)
        for command in (
            ["train", "tiny.yaml", "--out", "kept/run"],
            ["evaluate", "kept/run", *ATTACK, "--save_images"],
            ["analyze", "kept/run", "--parts", "energy,gradients", "--limit", "2"],
            ["sweep", "tiny.yaml", "--over", "train.seed=0", "--out", "kept/runs", *ATTACK, "--workers", "1"],
            ["reproduce", "p1-fig3", "--out", "kept/reproduce", "--limit", "4", "--workers", "1"],
            ["demo", "--out", "kept/demo"],
            ["bench", "--parts", "data", "--rounds", "1", "--images", "1", "--json", "kept/bench/new.json"],
        ):
            _must(command)
        for name, write in storm_sets.WRITERS.items():
            for inner, command in write(Path("kept") / name).items():
                READERS[f"{name}/{inner}"] = ([word.format(name) for word in command],)
                _must([word.format(f"kept/{name}") for word in command], allowed=2 if "archive" in inner else 0)
        try:
            yield
        finally:
            os.chdir(before)


def _must(command: list[str], allowed: int = 0) -> None:
    """Run a command that ends well, or as it must."""
    child = os.fork()
    if child == 0:
        _run(command)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != allowed:
        raise SystemExit(f"{command} failed:\n{Path('said').read_text()}")
    for name in ("new", "said"):
        shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink(missing_ok=True)


def restored(*names: str) -> None:
    """These folders as they were made, and no other work."""
    for name in ("new", *{name.split("/")[0] for name in READERS}):
        shutil.rmtree(name, ignore_errors=True)
    for name in names:
        kept = Path("kept") / name
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copytree(kept, name) if kept.is_dir() else shutil.copyfile(kept, name)


def reader_of(path: Path) -> str:
    """Which of `READERS` reads a file of `kept`."""
    below = path.relative_to("kept")
    return next(str(name) for name in (below, *below.parents) if str(name) in READERS)


def inputs(draws: random.Random) -> Iterator[tuple[str, Any]]:
    """("option", arguments and a config's text) or ("file", its path and a seed), without end, in a random order.

    A kind of file is drawn first, so that one of hundreds of recordings does not take the place of a run's weights.
    """
    own = [(path, name) for name, path in hostile.own_options()]
    every = [(path, "natural") for path in hostile.options()] + [(p, "natural" if n == "model" else n) for p, n in own]
    flags = [(c, a) for c, actions in hostile.flags().items() for a in actions if a.option_strings or a.required]
    files: dict[str, list[Path]] = {}
    for path in sorted(Path("kept").rglob("*")):
        if path.is_file():
            files.setdefault(reader_of(path), []).append(path)
    often = [name for name in files for _ in range(10 if name == "run" else 4 if "/" not in name else 1)]
    texts = [text for text in hostile.TEXTS if "\0" not in text and "hostile_canary" not in text]
    texts += ["mine", "mine/results.json", "mine/link", "mine/new/deep"]
    while True:
        kind = draws.randrange(3)
        if kind == 0:
            path, objective = draws.choice(every)
            value = draws.choice(hostile.VALUES)
            yield "option", (["train", "hostile.yaml", "--out", "new"], hostile.told(path, value, objective))
        elif kind == 1:
            command, action = draws.choice(flags)
            text = draws.choice(texts)
            yield "option", (_flagged(command, action, text), "")
        else:
            yield "file", (draws.choice(files[draws.choice(often)]), draws.randrange(1 << 30))


def _flagged(command: str, action: argparse.Action, text: str) -> list[str]:
    """A command line of a command with one hostile argument; without work where the value is allowed."""
    base = {
        "train": ["train", "tiny.yaml", "--out", "new", "--dry_run"],
        "evaluate": ["evaluate", "run", *ATTACK],
        "analyze": ["analyze", "run", "--parts", "energy", "--limit", "2"],
        "sweep": ["sweep", "tiny.yaml", "--over", "train.seed=0", "--out", "runs", "--workers", "1"],
        "report": ["report", "run", "--out", "page.html"],
        "reproduce": ["reproduce", "p1-table2", "--scale", "full"],
        "bench": ["bench", "--parts", "data", "--rounds", "1", "--images", "1"],
        "demo": ["demo", "--out", "run", "--seed", "0"],
    }.get(command, [command])
    if action.option_strings:
        return [*base, action.option_strings[-1], *([text] if action.nargs != 0 else [])]
    return [base[0], text, *base[2:]]


def storming(minutes: float, seed: int, most: int | None = None) -> Found:
    """All that fits in the time."""
    draws, found = random.Random(seed), Found()
    with place():
        user = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
        until = time.monotonic() + 60 * minutes
        for kind, what in inputs(draws):
            if time.monotonic() > until or found.counts["inputs"] >= (most or sys.maxsize):
                break
            if kind == "option":
                arguments, text = what
                restored("run", "runs")
                Path("hostile.yaml").write_text(text)
                code = tried(arguments, found, text.replace("\n", "; ")[-300:] if text else "flag")
                if code == 2 and Path("new").exists():
                    found.add("folders left", " ".join(arguments)[:200] + text)
                told = " ".join(arguments)[:200]
            else:
                path, number = what
                bad = random.Random(number)
                content = hostile.damaged(path.read_bytes(), [*user.values()], bad)
                name = reader_of(path)
                target = path.relative_to("kept")
                told = f"{target} ({number})"
                for arguments in bad.sample(READERS[name], min(2, len(READERS[name]))):
                    restored(name)
                    target.write_bytes(content)
                    tried(list(arguments), found, told)
            if any(not p.exists() or p.read_bytes() != before for p, before in user.items()):
                found.add("user files touched", told)
                for p, before in user.items():
                    p.write_bytes(before)
    return found


def table(found: Found) -> str:
    """The counts, and what failed."""
    kinds = ("inputs", "tracebacks", "not one line", "foreign imports", "over 2 GiB", "over 10 s")
    lines = [f"{kind:20} {found.counts[kind]:7}" for kind in (*kinds, "user files touched", "folders left")]
    return "\n".join([*lines, f"{'messages':20} {len(found.messages):7}"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="counts, failures and one message of each form")
    options = parser.parse_args()
    out = None if options.json is None else options.json.absolute()
    torch.set_num_threads(1)
    made = storming(options.minutes, options.seed)
    print(table(made))
    if out is not None:
        content = {"counts": made.counts, "failures": made.shown, "messages": sorted(made.messages.values())}
        out.write_text(json.dumps(content, indent=1))
    for kind, told in made.shown.items():
        print(f"\n{kind}, the first: {told[0]}")
    sys.exit(bool(made.shown))
