"""The table of commands: one line and one file for each, and what one that was stopped says."""

from pathlib import Path

import pytest

import robustsnn.cli
from robustsnn.cli import COMMANDS, command_line, main
from robustsnn.cli.commands import TABLE, Command

RESUMED = {"train", "evaluate", "attack"}
SAID_AGAIN = {"demo", "sweep", "reproduce"}
READ = {"list", "bench", "doctor"}


def stopped_by(error: type[BaseException]):
    def run(arguments: list[str]) -> None:
        raise error

    return property(lambda command: run)


def test_each_command_has_a_file_and_each_file_a_command():
    shared = {"__init__", "command_line", "commands", "options"}
    files = {path.stem for path in Path(robustsnn.cli.__file__).parent.glob("*.py")}
    assert files - shared == {command.name for command in TABLE}
    assert shared <= files
    assert all(callable(command.run) for command in TABLE)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_says_how_to_go_on(name, monkeypatch, capsys):
    monkeypatch.setattr(Command, "run", stopped_by(KeyboardInterrupt))
    again = ", continue with --resume" * (name in RESUMED) + ", continue by the same command" * (name in SAID_AGAIN)
    assert main([name]) == 130
    assert capsys.readouterr().err == f"\nrobustsnn: interrupted; what is complete is kept{again}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_reader_left_has_failed_if_it_writes(name, monkeypatch, capsys):
    monkeypatch.setattr(Command, "run", stopped_by(BrokenPipeError))
    monkeypatch.setattr(command_line.os, "dup2", lambda *_: None)
    monkeypatch.setattr(command_line.sys.stdout, "fileno", lambda: 1)
    assert main([name]) == (0 if name in READ else 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_the_overview_may_be_stopped_too(error, monkeypatch, capsys):
    def stopped(arguments):
        raise error

    monkeypatch.setattr(command_line, "_run", stopped)
    monkeypatch.setattr(command_line.os, "dup2", lambda *_: None)
    monkeypatch.setattr(command_line.sys.stdout, "fileno", lambda: 1)
    assert main([]) == (130 if error is KeyboardInterrupt else 0)
