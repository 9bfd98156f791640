"""What the commands do to files: those of others stay, one process writes, and what the system refuses is said."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustsnn.cli import COMMANDS, main
from robustsnn.cli.commands import Command
from robustsnn.ground import claim
from robustsnn.ground.errors import Stopped, in_words
from robustsnn.ground.files import write_atomic
from robustsnn.ground.ours import LOCK

CONFIG = "name: x\nprovenance:\n  robustsnn: 0.1.0\n"
TINY = ["--train.epochs", "1", "--train.batch_size", "256", "--model.steps", "1", "--model.options.width", "0.25"]
SWEEP = ["sweep", "c.yaml", "--over", "train.seed=1,2"]


def refused(arguments, capsys):
    """The one line that a command ends with, exit code 2."""
    assert main([str(a) for a in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line != "loading"]
    assert len(lines) == 1, lines
    return lines[0].removeprefix("robustsnn: error: ")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A user's folder, with names that we use too; it is the working directory."""
    texts = {"results.json": "{}", "card.md": "# Mine", "analysis/notes.txt": "n", "analysis/energy.json": "[1]"}
    texts |= {"mine.json": "{}", "report.tex": "\\documentclass{article}", "sweep.json": "[]", "c.yaml": "name: mine"}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    np.savez(tmp_path / "samples.npz", weights=np.ones(3))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--out", "."], ". holds analysis and "),
        (["train", "--out", ".", "--resume"], ". holds analysis and "),
        (["train", "--out", "card.md"], "card.md is no folder"),
        ([*SWEEP, "--out", "."], "sweep.json is there and was not written by robustsnn"),
        ([*SWEEP, "--out", "analysis"], "analysis holds energy.json and 1 more"),
        (["demo", "--out", "."], "results.json is there"),
        (["demo", "--out", "analysis"], "analysis holds energy.json and 1 more"),
        (["reproduce", "p1-fig3", "--out", "."], ". holds analysis and "),
        (["report", "run", "--out", "report.html"], "report.tex is there"),
        (["bench", "--parts", "data", "--json", "mine.json"], "mine.json is there"),
        *(
            ([*command, option, empty], "allowed is the name of a file or a folder")
            for empty in ("", " ")
            for option, command in (
                ("--out", ["train"]),
                ("--out", SWEEP),
                ("--out", ["demo"]),
                ("--out", ["reproduce", "p1-fig3"]),
                ("--out", ["report", "run"]),
                ("--json", ["bench"]),
            )
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_files_of_others_are_refused_and_stay(theirs, arguments, said, capsys):
    before = contents(theirs)
    line = refused(arguments, capsys)
    assert line.startswith(said) or said in line
    assert "give " in line
    assert contents(theirs) == before


@pytest.mark.parametrize(
    ("arguments", "there"),
    [
        (["evaluate", "run", "--suite", "quick", "--eps", "8/255"], "results.json"),
        (["evaluate", "run", "--suite", "quick", "--eps", "8/255"], "samples.npz"),
        (["evaluate", "run", "--suite", "quick", "--eps", "1/255", "--save_images"], "adversarial/quick.safetensors"),
        (["analyze", "run", "--parts", "energy"], "analysis/energy.json"),
        (["analyze", "run", "--parts", "trail,gradients"], "analysis/gradients.npz"),
        (["report", "run", "--out", "page.html"], "../page.csv"),
        (["report", "run", "--out", "page.html", "--card"], "card.md"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_files_of_others_in_a_run_are_refused_and_stay(tmp_path, monkeypatch, arguments, there, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(CONFIG)
    (tmp_path / "run" / there).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / there).write_text("mine")
    before = contents(tmp_path)
    assert f"{Path('run', there).name} is there and was not written by robustsnn" in refused(arguments, capsys)
    assert contents(tmp_path) == before


def test_overwrite_replaces_what_has_to_be_and_nothing_else(theirs, capsys):
    before = contents(theirs)
    assert main(["train", "c.yaml", *TINY, "--out", ".", "--overwrite"]) == 0
    now = contents(theirs)
    assert {name: now[name] for name in before} == before  # none of these is of a training
    new = {"config.yaml", "metrics.jsonl", "weights.safetensors", "state", "state/last.safetensors", LOCK}
    assert {str(name) for name in now.keys() - before.keys()} == new


LINES = {"train": ["train"], "sweep": SWEEP, "demo": ["demo"], "reproduce": ["reproduce", "p1-fig3"]}
HOLD = "import sys, time\nfrom pathlib import Path\nfrom robustsnn.ground.claim import claimed\n"
HOLD += "with claimed(Path('run'), overwrite=True):\n    print('held', flush=True)\n    time.sleep(100)\n"


def test_a_second_command_on_one_folder_is_refused_whatever_it_is(theirs, monkeypatch, capsys):
    """Two of everything at once on one folder: nothing of it is read or written meanwhile."""
    monkeypatch.setattr(claim, "PATIENCE", 0.05)
    (theirs / "run").mkdir()
    (theirs / "run" / "config.yaml").write_text(CONFIG)
    commands = [[*line, "--out", "run"] for line in LINES.values()]
    evaluate = ["evaluate", "run", "--suite", "quick", "--eps", "8/255"]
    commands += [evaluate, [*evaluate, "--shard", "1/2"], [*evaluate, "--merge"], ["analyze", "run"]]
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            before = contents(theirs)
            for command in commands:
                line = refused(command, capsys)
                assert f"run is being written by process {other.pid} on " in line, command
                assert line.endswith("; wait until it is done, or end it, then repeat this command")
            assert contents(theirs) == before
        finally:
            other.kill()


# What the system refuses


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "change its permissions"),
        (errno.EROFS, "can be written to"),
        (errno.ENAMETOOLONG, "give a shorter name"),
        (errno.ELOOP, "links lead in a circle"),
        (errno.ENOTDIR, "a file where a folder is needed"),
        (errno.EISDIR, "a folder where a file is needed"),
        (errno.EEXIST, "a file is where a folder is needed"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "give another place"),
    ],
)
def test_a_write_that_fails_names_the_file_and_what_to_do(tmp_path, monkeypatch, capsys, number, fix):
    def write(arguments):
        write_atomic(tmp_path / "results.json", "{}")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))  # a full disk names no file

    monkeypatch.setattr(Command, "run", property(lambda command: write))
    monkeypatch.setattr(os, "fsync", fail)
    line = refused(["bench"], capsys)
    assert line.startswith(f"{tmp_path / 'results.json'}: {os.strerror(number).lower()}; ")
    assert fix in line
    assert not list(tmp_path.iterdir())


def test_what_is_no_errno_keeps_its_own_words():
    assert in_words(OSError("it\nis broken")) == "it is broken"
    assert in_words(OSError()) == "OSError"
    assert in_words(OSError(errno.EPIPE, "Broken pipe")) == f"[Errno {errno.EPIPE}] Broken pipe"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("circle/run", "circle in a circle|links lead in a circle"),
        ("file/run", "a file where a folder is needed"),
        ("x" * 300, "give a shorter name"),
        ("file", "file is no folder"),
        ("circle", "circle is no folder"),
    ],
)
def test_places_that_cannot_be_written_to(tmp_path, monkeypatch, capsys, out, said):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    os.symlink("circle", "circle")
    line = refused(["train", "--out", out], capsys)
    assert out[:20] in line
    assert any(part in line for part in said.split("|")), line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "file"]


def test_a_run_whose_links_lead_in_a_circle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.symlink("circle", "circle")
    for command in (["report", "circle"], ["analyze", "circle"]):
        assert "circle" in refused(command, capsys)


# Signals


def test_a_config_that_is_no_file_is_told_from_one_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    for name, wrong in (("folder", "is no file"), ("circle", "is no file"), ("nothing", "does not exist")):
        assert main(["train", name, "--out", "run"]) == 2
        assert f"config file {name} {wrong}, and no config of the package has that name" in capsys.readouterr().err


SLEEPS = """
import sys, time
from robustsnn.cli import main
from robustsnn.cli.commands import Command

def sleep(arguments):
    print("asleep", flush=True)
    time.sleep(5)

Command.run = property(lambda command: sleep)
sys.exit(main(["train"]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_a_command_with_its_message(name):
    number = getattr(signal, name)
    usual = "default_int_handler" if name == "SIGINT" else "SIG_DFL"
    heard = f"import signal; signal.signal(signal.{name}, signal.{usual})\n"
    command = [sys.executable, "-c", heard + SLEEPS]  # the tests may run under nohup, which a child would inherit
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asleep\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    how = "interrupted" if name == "SIGINT" else f"ended by {name}"
    assert err == f"\nrobustsnn: {how}; what is complete is kept, continue with --resume\n"


LOADS = """
import sys, time
from robustsnn.cli import main
from robustsnn.cli.commands import Command

def load(arguments):
    import swallows
    print("loaded", swallows.caught, flush=True)
    time.sleep(5)

Command.run = property(lambda command: load)
sys.exit(main(["train"]))
"""
SWALLOWS = """
import time
caught = False
print("loading", flush=True)
try:
    time.sleep(0.5)
except BaseException:
    caught = True
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_waits_for_a_library_that_would_swallow_it(name, tmp_path):
    number = getattr(signal, name)
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", heard + LOADS]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert out in ("", "loaded False\n")
    assert process.returncode == 128 + number
    assert "what is complete is kept" in err


def test_the_handlers_are_given_back_and_nohup_is_respected(monkeypatch):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    seen = []

    def look(arguments):
        seen.append([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)])
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Command, "run", property(lambda command: look))
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert main(["train"]) == 128 + signal.SIGTERM
        assert seen[0][1] == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert str(Stopped(signal.SIGTERM)) == "SIGTERM"
    assert isinstance(Stopped(signal.SIGHUP), KeyboardInterrupt)


def test_every_command_that_writes_can_overwrite(capsys):
    writing = {name for name, command in COMMANDS.items() if command.writes} | {"bench"}
    for name in sorted(writing - {"list", "doctor"}):
        assert main([name, "--help"]) == 0
        assert "--overwrite" in capsys.readouterr().out, name


def test_a_page_is_replaced_by_the_next_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(CONFIG)
    for _ in range(2):
        assert main(["report", "run", "--out", "page.html", "--card"]) == 0
    (tmp_path / "page.csv").write_text("mine\n")
    assert main(["report", "run", "--out", "page.html"]) == 2
    assert (tmp_path / "page.csv").read_text() == "mine\n"
    assert main(["report", "run", "--out", "page.html", "--overwrite"]) == 0
    assert (tmp_path / "page.csv").read_text().startswith('"model"')
    (tmp_path / "run" / "card.md").write_text("# Mine\n")
    assert main(["report", "run", "--out", "page.html", "--card"]) == 2
    assert (tmp_path / "run" / "card.md").read_text() == "# Mine\n"
    assert json.loads((tmp_path / "run" / LOCK).read_text()) == {"made_by": "robustsnn"}
