"""README and docs: every block of Python runs, every command line is one that the program takes.

Blocks of a page run in their order, with the names that the page takes as known. What would take minutes is made small
by the changes below, each of which must find its text. A line that needs data or hours is followed to the function
that would do the work.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from helpers import spiking
from robustsnn.cli import COMMANDS, main
from robustsnn.data.digits import digits
from robustsnn.encoders import Direct
from robustsnn.models import vgg
from robustsnn.names import Entry, registered
from robustsnn.neurons import IF

ROOT = Path(__file__).parent.parent
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
TINY = ["--train.epochs", "1", "--train.batch_size", "64", "--model.steps", "2", "--train.precision", "float32"]


def blocks(page: str, *kinds: str) -> list[str]:
    """The code of a page in fences of these kinds."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page].read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [code for kind, code in found if kind in kinds]


PYTHON = {page: "".join(blocks(page, "py", "python")) for page in PAGES if blocks(page, "py", "python")}
SHELL = {page: "".join(blocks(page, "sh", "bash")) for page in PAGES if blocks(page, "sh", "bash")}

# ------------------------------------------------------------------------------------------------ Python

SMALLER: dict[str, list[tuple[str, str]]] = {
    "README.md": [
        ("epochs=12", "epochs=1"),
        ("(model, data.test,", "(model, data.test.take(8),"),
        ('(x, y), suite="reliable"', '(x[:4], y[:4]), suite="paper-trail"'),
    ],
    "docs/explanation/flags.md": [("data.validation,", "data.validation.take(6),")],
    "docs/how-to/use-from-python.md": [
        ("epochs=12", "epochs=1"),
        ('data.test, suite="quick"', 'data.test.take(4), suite="paper-trail"'),
    ],
    "docs/how-to/judge-your-network.md": [('suite="quick"', 'suite="paper-trail"')],
    "docs/how-to/attack-your-own-model.md": [
        ("Mine(...)", "Mine(net, [0.5], [0.25])"),
        ("steps=100", "steps=3"),
        ('suite="reliable"', 'suite="quick"'),
    ],
}


def known(page: str) -> dict[str, Any]:
    """What the blocks of a page take as given."""
    if page == "README.md":
        return {"net": spiking(0, classes=10)}
    x, y = digits().test.take(8).floats()
    if page.endswith("truth.md"):
        torch.manual_seed(0)
        small = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=1, width=0.05).eval()
        return {"model": small, "x": x[0] * 0 + 0.5, "y": 0, "free": None}
    model, other = (spiking(seed, classes=10) for seed in (0, 1))
    given = {"model": model, "test_set": (x, y), "x": x, "y": y, "encoder": Direct(), "T": model.body[1].steps}
    return given | {"net": model, "other": other}


def test_all_changes_are_of_pages_with_code():
    assert set(SMALLER) <= set(PYTHON)
    assert set(PYTHON) >= {"README.md", "docs/how-to/add-a-model.md", "docs/explanation/trail.md"}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("page", [page for page in PYTHON if not page.endswith("add-a-model.md")])
def test_the_blocks_of_a_page_run(page, demo_run, monkeypatch, capsys):
    code = PYTHON[page]
    for text, small in SMALLER.get(page, []):
        assert text in code
        code = code.replace(text, small)
    monkeypatch.chdir(demo_run)
    shutil.rmtree("RUN/analysis", ignore_errors=True)  # of a page before, and of its weights
    names = {"__name__": "page", **known(page)}
    monkeypatch.setitem(sys.modules, "page", ModuleType("page"))  # where dataclasses look for their module
    exec(compile(code, page, "exec"), names)
    printed = capsys.readouterr().out
    assert bool(printed) == ("print(" in code)
    assert page != "README.md" or re.search(r"\d % \[\d", printed)


def test_the_example_of_the_readme_is_short():
    (code,) = blocks("README.md", "python")
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from"))]) <= 10


# --------------------------------------------------------------------------------------------- add a model


@pytest.fixture
def followed(monkeypatch) -> ModuleType:
    """docs/how-to/add-a-model.md, done to the letter: its file is a module, its line is in the table."""
    (file,), (line,) = (blocks("docs/how-to/add-a-model.md", kind) for kind in ("py", "yaml"))
    (path,) = re.findall(r"# src/(\S+)\.py$", file, re.MULTILINE)
    module = ModuleType(path.replace("/", "."))
    module.__file__ = f"{path}.py"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(file, module.__file__, "exec"), module.__dict__)
    ((name, fields),) = yaml.safe_load(line).items()
    assert fields["target"] == f"{module.__name__}:{name}"
    monkeypatch.setitem(registered("model"), name, Entry(**fields, kind="model", name=name))
    return module


def again(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file of tests as a module of its own, so that its tables are made anew."""
    monkeypatch.syspath_prepend((ROOT / "tests" / path).parent)
    spec = importlib.util.spec_from_file_location(f"followed_{Path(path).stem}", ROOT / "tests" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_added_by_the_page_passes_the_tests_that_the_page_names(followed, monkeypatch):
    registry = again("models/test_registry.py", monkeypatch)
    made = [f for name, f in vars(registry).items() if name.startswith("test_")]
    assert len(made) >= 5
    for function in made:
        wanted = {"make": followed.mine, "model": registry.built(followed.mine)}
        function(**{name: wanted[name] for name in inspect.signature(function).parameters})
    again("test_networks.py", monkeypatch).test_trains_is_attacked_and_analysed("mine", "direct")
    recompute = again("models/test_recompute.py", monkeypatch)
    recompute.test_every_registered_network_ends_with_the_same_bits("mine")
    recompute.test_segments_are_the_body_in_order_and_end_with_neurons("mine")


def test_every_test_over_all_models_is_named_by_the_page():
    page, over = (
        PAGES["docs/how-to/add-a-model.md"].read_text(),
        r"""(params=|parametrize\("name", )(names\.)?registered\("model"\)""",
    )
    files = [f for f in (ROOT / "tests").rglob("test_*.py") if "registered" in f.read_text()]
    found = {str(f.relative_to(ROOT)) for f in files if re.search(over, f.read_text())}
    assert len(found) == 4
    assert all(f"`{name}`" in page for name in found)


def test_a_model_added_by_the_page_is_trained_from_the_command_line(followed, tmp_path):
    _, line = re.findall(r"`robustsnn (train .*?)`", PAGES["docs/how-to/add-a-model.md"].read_text())
    assert main([*shlex.split(line), *TINY, "--train.batch_size", "512", "--out", str(tmp_path / "run")]) == 0
    assert "channels: 8" in (tmp_path / "run" / "config.yaml").read_text()


# ----------------------------------------------------------------------------------------- command lines

WORK = {
    "demo": "robustsnn.runs.demo.demo",
    "train": "robustsnn.runs.folder.train_run",
    "sweep": "robustsnn.runs.sweep.sweep",
    "reproduce": "robustsnn.recipes.reproduce",
    "bench": "robustsnn.bench.running.bench",
    "evaluate": "robustsnn.runs.folder.evaluate_together",
    "zoo judge": "robustsnn.runs.zoo.judge",
    "zoo add": "robustsnn.runs.zoo.add",
    "leaderboard": "robustsnn.reporting.board.write_board",
}
"""The function that does the work of a command, where a line is followed up to there alone."""

MEANT = {
    "CONFIG": "cifar10_vgg11_sr",
    "sweep ...": "sweep cifar10_vgg11_sr --over objective.lam=0,0.002 --out runs/any",
    "reliable": "quick",
    "before.json": str(ROOT / "benchmarks/results/bench-growth-cpu.json"),
    "after.json": str(ROOT / "benchmarks/results/bench-growth-cpu.json"),
}
"""What stands for something, or takes long: words of a line, and what is run in their place."""


SHARED = ("arguments.py", "tables.py")
"""Scripts of benchmarks/ that give options to others."""


def lines(page: str) -> list[str]:
    """The commands of a page, without comments and with continued lines joined."""
    joined = SHELL[page].replace("\\\n", " ").splitlines()
    return [stripped for line in joined if (stripped := line.split(" #")[0].split("   (")[0].strip())]


class Reached(Exception):
    """The work of a command would begin."""


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory) -> Path:
    """A folder with one run under all the names that pages give to runs, and another of event data."""
    folder = tmp_path_factory.mktemp("docs")
    small = [*TINY, "--model.options.width", "0.25"]
    assert main(["train", *small, "--out", str(folder / "RUN")]) == 0
    events = ["--data.name", "digit_events", "--model.options.width", "0.1", *TINY, "--data.frames.steps", "2"]
    (folder / "runs").mkdir()
    assert main(["train", *events, "--out", str(folder / "runs/events")]) == 0
    assert main(["train", "--train.seed", "1", *small, "--out", str(folder / "OTHER")]) == 0
    for name in ("demo/at", "runs/sr", "runs/mine", "runs/c10-vgg11-sr", "runs/lambda/lam=0.002_seed=1"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).symlink_to(folder / "RUN", target_is_directory=True)
    for name in ("RUN_max", "RUN_average", "RUN_hybrid"):
        shutil.copytree(folder / "RUN", folder / name)
    (folder / "runs/vanilla").symlink_to(folder / "OTHER", target_is_directory=True)
    return folder


def follow(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command with little data, or up to its work."""
    command = arguments[0]
    assert command in COMMANDS
    two = ["--limit", "2"]
    small = {"evaluate": two, "analyze": [*two, "--parts", "energy"], "certify": [*two, "--draws", "5"]}
    if command == "evaluate" and "--suite" in arguments:
        named = arguments[arguments.index("--suite") + 1].split(",")
        assert {name.removesuffix("-encoded").removesuffix("-8bit") for name in named} <= registered("suite").keys()
    run_here = {"--save_images", "--images", "--compare", "flips"} & set(arguments)
    work = WORK.get(command) or WORK.get(" ".join(arguments[:2]))
    if "slurm" in arguments and command in ("train", "evaluate"):
        work = "robustsnn.cli.executor.submit_jobs"
    if work and not run_here:
        module, name = work.rsplit(".", 1)

        def reached(*_: Any, **__: Any) -> None:
            raise Reached

        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module(module), name, reached)
            # `evaluate my_module:build`: there is no such module here.
            patch.setattr(importlib.import_module("robustsnn.runs.adopt"), "adopt", lambda *_, **__: None)
            with pytest.raises(Reached):
                main(arguments)
        return
    assert main([*arguments, *(small.get(command, []) if "--images" not in arguments else [])]) == 0


def written(line: str) -> Iterator[str]:
    """The words of a line, with its globs filled in."""
    for word in shlex.split(line):
        yield from sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("page", SHELL)
def test_the_command_lines_of_a_page_are_taken(page, demo_run, monkeypatch, capsys):
    monkeypatch.chdir(demo_run)
    assert lines(page)
    for line in lines(page):
        words = line.split()
        if words[0] == "torchrun":
            line = line[line.index("-m robustsnn") + 3 :]
        elif line.startswith("python benchmarks/"):
            script = "".join((ROOT / "benchmarks" / name).read_text() for name in (Path(words[1]).name, *SHARED))
            assert all(f'"{word}"' in script for word in words if word.startswith("--"))
            continue
        elif line.startswith("python3 -m venv"):  # installs: not here
            assert set(re.findall(r"(?:&& )(\S+)", line)) <= {".", "pip", "robustsnn", "pytest"}
            continue
        assert line.startswith("robustsnn "), line
        for text, meant in MEANT.items():
            line = line.replace(text, meant)
        follow(list(written(line))[1:], monkeypatch)
    assert "error" not in capsys.readouterr().err
