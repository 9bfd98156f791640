"""Nothing that a user was sent imports or calls anything: configs, run folders, weights, results, shards.

A name that leads outside the registry is code: typed on the command line it is imported; in a file it is refused,
unless the user says --trust-code. The canaries are a module that leaves a file when it is imported and a command that
does when it is run.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
import yaml

import robustsnn
from robustsnn import names
from robustsnn.bench.options import Options
from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.names.config import Config
from robustsnn.names.parsing import overridden, parse_config
from robustsnn.runs.slurm import Slurm

SOURCE = Path(robustsnn.__file__).parent


def leaves(kind, prefix=()):
    """Every option of a dataclass, groups and their options alike; of free options one that no one knows."""
    for field in fields(kind):
        of = get_type_hints(kind)[field.name]
        inner = next((choice for choice in (of, *get_args(of)) if is_dataclass(choice)), None)
        yield (*prefix, field.name)
        if inner is not None:
            yield from leaves(inner, (*prefix, field.name))
        elif field.name == "options":
            yield from ((*prefix, field.name, name) for name in ("width", "h", "period", "share", "class_path"))


OPTIONS = list(leaves(Config))


def named(kind, prefix=""):
    """{option: kind of what it names} of a dataclass, groups that are absent by default included."""
    for field in fields(kind):
        of = get_type_hints(kind)[field.name]
        inner = next((choice for choice in (of, *get_args(of)) if is_dataclass(choice)), None)
        if inner is not None:
            yield from named(inner, f"{prefix}{field.name}.")
        elif "kind" in field.metadata:
            yield f"{prefix}{field.name}", field.metadata["kind"]


NAMES = dict(named(Config))


@pytest.fixture
def canaries(tmp_path, monkeypatch):
    """Values that would import a module or run a command, and a check that neither happened."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "canary_module.py").write_text(
        f"import pathlib\npathlib.Path({str(folder / 'imported')!r}).touch()\nclass X:\n    def __init__(self, **_):\n"
        f"        pathlib.Path({str(folder / 'called')!r}).touch()\n    __call__ = __init__\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    command = {"args": f"touch {folder / 'pwned'}", "shell": True}
    call = {"class_path": "subprocess.Popen", "init_args": command}
    values = [
        "canary_module.X",
        "canary_module:X",
        {"class_path": "canary_module.X"},
        {"class_path": "canary_module.X", "init_args": {}},
        call,
        [call],
        {"deeper": call},
        {"__class__": "canary_module.X", "_target_": "canary_module.X", "()": "canary_module.X"},
    ]
    yield values
    found = sorted(path.name for path in folder.iterdir() if path.name not in ("canary_module.py", "__pycache__"))
    assert not found
    assert "canary_module" not in sys.modules


def built(config):
    """All that a config is turned into when it is trained, evaluated or analysed."""
    from robustsnn.runs import build

    with suppress(UserError):
        build.build_objective(config.objective)
    with suppress(UserError):
        build.build_optimiser(config.train, torch.nn.Linear(1, 1))
    data = build.build_data(config.data)
    model = build.build_model(config.model, data, config.train.seed)
    build.build_constraints(config.objective, model)


def with_value(path, value):
    document = asdict(Config())
    here = document
    for name in path[:-1]:
        here[name] = here.get(name) or {}
        here = here[name]
    here[path[-1]] = value
    return document


@pytest.mark.parametrize("path", OPTIONS, ids=".".join)
def test_no_option_of_a_config_imports_or_calls(path, canaries):
    for value in canaries:
        with suppress(UserError):
            built(parse_config(with_value(path, value), "sent.yaml"))
        if value == "canary_module:X" and ".".join(path) in NAMES:
            continue  # typed on a command line it is trusted, see below
        with suppress(UserError):
            built(overridden(Config(), {".".join(path): value if isinstance(value, str) else json.dumps(value)}))


@pytest.mark.parametrize("base", [Options(), Slurm(Path("x"))], ids=["bench", "slurm"])
def test_no_option_of_other_commands_imports_or_calls(base, canaries):
    for field in fields(base):
        for value in canaries:
            with suppress(UserError):
                overridden(base, {field.name: value if isinstance(value, str) else json.dumps(value)})


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch pwned']",
        "name: !!python/name:canary_module.X",
        "model: !!python/object/new:canary_module.X {}",
        "model: {options: {width: !!python/module:canary_module }}",
        "class_path: canary_module.X",
        "objective: {attack: canary_module.X}",
    ],
)
def test_no_tag_of_yaml_is_followed(text, canaries, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(text)
    assert main(["train", "c.yaml", "--out", "run"]) == 2
    assert main(["sweep", "c.yaml", "--over", "train.seed=1,2", "--out", "runs"]) == 2
    assert not (tmp_path / "pwned").exists()
    assert len([line for line in capsys.readouterr().err.splitlines() if "error" in line]) == 2


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A run folder with all that there is to send: config, weights, outcomes, results, images, analysis."""
    run = tmp_path_factory.mktemp("sent") / "run"
    small = ["--train.epochs", "1", "--model.steps", "1", "--model.options.width", "0.25", "--train.batch_size", "512"]
    assert main(["train", *small, "--out", str(run)]) == 0
    attack = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "4", "--save_images"]
    assert main(["evaluate", str(run), *attack]) == 0
    assert main(["analyze", str(run), "--parts", "energy,trail", "--limit", "2"]) == 0
    return run


@pytest.mark.parametrize(
    "path", [p for p in OPTIONS if p[-1] in ("options", "width", "name", "attack", "class_path", "model")], ids=".".join
)
@pytest.mark.usefixtures("undrawn", "unchecked")
def test_no_config_of_a_run_folder_imports_or_calls(path, canaries, sent, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    for value in (canaries[0], canaries[2], canaries[4]):
        # Without the analysis, whose figures take most of the time; its own files are spoilt below.
        shutil.copytree(sent, run, ignore=shutil.ignore_patterns("analysis"))
        (run / "config.yaml").write_text(yaml.safe_dump(with_value(path, value)))
        with suppress(UserError):
            main(["evaluate", "run", "--suite", "paper-trail", "--eps", "8/255", "--limit", "1"])
        main(["report", "run", "--out", "page.html"])
        main(["train", "run/config.yaml", "--out", "other", "--train.epochs", "0"])
        shutil.rmtree(run)


class Spring:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_no_other_file_of_a_run_folder_imports_or_calls(canaries, sent, tmp_path, monkeypatch, capsys):
    """Every file of the folder in turn, with the canaries in place of what it holds."""
    monkeypatch.chdir(tmp_path)
    pwned = tmp_path / "pwned"
    names = [path.relative_to(sent) for path in sorted(sent.rglob("*")) if path.is_file()]
    assert {path.suffix for path in names} >= {".json", ".npz", ".safetensors", ".jsonl", ".yaml"}
    for name in names:
        shutil.copytree(sent, tmp_path / "run")
        path = tmp_path / "run" / name
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                held = {key: arrays[key] for key in arrays.files}
            held[next(iter(held))] = np.array([Spring(pwned)], dtype=object)
            np.savez(path, **held)
        elif path.suffix == ".safetensors":
            tensors, about = read_tensors(path, "")
            write_tensors(path, tensors, dict.fromkeys(about, canaries[4]) | {"class_path": "canary_module.X"})
        elif path.suffix in (".json", ".jsonl"):
            document = json.loads(path.read_text().splitlines()[0] if path.suffix == ".jsonl" else path.read_text())
            path.write_text(json.dumps(dict.fromkeys(document, canaries[4])))
        else:
            path.write_text(f"!!python/object/apply:os.system ['touch {pwned}']")
        main(["evaluate", "run", "--suite", "paper-trail", "--eps", "8/255", "--limit", "4", "--resume"])
        main(["evaluate", "run", "--suite", "paper-trail", "--eps", "8/255", "--limit", "4", "--merge"])
        main(["evaluate", "run", "--images", "run/adversarial/paper-trail.safetensors"])
        main(["report", "run", "--out", "page.html", "--card"])
        main(["train", "--out", "run", "--resume"])
        shutil.rmtree(tmp_path / "run")
    assert not pwned.exists()


# Names that lead outside the registry


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module in the current folder that leaves a file when it is imported, and one more that must not be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("canary_module", "other_canary"):
        (tmp_path / f"{name}.py").write_text(f"import pathlib\npathlib.Path({name!r}).touch()\ndef X():\n    pass\n")
    # And under the name that an installed package gave it.
    canary = names.Entry(name="canary", target="canary_module:X", outside=True)
    monkeypatch.setattr(names, "installed", lambda kind: {"canary": replace(canary, kind=kind)})
    yield lambda: (tmp_path / "canary_module").exists()
    assert not (tmp_path / "other_canary").exists()
    for name in ("canary_module", "other_canary"):
        sys.modules.pop(name, None)


def whole(option, name):
    """A config, as a file says it, in which an option names something and what it needs is there."""
    document = with_value(tuple(option.split(".")), name)
    attacks = (document["objective"], "attack"), (document["train"], "validation_attack")
    for group, attack in attacks:
        if group[attack] is not None:
            group[attack] |= {"eps": "1/255"}
    if option.startswith("objective.attack"):
        document["objective"]["name"] = "adversarial"
    return document


def test_every_kind_of_name_that_a_config_says_is_known_to_these_tests():
    kinds = {"model", "encoder", "neuron", "surrogate", "rule", "objective", "constraint", "schedule", "data", "step"}
    assert set(NAMES.values()) == kinds | {"optimiser", "learning_rate"}
    assert {"objective.attack.step", "train.validation_attack.step"} <= NAMES.keys()


@pytest.mark.parametrize("name", ["canary_module:X", "canary"])
@pytest.mark.parametrize("option", NAMES)
def test_a_name_in_a_file_is_refused_and_with_trust_imported(option, name, canary, capsys):
    Path("c.yaml").write_text(yaml.safe_dump(whole(option, name)))
    commands = (
        ["train", "c.yaml", "--out", "run"],
        ["train", "c.yaml", "--dry_run"],
        ["train", "c.yaml", "--model.steps", "2", "--out", "run"],
        ["sweep", "c.yaml", "--over", "train.seed=1,2", "--out", "runs"],
    )
    for command in commands:
        assert main(command) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        for word in ("c.yaml", f"{option}={name}", "import and run canary_module;", "--trust-code"):
            assert word in line
    assert not canary()
    assert not Path("run").exists()
    main(["train", "c.yaml", "--dry_run", "--trust-code"])  # which then says that it is no such thing, or that it fits
    assert canary()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("option", NAMES)
def test_a_name_in_a_run_folder_is_refused(option, canary, sent, capsys):
    for name in ("run", "honest"):
        shutil.copytree(sent, name)
    Path("run/config.yaml").write_text(yaml.safe_dump(whole(option, "canary_module:X") | {"provenance": {}}))
    attack = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "1"]
    commands = (
        ["evaluate", "run", *attack],
        ["evaluate", "run", *attack, "--shard", "1/2"],
        ["evaluate", "run", *attack, "--merge"],
        ["evaluate", "run", *attack, "--resume"],
        ["evaluate", "honest", "--suite", "paper-sr-10", *attack[2:], "--source", "run"],
        ["evaluate", "run", "--images", "run/adversarial/paper-trail.safetensors"],
        ["analyze", "run", "--parts", "energy"],
        ["train", "run/config.yaml", "--out", "run", "--resume"],
    )
    for command in commands:
        assert main(command) == 2
        assert "--trust-code" in capsys.readouterr().err
    main(["report", "run", "--out", "page.html", "--card"])  # reads what was saved, and makes nothing of it
    main(["train", "--out", "run", "--resume"])  # of the defaults: another config, which is compared and no more
    assert "another config" in capsys.readouterr().err
    assert not canary()


@pytest.mark.parametrize("option", ["model.name", "data.name", "model.rule.name"])
def test_a_name_in_a_run_folder_is_imported_with_trust(option, canary, sent):
    shutil.copytree(sent, "run")
    Path("run/config.yaml").write_text(yaml.safe_dump(whole(option, "canary_module:X")))
    main(["evaluate", "run", "--suite", "paper-trail", "--eps", "8/255", "--limit", "1", "--trust-code"])
    assert canary()


@pytest.mark.parametrize("option", NAMES)
def test_a_typed_name_is_trusted_and_takes_the_place_of_one_in_a_file(option, canary):
    Path("c.yaml").write_text(yaml.safe_dump(whole(option, "other_canary:X")))
    main(["train", "c.yaml", f"--{option}", "canary_module:X", "--dry_run"])
    assert canary()


@pytest.mark.parametrize("option", ["model.name", "objective.attack.step"])
def test_typing_an_option_beside_a_name_does_not_trust_the_name(option, canary, capsys):
    Path("c.yaml").write_text(yaml.safe_dump(whole(option, "canary_module:X")))
    beside = {"model.name": ["--model.options.width", "1"], "objective.attack.step": ["--objective.attack.eps", "0.1"]}
    assert main(["train", "c.yaml", *beside[option], "--out", "run"]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not canary()


def test_names_on_the_command_lines_of_other_commands_are_trusted(canary, sent):
    shutil.copytree(sent, "run")
    main(["evaluate", "run", "--suite", "canary_module:X", "--eps", "8/255"])
    assert canary()


def test_no_registered_name_can_be_taken_by_an_installed_package(monkeypatch):
    canary = names.Entry(target="canary_module:X", outside=True)
    monkeypatch.setattr(names, "installed", lambda kind: dict.fromkeys(names.registered(kind), canary))
    for kind in names.KINDS:
        for name, entry in names.registered(kind).items():
            assert names.find(kind, name) == entry
            assert not entry.outside


# What can import, call or unpickle, by the module or object that it is asked of, and where it may be.
DANGEROUS = {
    "": {"__import__", "eval", "exec", "compile", "import_module"},
    "importlib": {"import_module"},
    "pickle": {"load", "loads", "Unpickler"},
    "ForkingPickler": {"loads"},
    "torch": {"load"},
    "yaml": {"load", "load_all", "unsafe_load", "full_load"},
    "os": {"system", "popen", "execv", "spawnv"},
    "subprocess": {"run", "Popen", "call", "check_call", "check_output"},
    "np": {"load"},
}
ALLOWED = {
    ("__init__.py", "import_module"),  # of a table in the file
    ("cli/commands.py", "import_module"),  # of the commands in the table
    ("names/__init__.py", "import_module"),  # of the registry's entries, and of names that a person typed or trusts
    ("bench/spikingjelly.py", "import_module"),  # of one package
    ("runs/jobs.py", "loads"),  # what this program handed to its own processes
    ("ground/provenance.py", "run"),  # git
    ("interop/frameworks.py", "import_module"),  # of one of four files beside it
    ("runs/adopt.py", "load"),  # weights_only=True, of a file given as --weights
}


def test_what_can_call_is_used_in_known_places_alone():
    """A new use of it has to be looked at, and added here."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            owner, name = "", getattr(node.func, "id", "")
            if isinstance(node.func, ast.Attribute):
                owner, name = getattr(node.func.value, "id", "?"), node.func.attr
            plain = any(k.arg == "allow_pickle" and getattr(k.value, "value", True) is False for k in node.keywords)
            if name in DANGEROUS.get(owner, ()) and not (owner == "np" and plain):
                found.add((str(path.relative_to(SOURCE)), name))
    assert found == ALLOWED
