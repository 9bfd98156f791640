"""The table of commands: one line and one file for each, and what one that was stopped says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import robustsnn.cli
from robustsnn.cli import COMMANDS, command_line, main
from robustsnn.cli.commands import TABLE, Command
from robustsnn.names.config import DEVICE

RESUMED = {"train", "evaluate", "attack"}
SAID_AGAIN = {"demo", "sweep", "reproduce"}
READ = {"list", "bench", "doctor", "completion"}


def stopped_by(error: type[BaseException]):
    def run(arguments: list[str]) -> None:
        raise error

    return property(lambda command: run)


def test_each_command_has_a_file_and_each_file_a_command():
    shared = {"__init__", "command_line", "commands", "executor", "options", "streams"}
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
    assert main([name]) == (0 if name in READ else 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_the_overview_may_be_stopped_too(error, monkeypatch, capsys):
    def stopped(arguments):
        raise error

    monkeypatch.setattr(command_line, "_run", stopped)
    assert main([]) == (130 if error is KeyboardInterrupt else 0)


def ended(*arguments: str, streams: str, **environment: str) -> tuple[int, str]:
    """Exit code and what is said on stderr of a command of a shell, whose streams are held back as those of files."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = " ".join((sys.executable, "-m", "robustsnn", *arguments, streams))
    done = subprocess.run(["bash", "-c", line], env=kept | environment, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a Linux device")
def test_an_output_that_is_full_or_read_no_further_ends_no_command_in_a_traceback():
    code, said = ended("list", "suites", streams=">/dev/full")
    assert code == 2
    assert said.startswith("robustsnn: error: the output: no space left on device")
    assert len(said.splitlines()) == 1
    assert ended("list", "suites", streams=">&-") == (0, "")
    assert ended("list", "suites", streams="| true; exit ${PIPESTATUS[0]}") == (0, "")
    assert ended("list", "suites", streams="2>/dev/full") == (0, "")
    assert ended("nonsense", streams="2>/dev/full") == (2, "")
    assert ended("nonsense", streams="2>&-") == (2, "")


def test_letters_that_a_terminal_lacks_are_printed_as_numbers(tmp_path):
    code, said = ended(
        "zoo", "pull", "digits-vgg-at", "--out", f"{tmp_path}/\u00e9", streams=">&2", PYTHONIOENCODING="ascii"
    )
    assert code == 0
    assert said.startswith(rf"{tmp_path}/\xe9; next: ")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_every_command_and_its_options(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    for word in (*(command.name for command in TABLE), "--objective.lam", "--suite", "--zoo", "--title"):
        assert word in said
    assert main(["list", "suites"]) == 0  # commands parse again


def test_a_device_is_taken_by_every_command_that_computes_and_by_no_other(capsys):
    seen = []

    def run(arguments: list[str]) -> None:
        seen.append((arguments, os.environ.get(DEVICE)))

    before = os.environ.get(DEVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Command, "run", property(lambda command: run))
        for command in TABLE:
            assert main([command.name, "--device", "cpu", "x"]) == 0
            assert main([command.name, "x", "--device=cuda"]) == 0
            taken = [(["x"], "cpu"), (["x"], "cuda")]
            left = [(["--device", "cpu", "x"], before), (["x", "--device=cuda"], before)]
            assert [seen.pop(-2), seen.pop()] == (taken if command.device else left)
        assert main(["train", "--device", "tpu"]) == 2
        assert "allowed are auto, cpu, cuda" in capsys.readouterr().err
        assert main(["train", "--device"]) == 2
        assert main(["train", "--device", "cpu", "--device=cuda"]) == 0
        assert seen.pop() == ([], "cuda")
    assert os.environ.get(DEVICE) == before


def test_the_device_of_the_command_line_goes_before_that_of_a_config(monkeypatch):
    from robustsnn.runs.build import pick_device

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [pick_device(name).type for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setenv(DEVICE, "cpu")
    assert {pick_device(name).type for name in ("auto", "cpu", "cuda")} == {"cpu"}
