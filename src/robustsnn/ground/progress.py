"""How long work tells that it is alive."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeAlias

from robustsnn.ground.errors import Stopped, UserError

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is going on)."""

Callback: TypeAlias = Callable[[dict[str, Any]], None]
"""Called with figures, for people's own logs."""


def silent(done: int, total: int, text: str) -> None:
    """Tells nobody."""


def unsaid(text: str) -> None:
    """Tells nobody what would be a line that stays."""


def part(whole: Progress, before: float, weight: float, all_weights: float) -> Progress:
    """The progress of one stage as part of a whole, given the weights of the stages before it and of all."""

    def tell(done: int, total: int, text: str) -> None:
        share = (before + weight * done / max(total, 1)) / all_weights
        whole(round(share * 10_000), 10_000, text)

    return tell


def speaks() -> bool:
    """Whether this process is the one that speaks: alone, or the first of those that torchrun started."""
    return "MASTER_ADDR" not in os.environ or os.environ.get("RANK", "0") == "0"


@contextmanager
def one_voice() -> Iterator[None]:
    """Of processes that torchrun started, an error that all have is raised by the first; the others exit with 2.

    An error that is `alone` (see `robustsnn.ground.distributed.joined`) is that of one process, which then raises it.
    """
    try:
        yield
    except (UserError, OSError) as error:
        if speaks() or getattr(error, "alone", False):
            raise
        raise SystemExit(2) from None
    except KeyboardInterrupt as stop:
        if speaks():
            raise
        raise SystemExit(128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)) from None


def to_stderr(text: str) -> None:
    """A line on stderr. Long work goes on where nobody can read it: a closed pipe, a full disk, a dead connection."""
    with suppress(OSError, ValueError):  # the second: a file that is closed
        if sys.stderr is not None:  # closed before the start
            print(text, file=sys.stderr, flush=True)


class Display:
    """A `Progress` on stderr with the time left: a bar on a terminal, else a line every few seconds.

    Of processes that torchrun started, the first shows it alone. It never raises. What was told last is
    kept in `stage`, for the message about an error that ends the work.

    The estimate assumes that what is left goes at the mean pace of this process, so work that was resumed
    does not count.
    """

    stage = ""

    def __init__(self, every: float = 5.0) -> None:
        self.every = every
        self.started = time.monotonic()
        self.first: float | None = None
        self.told = -every
        self.bar = None
        if sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty() and speaks():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            class Terminal(Console):
                def on_broken_pipe(self) -> None:  # rich ends the program here
                    self.quiet = True

            columns = (BarColumn(30), TextColumn("{task.percentage:3.0f} % {task.description}"))
            self.bar = Progress(*columns, console=Terminal(stderr=True), transient=True)
            self.task = self.bar.add_task("", total=1.0)

    def __enter__(self) -> Display:
        if self.bar is not None:
            with suppress(OSError, ValueError):
                self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            with suppress(OSError, ValueError):
                self.bar.stop()

    def loading(self) -> None:
        """Say that work is about to begin; its clock does not run yet."""
        Display.stage = "loading"
        self.say("loading")

    def say(self, text: str) -> None:
        """A line that stays."""
        if speaks():
            to_stderr(text)

    def __call__(self, done: int, total: int, text: str) -> None:
        Display.stage = text
        now, share = time.monotonic() - self.started, done / max(total, 1)
        if self.first is None:
            self.first, self.started, now = share, time.monotonic(), 0.0
        gained = share - self.first
        left = f"{_clock(now * (1 - share) / gained)} left" if gained > 0 and now > 1 else "estimating"
        if self.bar is not None:
            from rich.markup import escape

            with suppress(OSError, ValueError):
                self.bar.update(self.task, completed=share, description=escape(f"{left}  {text}"))
        elif speaks() and (now - self.told >= self.every or done == total):
            self.told = now
            to_stderr(f"{100 * share:5.1f} %  {left}  {text}")


@contextmanager
def displayed(progress: Progress | None) -> Iterator[Progress]:
    """The progress that was given; without one a display where somebody watches: on a terminal, in a notebook."""
    watched = "ipykernel" in sys.modules or (sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty())
    if progress is not None or not watched:
        yield progress or silent
        return
    with Display() as display:
        yield display


def _clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
