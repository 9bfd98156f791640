"""From the arguments of the program to a command, and from what it raises to one line and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, get_args

from robustsnn.cli.commands import COMMANDS, Command, overview
from robustsnn.cli.options import check_text
from robustsnn.cli.streams import heard, printing
from robustsnn.ground.errors import Advice, Stopped, UserError, exhausted, in_words
from robustsnn.ground.progress import Display, to_stderr
from robustsnn.names import from_outside, near
from robustsnn.names.config import DEVICE, Device
from robustsnn.names.values import shown

HELP = f"""usage: robustsnn COMMAND ...

Train, attack and understand adversarially robust spiking neural networks.

{overview()}
robustsnn COMMAND --help shows the options of a command; --debug shows the traceback of an error.
--device cpu|cuda|mps|auto behind a command that computes says where.
Exit codes: 0 done, 1 a defect of this program, 2 something about the input is wrong, 128 + N ended by signal N.
"""
LONGEST_IMPORT = 10.0
"""Seconds that a signal waits for an import."""
_USUAL = (signal.SIG_DFL, signal.default_int_handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    with printing():
        return heard(_main(argv))


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug, Display.stage = "--debug" in arguments, ""
    arguments = [a for a in arguments if a != "--debug"]
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        with _stoppable(), warnings.catch_warnings():
            check_text(arguments)
            warnings.showwarning = _advise  # type: ignore[assignment]
            return _run(arguments)
    except KeyboardInterrupt as stop:
        again = command.again if command else ""
        how, number = (f"ended by {stop}", stop.number) if isinstance(stop, Stopped) else ("interrupted", signal.SIGINT)
        to_stderr(f"\nrobustsnn: {how}; what is complete is kept{again}")
        return 128 + number
    except BrokenPipeError:
        # Who reads help or a list may stop reading; work that was cut short is not done.
        return 1 if command and command.writes else 0
    except (UserError, OSError) as error:
        if debug:
            raise
        if isinstance(error, OSError) and from_outside(error):
            return _outside(error)
        to_stderr(f"robustsnn: error: {_short(in_words(error) if isinstance(error, OSError) else str(error))}")
        return 2
    except Exception as error:  # the net for what no check has foreseen: of the input, if it asked for too much
        if isinstance(error, ValueError) and "embedded null" in str(error):  # what Python says of such a file's name
            to_stderr("robustsnn: error: a file's name cannot hold the character NUL; give one without it")
            return 2
        what = exhausted(error)
        theirs = isinstance(error, SyntaxError) or from_outside(error)
        if not debug and theirs and (not what or "memory" not in what):
            return _outside(error)
        if debug or not what:
            raise
        to_stderr(f"robustsnn: error: {_too_much(what, error, command)}")
        return 2


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, unless they are ignored (nohup) or this is not the main thread.

    They and Ctrl-C wait, but not for long, until a library is loaded that is just being imported: some swallow what is
    raised then and are left half loaded, so that the work would go on, or end in another error.
    """
    asked: float | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = asked or time.monotonic()
        waits = hasattr(signal, "pthread_kill") and time.monotonic() - asked < LONGEST_IMPORT  # else it is Windows
        if waits and _imports(frame):
            again = threading.Timer(0.05, signal.pthread_kill, (threading.main_thread().ident, number))
            again.daemon = True
            again.start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise Stopped(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    usual = {number: handler for number, handler in before.items() if handler in _USUAL}
    for number in usual:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported, as this command goes."""
    while frame is not None and frame.f_code is not main.__code__:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _outside(error: Exception) -> int:
    """What somebody's own module raised: one line, and its traceback from there on, without ours."""
    trace = from_outside(error)
    to_stderr("".join(traceback.format_exception(type(error), error, trace)).rstrip("\n"))
    said = f"{type(error).__name__}: {_short(str(error))[:200]}"
    where = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})" if trace else ""
    to_stderr(f"robustsnn: error: your code raised {said}{where}")
    return 2


def _short(message: str) -> str:
    """The message in one line, without words of thousands of letters."""
    line = " ".join(message.split())
    return re.sub(r"\S{300,}(?<![:;,])", lambda word: f"{word[0][:60]}... ({len(word[0])} letters)", line)


def _advise(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Advice in one line, other warnings as Python shows them."""
    if issubclass(category, Advice):
        to_stderr(f"robustsnn: note: {message}")
    else:
        to_stderr(warnings.formatwarning(message, category, *where[:2]).rstrip("\n"))


def _too_much(what: str, error: Exception, command: Command | None) -> str:
    """What ran out, where, and what to lower."""
    stage = f" in {command.name}" if command else ""
    stage += f", at the stage: {Display.stage}" if Display.stage else ""
    said = " ".join(str(error).split())[:120]
    lower = f"lower {command.lower}" if command and command.lower else "give smaller numbers or files"
    return f"{what}{stage} ({said or type(error).__name__}); {lower}"


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("robustsnn"))
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise UserError(f"unknown command {shown(command)}; allowed are {', '.join(COMMANDS)}{near(command, COMMANDS)}")
    try:
        with _device(rest if COMMANDS[command].device else []):
            COMMANDS[command].run(rest)
    except SystemExit as stop:  # --help of a command
        return int(stop.code or 0)
    return 0


@contextmanager
def _device(arguments: list[str]) -> Iterator[None]:
    """Take `--device NAME` out of the arguments; it holds inside the block, in processes that begin there too."""
    before = os.environ.get(DEVICE)
    while (at := next((k for k, word in enumerate(arguments) if word.split("=")[0] == "--device"), None)) is not None:
        flag, equal, name = arguments.pop(at).partition("=")
        name = name if equal or at == len(arguments) else arguments.pop(at)
        if name not in get_args(Device):
            raise UserError(f"{flag} {shown(name)}: allowed are {', '.join(get_args(Device))}; give one of them")
        os.environ[DEVICE] = name  # the last one counts, as of other options
    try:
        yield
    finally:
        os.environ.pop(DEVICE, None)
        os.environ.update({} if before is None else {DEVICE: before})
