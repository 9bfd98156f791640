"""Small mistakes planted in the source, one at a time: does a test notice?

    python benchmarks/mutants.py src/robustsnn/evaluation/running.py --minutes 10 --json OUT

A file of the room `evaluation` is judged by tests/evaluation, and by what `--tests` names. The tests are run once with
the file traced; each mutant then meets those tests alone that reach its line, until one fails.
What no test notices is printed. A mutant may survive because it changes nothing that can be seen: look at it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import hypothesis
import numpy
import pytest
import scipy.stats
import torch

from mutations import Mutant, mutants

ROOT = Path(__file__).parents[1]
PRELOADED = (numpy, scipy.stats, torch)
"""What every child would import anew: most of the time of a short test."""


@dataclass
class Reached:
    """Which lines of the traced files each test reaches, and how long it takes."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    imported: set[tuple[str, int]] = field(default_factory=set)

    def tests(self, path: str, lines: range) -> list[str]:
        """The tests that reach one of the lines; after them, if the import does, all others that reach the file.

        Quick ones first, and those of one file by turns with those of others, so that each file is heard early.
        """
        wanted = {(path, line) for line in lines}
        direct = {test for test, found in self.lines.items() if wanted & found}
        others = {test for test, found in self.lines.items() if any(p == path for p, _ in found)} - direct
        turns: Counter[str] = Counter()
        order = []
        for test in sorted(direct | (others if wanted & self.imported else set()), key=self.seconds.__getitem__):
            file = test.split("::")[0]
            order.append((test in others, turns[file], self.seconds[test], test))
            turns[file] += 1
        return [test for *_, test in sorted(order)]


class Trace:
    """A plugin of pytest that fills in `Reached`."""

    def __init__(self, paths: set[str]) -> None:
        self.reached, self.paths = Reached(), paths
        self.now = self.reached.imported
        sys.settrace(self.call)

    def call(self, frame: Any, event: str, _: Any) -> Callable[..., Any] | None:
        return self.line if frame.f_code.co_filename in self.paths else None

    def line(self, frame: Any, event: str, _: Any) -> Callable[..., Any]:
        self.now.add((frame.f_code.co_filename, frame.f_lineno))
        return self.line

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> Iterator[None]:
        self.now = self.reached.lines[item.nodeid] = set()
        began = time.perf_counter()
        sys.settrace(self.call)
        yield
        sys.settrace(None)
        self.reached.seconds[item.nodeid] = time.perf_counter() - began


class Chosen:
    """A plugin of pytest that runs these tests alone, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: i for i, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda i: self.place[i.nodeid])


class Planted(SourceFileLoader):
    """Imports a module from a mutant of its source; nothing is written."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self.source, self.path, "exec")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None


def run(files: list[str], plugin: object) -> int:
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported beforehand
    return int(pytest.main([*options, *files], plugins=[plugin]))


def in_child(work: Callable[[], object], limit: float) -> Any:
    """What `work` returns in a process of its own, as JSON; None if it took longer than `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        child = os.fork()
        if child == 0:
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), 1)
                os.dup2(null.fileno(), 2)
            try:
                answer.write_text(json.dumps(work()))
            except BaseException:
                answer.write_text(json.dumps(traceback.format_exc()))
            os._exit(0)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return json.loads(answer.read_text()) if answer.exists() else "died"
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None


def trace(files: list[str], sources: list[Path]) -> Reached:
    """Run all tests once; RuntimeError unless they pass."""

    def work() -> dict[str, Any]:
        plugin, told = Trace({str(path) for path in sources}), io.StringIO()
        with contextlib.redirect_stdout(told):
            code = run(files, plugin)
        sys.settrace(None)
        lines = {test: sorted(found) for test, found in plugin.reached.lines.items()}
        return {"code": code, "told": told.getvalue()[-2000:], "seconds": plugin.reached.seconds, "lines": lines,
                "imported": sorted(plugin.reached.imported)}  # fmt: skip

    found = in_child(work, 1800)
    if not isinstance(found, dict) or found["code"]:
        raise RuntimeError(
            f"the tests fail without a mutant: {found if isinstance(found, str) else found and found['told']}"
        )
    pairs = {test: {(p, n) for p, n in lines} for test, lines in found["lines"].items()}
    return Reached(found["seconds"], pairs, {(p, n) for p, n in found["imported"]})


def judge(mutant: Mutant, path: Path, reached: Reached, budget: float) -> str:
    """ "killed", "survived", "slow" (killed by the clock) or "unreached"."""
    tests, spent = [], 0.0
    for test in reached.tests(str(path), mutant.lines):
        spent += reached.seconds[test]
        if tests and spent > budget:
            break
        tests.append(test)
    if not tests:
        return "unreached"
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)

    def work() -> int:
        sys.meta_path.insert(0, Planted(name, str(path), mutant.source))
        return run(sorted({test.split("::")[0] for test in tests}), Chosen(tests))

    code = in_child(work, 20 + 3 * min(spent, budget))
    return "slow" if code is None else "survived" if code == 0 else "killed"


def main() -> None:
    from arguments import Parser, output, positive

    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="of the package, relative to the repository's folder")
    parser.add_argument("--tests", nargs="+", default=[], help="files or folders of tests beside the room's own")
    parser.add_argument("--without", nargs="+", default=[], help="test files that are left out, for they are slow")
    parser.add_argument(
        "--minutes", type=positive, default=10, help="how long mutants are made; the trace is beside that"
    )
    parser.add_argument("--seconds", type=positive, default=15, help="of tests per mutant, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the mutants")
    parser.add_argument("--json", type=output)
    args = parser.parse_args()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    sources = [path.resolve() for path in args.files]
    rooms = {f"tests/{path.relative_to(ROOT / 'src' / 'robustsnn').parts[0]}" for path in sources}
    files = [*sorted(room for room in rooms if Path(room).is_dir()), *args.tests]
    files += [f"--ignore={path}" for path in args.without]
    reached = trace(files, sources)
    print(f"{len(reached.seconds)} tests pass in {sum(reached.seconds.values()):.0f} s", flush=True)
    planted = [(path, mutant) for path in sources for mutant in mutants(path.read_text("utf-8"))]
    random.Random(args.seed).shuffle(planted)
    end, counts, left = time.monotonic() + 60 * args.minutes, defaultdict(Counter), []
    for path, mutant in planted:
        if time.monotonic() > end:
            break
        short = str(path.relative_to(ROOT / "src" / "robustsnn"))
        verdict = judge(mutant, path, reached, args.seconds)
        counts[short][verdict] += 1
        if verdict in ("survived", "unreached"):
            left.append(
                {"file": short, "line": mutant.lines.start, "was": mutant.was, "is": mutant.now, "end": verdict}
            )
            print(f"{short}:{mutant.lines.start} {verdict}: {mutant.was}  ->  {mutant.now}", flush=True)
    total = Counter()
    for short, count in sorted(counts.items()):
        total += count
        print(f"{short}: {dict(count)}")
    print(f"of {len(planted)} mutants {total.total()} were tried: {dict(total)}")
    if args.json:
        args.json.write_text(json.dumps({"mutants": len(planted), "counts": counts, "left": left}, indent=2) + "\n")


if __name__ == "__main__":
    main()
