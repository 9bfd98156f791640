"""What goes wrong outside this package: what was asked for cannot be done as asked, files, signals."""

from __future__ import annotations

import errno
import math
import signal


class UserError(ValueError):
    """The user's input is wrong: one line that names the value, what is allowed and the fix.

    The command line prints the message without a traceback and exits with 2. In Python it is a
    `ValueError`, so that callers may catch it without knowing this package.
    """


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end: SIGTERM or SIGHUP, which end it as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_FIXES = {
    errno.ENOSPC: "free some space, then repeat the command: what is complete is kept",
    errno.EDQUOT: "free some space, then repeat the command: what is complete is kept",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then repeat the command",
    errno.EACCES: "change its permissions or those of its folder, or give another place",
    errno.EPERM: "change its permissions or those of its folder, or give another place",
    errno.EROFS: "give a place that can be written to",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links lead in a circle; give another place, or mend the links",
    errno.ENOTDIR: "a part of it is a file where a folder is needed; give another place",
    errno.EISDIR: "it is a folder where a file is needed; give another name",
    errno.EEXIST: "a file is where a folder is needed; give another name",
    errno.ENOENT: "give the name of one that is there",
    errno.EMFILE: "raise the limit on open files (ulimit -n), then repeat the command",
    errno.ENOMEM: "there is not enough memory; close other programs, or raise the limit (ulimit -v)",
    errno.EIO: "the disk or the network drive fails; give another place, then repeat the command",
}


def in_words(error: OSError) -> str:
    """What the system refused, in one line: which file, why, and what to do."""
    where = f"{error.filename}: " if error.filename is not None else ""
    fix = _FIXES.get(error.errno or 0)
    if error.strerror is None or fix is None:
        return " ".join(str(error).split()) or type(error).__name__
    return f"{where}{error.strerror.lower()}; {fix}"


def shortened(text: str, longest: int = 60) -> str:
    """A text as a message has room for it."""
    return text if len(text) <= longest else f"{text[: longest - 12]}... ({len(text)} letters)"


def in_short(value: object, longest: int = 60) -> str:
    """The repr of a value in one short line that any stream can print."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return f"a number of {math.floor(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # holds a number of too many digits, or itself
        text = f"a {type(value).__name__}"
    return shortened(text.encode("utf-8", "backslashreplace").decode(), longest)


class Advice(UserWarning):
    """What a person should know of work that is done all the same; the command line shows it in one line."""


_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "Unable to allocate", "invalid buffer size")
_MEMORY += ("failed to map segment",)  # of a library that is loaded late
_NUMBERS = ("overflow", "out of range integral", "too large to convert", "too large to be represented", "numel:")


def exhausted(error: BaseException) -> str:
    """What an input asked too much of, in words: memory, depth, or the range of numbers; "" for another error.

    Torch has its own errors for the memory of a GPU and, by words alone, for that of the CPU.
    """
    if isinstance(error, UserError):
        return ""
    if isinstance(error, RecursionError):
        return "something is nested too deeply"
    said = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "there is not enough memory"
    if isinstance(error, RuntimeError | ValueError | ImportError) and any(word in said for word in _MEMORY):
        return "there is not enough memory"
    plain = isinstance(error, RuntimeError | ValueError | TypeError)
    if isinstance(error, OverflowError) or (plain and any(word in said.lower() for word in _NUMBERS)):
        return "a number is too large to compute with"
    return ""
