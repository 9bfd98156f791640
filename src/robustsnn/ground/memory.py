"""How much memory there is, and errors for what cannot fit, before anything of it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

from robustsnn.ground.errors import UserError

_GIB = 1 << 30


def available() -> int:
    """Bytes that this process may still take: of the machine, of its control group, of its own limit.

    What no system says (Windows, macOS) counts as no limit.
    """
    found = [1 << 62]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    for most, now in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        limit, used = ("".join(_lines(path)).strip() for path in (most, now))
        if limit.isdecimal() and used.isdecimal():
            found.append(int(limit) - int(used))
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(limit - int(_lines("/proc/self/statm")[0].split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, IndexError, OSError):
        pass
    return max(0, min(found))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("ascii").splitlines()
    except (OSError, ValueError):
        return []


def check_fits(needed: float, what: str, lower: str, have: int | None = None) -> None:
    """UserError if what is to be made takes more bytes than there are.

    Args:
        needed: bytes that it takes at the very least.
        what: is made, for the message.
        lower: the options that make it smaller.
        have: bytes, if others than those of this process's memory.
    """
    have = available() if have is None else have
    if needed > have:
        raise UserError(f"{what} needs at least {size(needed)} of memory, and {size(have)} are free; lower {lower}")


def size(count: float) -> str:
    """Bytes in words: 1.5 GiB, 20 MiB."""
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB / 10 else f"{count / (1 << 20):,.0f} MiB"
