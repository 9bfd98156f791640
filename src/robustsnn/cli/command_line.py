"""From the arguments of the program to a command, and from what it raises to one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from robustsnn.cli.commands import COMMANDS, overview
from robustsnn.ground.errors import Stopped, UserError, in_words
from robustsnn.names import came_from_outside

HELP = f"""usage: robustsnn COMMAND ...

Train, attack and understand adversarially robust spiking neural networks.

{overview()}
robustsnn COMMAND --help shows the options of a command; --debug shows the traceback of an error.
Exit codes: 0 done, 1 a defect of this program, 2 something about the input is wrong, 128 + N ended by signal N.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        with _stoppable():
            return _run(arguments)
    except KeyboardInterrupt as stop:
        again = command.again if command else ""
        how, number = (f"ended by {stop}", stop.number) if isinstance(stop, Stopped) else ("interrupted", signal.SIGINT)
        with suppress(OSError):  # the terminal may be gone
            print(f"\nrobustsnn: {how}; what is complete is kept{again}", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:
        # Who reads help or a list may stop reading; work that was cut short is not done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1 if command and command.writes else 0
    except (UserError, OSError) as error:
        if debug or (isinstance(error, OSError) and came_from_outside(error)):
            raise
        print(f"robustsnn: error: {in_words(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return 2
    except ValueError as error:
        if "embedded null" not in str(error):  # what Python says of a file's name with the character NUL
            raise
        print("robustsnn: error: a file's name cannot hold the character NUL; give one without it", file=sys.stderr)
        return 2


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, unless they are ignored (nohup) or this is not the main thread."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler == signal.SIG_DFL:
                signal.signal(number, handler)


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
        raise UserError(f"unknown command {command!r}; allowed are {', '.join(COMMANDS)}")
    try:
        COMMANDS[command].run(rest)
    except SystemExit as stop:  # --help of a command
        return int(stop.code or 0)
    return 0
