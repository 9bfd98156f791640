"""One writer per folder: whoever writes into a run's folder holds its lock, and the second one is told who does.

The lock is the system's own on the file `.robustsnn.lock`: it ends with the process that holds it, however that
ends, so no dead process locks anybody out. The file names host and process for people. Parts of one evaluation may
write into one folder together: each holds a lock of its own part, and the whole folder is nobody's meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import remove_leftovers
from robustsnn.ground.ours import LOCK, PARTS, check_folder

PATIENCE = 2.0
"""Seconds to wait for a process that is about to end."""


@contextmanager
def claimed(folder: Path, *, overwrite: bool = False, marks: Collection[str] = ("config.yaml",)) -> Iterator[None]:
    """Be the only process that writes into `folder`, which is made if it is missing; it goes again if it stays empty.

    What killed processes left half written in it is removed. A block within a block of the same folder is free.
    UserError if the folder is not ours (see `check_folder`, also for the arguments), or another process writes there.
    """
    check_folder(folder, overwrite, marks)
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder / LOCK)
    try:
        if lock.is_locked:
            yield
            return
        with _held(lock, folder):
            held = _parts_at_work(folder)
            if held:
                raise _in_use(folder, held[0])
            remove_leftovers(folder, PARTS)
            try:
                yield
            finally:
                if os.listdir(folder) == [LOCK]:
                    (folder / LOCK).unlink()
    finally:
        with suppress(OSError):  # one that is not empty
            for path in made:
                path.rmdir()


@contextmanager
def claimed_part(folder: Path, part: str) -> Iterator[None]:
    """Be the only process that writes this part of an evaluation into a run, beside others that write other parts."""
    check_folder(folder, overwrite=True)
    own = _lock(folder / f".robustsnn.{part}.lock")
    with _held(_lock(folder / LOCK), folder):  # which all who want the folder for themselves hold to the end
        _parts_at_work(folder)
        _take(own, folder)
    try:
        yield
    finally:
        Path(own.lock_file).unlink(missing_ok=True)
        own.release()


@contextmanager
def claimed_files(paths: Sequence[Path]) -> Iterator[None]:
    """Be the only process that writes these files of one folder, which is anybody's; the first names them all."""
    first = paths[0]
    first.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(first.with_name(f".{first.name[:40]}.lock"))
    _take(lock, first)
    try:
        for path in paths:
            remove_leftovers(path.parent, of=path.name)
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _lock(path: Path) -> FileLock:
    """The lock on a file; one object for each, so that a block within a block knows of the outer one."""
    if path.is_symlink():  # it would be written through
        raise UserError(f"{path} is a link to {os.readlink(path)}; remove the link, then repeat this command")
    return FileLock(os.path.join(os.path.realpath(path.parent), path.name), is_singleton=True)


@contextmanager
def _held(lock: FileLock, folder: Path) -> Iterator[None]:
    _take(lock, folder)
    try:
        yield
    finally:
        _sign(lock, {})
        lock.release()


def _take(lock: FileLock, what: Path) -> None:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise _in_use(what, Path(lock.lock_file)) from None
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    _sign(lock, {"host": socket.gethostname(), "pid": os.getpid(), "since": now})


def _sign(lock: FileLock, who: dict[str, str | int]) -> None:
    """Write into the file of a lock that is held who holds it; that is for people, so it must not fail."""
    with suppress(OSError), open(lock.lock_file, "r+", encoding="utf-8") as stream:
        stream.write(json.dumps({"made_by": "robustsnn", **who}) + "\n")
        stream.truncate()


def _in_use(what: Path, lock: Path) -> UserError:
    who = {}
    with suppress(OSError, ValueError):
        who = json.loads(lock.read_text(encoding="utf-8"))
    holder = f"process {who['pid']} on {who['host']}, since {who['since']}" if "pid" in who else "another process"
    return UserError(f"{what} is being written by {holder}; wait until it is done, or end it, then repeat this command")


def _parts_at_work(folder: Path) -> list[Path]:
    """The locks of parts that are held; those that killed processes left are removed. Call it with the lock held."""
    found = []
    for path in sorted(folder.glob(".robustsnn.?*.lock")):
        lock = FileLock(_lock(path).lock_file)  # not the one object: this process may hold a part itself
        try:
            lock.acquire(timeout=0)
        except Timeout:
            found.append(path)
        else:
            path.unlink(missing_ok=True)
            lock.release()
    return found
