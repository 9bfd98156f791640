"""SIGHUP, SIGTERM and Ctrl-C end every long command at work: one message, the signal's exit code, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robustsnn.cli import main
from robustsnn.cli.commands import COMMANDS

CONFIG = """
name: tiny
data: {name: digits}
model: {name: vgg_small, steps: 2, options: {width: 0.1}}
objective: {name: natural}
train: {epochs: 1, batch_size: 256}
"""
LONG = {
    "train": ["tiny.yaml", "--train.epochs", "5000", "--out", "new"],
    "evaluate": ["run", "--suite", "reliable", "--eps", "8/255", "--batch_size", "8"],
    "analyze": ["run"],
    "certify": ["run", "--draws", "100000"],
    "sweep": ["tiny.yaml", "--over", "train.epochs=5000,5001", "--out", "sweep", "--workers", "2"],
    "reproduce": ["p1-table2", "--out", "reproduce", "--workers", "2"],
    "demo": ["--out", "demo"],
    "bench": [],
}
"""By command, work of minutes."""
BRIEF = {"report", "zoo", "leaderboard", "list", "doctor", "completion"}
HEARD = """
import signal, sys
from robustsnn.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background or under nohup
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    (folder / "tiny.yaml").write_text(CONFIG)
    (folder / "heard.py").write_text(HEARD)
    assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder


def test_every_command_is_long_or_brief():
    assert LONG.keys() | BRIEF == {command.name for command in COMMANDS.values()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "command"),
    [("SIGHUP", command) for command in LONG] + [("SIGTERM", "sweep"), ("SIGINT", "sweep"), ("SIGINT", "train")],
)
def test_a_long_command_at_work_ends_with_its_message(name, command, folder):
    """A closed terminal and Ctrl-C reach all processes of a group, SIGTERM reaches one."""
    number, leaving = getattr(signal, name), os.kill if name == "SIGTERM" else os.killpg
    with subprocess.Popen(
        [sys.executable, "heard.py", command, *LONG[command]],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if command == "bench" or "estimating" in line)
        leaving(process.pid, number)
        out, err = process.communicate(timeout=60)  # which waits for all that hold the two pipes
    assert process.returncode == 128 + number
    assert out == ""
    how = "interrupted" if name == "SIGINT" else f"ended by {name}"
    assert err.endswith(f"\nrobustsnn: {how}; what is complete is kept{COMMANDS[command].again}\n")
    assert "Traceback" not in err
