"""The structure of the package: which room may know which, and what no module does.

The checkers take any folder, and are themselves tested on packages with planted violations.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import robustsnn
from robustsnn.names import registered

SOURCE = Path(robustsnn.__file__).parent

# Lowest first. A room (a module or folder of the package) imports from lower rows and from itself, never from
# its own row or a higher one. The package itself is a facade: it names rooms for type checkers alone, so that
# importing it loads nothing, and no room imports it.
ROWS = (
    {"ground", "statistics"},
    {"names", "records"},
    {"draw"},
    {"neurons", "losses"},
    {"encoders"},
    {"models", "attacks"},
    {"objectives", "data", "interop"},
    {"training", "evaluation", "reporting"},
    {"studies"},
    {"runs"},
    {"api", "bench"},
    {"recipes"},
    {"cli"},
    {"__main__"},
)
# Rooms, and modules of them, that may import less from other rooms than their row allows.
ONLY = {
    "names": {"ground"},
    "records": {"ground", "statistics"},
    "data": {"ground"},
    "draw": {"ground", "records"},
    "reporting": {"ground", "names", "records", "draw"},
    "runs.jobs": {"ground"},
}
# Rooms, and modules of them, that must work, and start fast, without torch.
WITHOUT_TORCH = {
    "ground.errors",
    "ground.units",
    "ground.files",
    "ground.progress",
    "ground.provenance",
    "statistics",
    "names",
    "records",
    "draw",
    "reporting",
    "runs.jobs",
    "runs.grid",
    "runs.slurm",
    "cli",
}
# Folders and files of the package at its top; __pycache__ is none.
MOST_AT_THE_TOP = 25

# Without a docstring still.
UNDOCUMENTED: set[str] = set()

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Import:
    """One import of `module` (dotted), found in the module `importer`."""

    importer: str
    module: str
    line: int
    star: bool = False
    typing_only: bool = False

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain, else ""."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def modules_of(package: Path) -> dict[str, Path]:
    """Dotted name to file, the package's own `__init__` included."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(package: Path) -> Iterator[Import]:
    """All imports of all modules, wherever in a module they are; `from a import b` counts as a.b if that is one."""
    modules = modules_of(package)
    for name, path in modules.items():
        tree = ast.parse(path.read_text("utf-8"))
        unloaded = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
            for statement in node.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (Import(name, alias.name, node.lineno, typing_only=node in unloaded) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    # The package that the dots count from is the module itself if it is an `__init__`.
                    up = node.level - (path.name == "__init__.py")
                    parts = name.split(".")
                    base = ".".join([*parts[: len(parts) - up], *([base] if base else [])])
                for alias in node.names:
                    within = f"{base}.{alias.name}"
                    target = within if within in modules else base
                    yield Import(name, target, node.lineno, alias.name == "*", node in unloaded)


def cycle(package: Path) -> list[str]:
    """A cycle of imports, or nothing. Importing a module also runs the packages that it lies in."""
    graph: dict[str, set[str]] = {name: set() for name in modules_of(package)}
    for found in imports_of(package):
        parts = found.module.split(".")
        for depth in range(1, len(parts) + 1):
            target = ".".join(parts[:depth])
            around = depth < len(parts) and f"{found.importer}.".startswith(f"{target}.")
            if target in graph and not around:
                graph[found.importer].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def room(module: str) -> str:
    """The first name under the package; "" for the package itself."""
    return [*module.split("."), ""][1]


def named(module: str, among: Iterable[str]) -> str:
    """The name of a table under which a module is: its room, or its own without the package; "" if it is under none."""
    own = module.partition(".")[2]
    return next((name for name in among if name and name in (own, room(module))), "")


def wrong_ways(package: Path) -> list[str]:
    """Imports against the order of the rooms, and rooms that the table does not know."""
    rank = {name: i for i, row in enumerate(ROWS) for name in row}
    wrong = [f"{name} is in no row" for name in modules_of(package) if room(name) and room(name) not in rank]
    for found in imports_of(package):
        if found.module.split(".")[0] != package.name:
            continue
        source, target = room(found.importer), room(found.module)
        if found.importer == package.name:
            if not found.typing_only:
                wrong.append(f"{found}, which loads it with the package")
        elif source == target or source not in rank:
            continue
        elif target not in rank or rank[target] >= rank[source]:
            wrong.append(f"{found}, against the order of the rooms")
        elif (name := named(found.importer, ONLY)) and target not in ONLY[name]:
            wrong.append(f"{found}, but {name} may import only {', '.join(sorted(ONLY[name]))}")
    return wrong


def torch_where_none_is_allowed(package: Path) -> list[str]:
    return [
        str(found)
        for found in imports_of(package)
        if named(found.importer, WITHOUT_TORCH) and found.module.split(".")[0] in ("torch", "torchvision")
    ]


def undocumented(package: Path) -> list[str]:
    """Public modules (but empty ones), classes and functions without a docstring."""
    missing = []
    for name, path in modules_of(package).items():
        tree = ast.parse(path.read_text("utf-8"))
        nodes: list[tuple[str, ast.AST]] = [(name, tree)] if tree.body else []
        nodes += [
            (f"{name}.{node.name}", node)
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
        ]
        missing += [name for name, node in nodes if not (ast.get_docstring(node) or "").strip()]  # type: ignore[arg-type]
    return missing


def named_twice(*packages: Path) -> list[str]:
    """Names that classes of two modules have; a name has one meaning, wherever it is read."""
    homes: dict[str, list[str]] = {}
    for package in packages:
        for module, path in modules_of(package).items():
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    homes.setdefault(node.name, []).append(module)
    return [f"{name} is of {', '.join(found)}" for name, found in homes.items() if len(found) > 1]


def keyword(call: ast.Call, name: str) -> object:
    """The constant that a keyword is given, else None."""
    for given in call.keywords:
        if given.arg == name and isinstance(given.value, ast.Constant):
            return given.value.value
    return None


def forbidden(package: Path) -> list[str]:
    """Star imports, grab-bag modules, and anything that may unpickle."""
    wrong = [
        f"{name} is a grab bag" for name in modules_of(package) if name.split(".")[-1] in ("utils", "helpers", "misc")
    ]
    for found in imports_of(package):
        if found.star:
            wrong.append(f"{found} with a star")
        if found.module.split(".")[0] in UNPICKLERS:
            wrong.append(f"{found}, which runs code from files")
    for name, path in modules_of(package).items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module == "torch"
                and any(a.name == "load" for a in node.names)
            ):
                wrong.append(f"{name}:{node.lineno} imports torch.load by name")
            if not isinstance(node, ast.Call):
                continue
            called = dotted(node.func)
            if called == "torch.load" and keyword(node, "weights_only") is not True:
                wrong.append(f"{name}:{node.lineno} calls torch.load without weights_only=True")
            if keyword(node, "allow_pickle"):
                wrong.append(f"{name}:{node.lineno} calls {called} with allow_pickle")
    return wrong


# The package as it is


def test_no_module_imports_itself_by_a_detour():
    assert cycle(SOURCE) == []


def test_rooms_import_one_way():
    assert wrong_ways(SOURCE) == []


def test_the_table_of_rooms_holds_each_once_and_none_that_is_gone():
    rooms = [name for row in ROWS for name in row]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) <= {room(name) for name in modules_of(SOURCE)}
    assert set(ONLY) | WITHOUT_TORCH <= {*rooms, *(name.partition(".")[2] for name in modules_of(SOURCE))}


def test_the_top_can_be_taken_in_at_a_glance():
    assert len([path for path in SOURCE.iterdir() if path.name != "__pycache__"]) <= MOST_AT_THE_TOP


def test_everything_public_is_documented():
    assert set(undocumented(SOURCE)) <= UNDOCUMENTED


def test_nothing_forbidden_is_used():
    assert forbidden(SOURCE) == []


def test_no_two_classes_have_one_name():
    assert named_twice(SOURCE, SOURCE.parent / "robustsnn_papers") == []


def test_no_module_is_hidden_by_something_of_its_name():
    """`import robustsnn.studies.energy.measure as e` is the module, whatever else was imported before."""
    code = "import importlib, sys\n"
    code += f"names = {sorted(name for name in modules_of(SOURCE) if room(name) == 'studies')}\n"
    code += "for name in names: importlib.import_module(name)\n"
    code += "for name in names:\n    parent, _, last = name.rpartition('.')\n"
    code += "    assert getattr(sys.modules[parent], last) is sys.modules[name], name\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_rooms_without_torch_name_it_nowhere():
    assert torch_where_none_is_allowed(SOURCE) == []


def test_rooms_without_torch_do_not_load_it_by_a_detour():
    shown = {"robustsnn.studies.study", *(entry.target.partition(":")[0] for entry in registered("study").values())}
    names = [name for name in modules_of(SOURCE) if named(name, WITHOUT_TORCH) or name in shown]
    assert shown <= set(names)
    assert {"robustsnn.cli", "robustsnn.records.outcome", "robustsnn.reporting.page"} <= set(names)
    code = f"import sys\nfor name in {names}:\n    __import__(name)\n    assert 'torch' not in sys.modules, name\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


# The checkers, on small packages with a violation planted


def plant(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "planted"
    for name, text in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


SOUND = {
    "__init__.py": '"""A package."""\nif TYPE_CHECKING:\n    from planted.attacks import step\n',
    "ground/__init__.py": '"""Ground."""\n',
    "ground/errors.py": '"""Errors."""\n\nclass UserError(ValueError):\n    """Wrong input."""\n',
    "ground/units.py": '"""Units."""\nfrom planted.ground.errors import UserError\ndef _f(): raise UserError\n',
    "neurons/__init__.py": '"""Neurons."""\nfrom .fused import fire as fire\n',
    "neurons/fused.py": '"""Fused."""\nimport torch\nfrom ..ground.units import _f\ndef fire():\n    """Fire."""\n',
    "attacks/__init__.py": '"""Attacks."""\n',
    "attacks/step.py": '"""Step."""\nfrom planted.neurons import fire\nimport planted.ground.units\n',
    "reporting/__init__.py": '"""Report."""\n',
    "reporting/page.py": '"""Page."""\nfrom planted.ground.units import _f\nimport pickletools\n',
}


def test_a_sound_package_passes(tmp_path):
    package = plant(tmp_path, SOUND)
    assert cycle(package) == wrong_ways(package) == undocumented(package) == forbidden(package) == []
    assert torch_where_none_is_allowed(package) == []


@pytest.mark.parametrize(
    ("files", "members"),
    [
        ({"a.py": "import planted.b", "b.py": "import planted.a"}, {"planted.a", "planted.b"}),
        (
            {"a.py": "from planted import b", "b.py": "def f():\n    from planted.a import x"},
            {"planted.a", "planted.b"},
        ),
        ({"a.py": "from . import b", "b.py": "if 1:\n    from .a import x"}, {"planted.a", "planted.b"}),
        (
            {"a.py": "import planted.c.d", "c/__init__.py": "from planted import a", "c/d.py": ""},
            {"planted.a", "planted.c"},
        ),
        ({"c/__init__.py": "from .d import x", "c/d.py": "from planted.c import y"}, {"planted.c", "planted.c.d"}),
        (
            {"a.py": "from .b import x", "b.py": "from .c import x", "c.py": "from .a import x"},
            {"planted.a", "planted.b", "planted.c"},
        ),
    ],
)
def test_a_planted_cycle_is_found(tmp_path, files, members):
    assert set(cycle(plant(tmp_path, {**SOUND, **files}))) == members


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "ground/units.py",
            "from planted.neurons import fire",
            "planted.ground.units:1 imports planted.neurons, against",
        ),
        (
            "ground/units.py",
            "def f():\n    import planted.attacks.step",
            "planted.ground.units:2 imports planted.attacks.step, against",
        ),
        (
            "models/vgg.py",
            "from planted.attacks import step",
            "planted.models.vgg:1 imports planted.attacks.step, against",
        ),
        ("attacks/step.py", "from planted.models import vgg", "planted.attacks.step:1 imports planted.models, against"),
        ("statistics.py", "from .ground.units import _f", "planted.statistics:1 imports planted.ground.units, against"),
        (
            "__init__.py",
            "from planted.ground.errors import UserError",
            "planted:1 imports planted.ground.errors, which loads it",
        ),
        ("ground/errors.py", "from planted import evaluate", "planted.ground.errors:1 imports planted, against"),
        ("data/cifar.py", "from planted.neurons import fire", "data may import only ground"),
        ("names/parsing.py", "from planted.records import outcome", "against the order of the rooms"),
        (
            "reporting/page.py",
            "from ..neurons import fire",
            "reporting may import only draw, ground, names, records",
        ),
        ("novel.py", "", "planted.novel is in no row"),
    ],
)
def test_a_planted_import_the_wrong_way_is_found(tmp_path, name, text, reason):
    (wrong,) = wrong_ways(plant(tmp_path, {**SOUND, name: text}))
    assert reason in wrong


@pytest.mark.parametrize(
    "text", ["import torch.nn", "def f():\n    from torch import nn", "from torch.nn import Linear"]
)
def test_planted_torch_is_found(tmp_path, text):
    for name in ("reporting/page.py", "names/parsing.py"):
        assert len(torch_where_none_is_allowed(plant(tmp_path / name, {**SOUND, name: text}))) == 1
    assert torch_where_none_is_allowed(plant(tmp_path / "allowed", {**SOUND, "runs/build.py": text})) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("x = 1", ["planted.ground.units"]),
        ('"""Module."""\ndef f(): pass', ["planted.ground.units.f"]),
        ('"""Module."""\nclass C:\n    x = 1', ["planted.ground.units.C"]),
        ('""" """\nasync def f(): pass', ["planted.ground.units", "planted.ground.units.f"]),
        ('"""Module."""\ndef _f(): pass\nclass _C: pass', []),
    ],
)
def test_a_planted_gap_in_the_documentation_is_found(tmp_path, text, missing):
    assert undocumented(plant(tmp_path, {**SOUND, "ground/units.py": text})) == missing


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("ground/units.py", "from math import *", "with a star"),
        ("ground/units.py", "import pickle", "runs code from files"),
        ("ground/units.py", "def f():\n    from _pickle import loads", "runs code from files"),
        ("ground/units.py", "import torch\ntorch.load('x')", "without weights_only"),
        ("ground/units.py", "import torch\ntorch.load('x', weights_only=False)", "without weights_only"),
        ("ground/units.py", "from torch import load", "torch.load by name"),
        ("ground/units.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "calls np.load with allow_pickle"),
        ("utils.py", "", "grab bag"),
        ("data/utils.py", "", "grab bag"),
    ],
)
def test_planted_forbidden_things_are_found(tmp_path, name, text, reason):
    (wrong,) = forbidden(plant(tmp_path, {**SOUND, name: text}))
    assert reason in wrong


def test_a_planted_second_class_of_a_name_is_found(tmp_path):
    assert named_twice(plant(tmp_path / "one", SOUND)) == []
    inside = "class Outer:\n    class UserError: pass\n"
    assert named_twice(plant(tmp_path / "inside", {**SOUND, "attacks/step.py": inside})) == []
    (wrong,) = named_twice(plant(tmp_path / "two", {**SOUND, "attacks/step.py": "class UserError: pass"}))
    assert wrong == "UserError is of planted.attacks.step, planted.ground.errors"


def test_what_is_safe_is_let_through(tmp_path):
    lines = ("import torch, pickletools", "torch.load('x', weights_only=True)", "np.load('x', allow_pickle=False)")
    text = "\n".join(lines)
    assert forbidden(plant(tmp_path, {**SOUND, "ground/units.py": text})) == []
