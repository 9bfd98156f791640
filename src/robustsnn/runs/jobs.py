"""Many independent pieces of work side by side, each in a process of its own; one that fails loses no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

from robustsnn.ground.errors import UserError, exhausted, in_words
from robustsnn.ground.progress import Progress, silent


@dataclass(frozen=True)
class Job:
    """One piece of work, best such that it continues where an earlier process stopped.

    Args:
        name: of the job, another one for each.
        call: what to do, as `call(*arguments, progress=tell)`: a function that can be imported.
        arguments: of the call; they and what it returns travel between processes.
        cost: about how long it takes, in any one unit: the longest begin first, and progress is weighed.
        again: to do in place of `call` where a cluster cut the job short and begins it anew; None is the same.
    """

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    cost: float = 1.0
    again: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Args:
        value: what its call returned.
        error: instead of that, what went wrong, in one line.
        defect: the error is neither of the input nor of the system, but of the program.
        trace: its traceback, of a defect.
    """

    value: Any = None
    error: str | None = None
    defect: bool = False
    trace: str = ""


def run_jobs(
    jobs: Sequence[Job], *, workers: int | None = None, text: str = "", progress: Progress = silent
) -> dict[str, Done]:
    """Do all jobs, each in a new process with one thread, and say by name, in their order, what came of them.

    Results do not depend on `workers`, how many run at a time (as many as there are usable cores, if None). An
    error ends the job that made it, and so does its process being killed; all others are done. If this call is
    interrupted, its processes are ended at once; if this process dies, they end by themselves.

    Args:
        text: what is being done, for `progress`, which is told about all jobs as one.

    UserError if `workers` is below 1; ValueError for two jobs of one name or a cost that is not positive.
    """
    check(jobs)
    if workers is not None and workers < 1:
        raise UserError(f"workers={workers}: at least 1 is needed")
    workers = min(workers or usable_cores(), len(jobs))
    context = multiprocessing.get_context("spawn")
    # Without a lock: one that a killed process held would never be free again.
    shares = context.RawArray("d", max(1, len(jobs)))
    # The longest first, so that the processes end together. sorted() keeps the order of equals.
    waiting = sorted(range(len(jobs)), key=lambda number: -jobs[number].cost)
    running: dict[int, tuple[Any, Connection]] = {}
    done: dict[int, Done] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.pop(0)
                here, there = context.Pipe(duplex=False)
                job = bytes(ForkingPickler.dumps(jobs[number]))
                process = context.Process(target=_work, args=(job, there, shares, number))
                running[number] = process, here
                process.start()
                there.close()  # the process has the only other end now, so its death closes the pipe
            wait([pipe for _, pipe in running.values()], timeout=0.5)
            for number, (process, pipe) in list(running.items()):
                if pipe.poll():
                    done[number] = _received(process, pipe)
                    del running[number]
            now = [1.0 if number in done else shares[number] for number in range(len(jobs))]
            tell_all(jobs, now, list(running), list(done.values()), text, progress)
    finally:
        _end([process for process, _ in running.values() if process.pid is not None])
    return {job.name: done[number] for number, job in enumerate(jobs)}


def values(found: dict[str, Done]) -> dict[str, Any]:
    """What the jobs returned, by name; UserError if some failed, RuntimeError with the traceback for a defect."""
    for name, done in found.items():
        if done.defect:
            raise RuntimeError(f"{name}: {done.error}\n{done.trace}")
    failed = [f"{name}: {done.error}" for name, done in found.items() if done.error is not None]
    if failed:
        raise UserError("; ".join(failed))
    return {name: done.value for name, done in found.items()}


def usable_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check(jobs: Sequence[Job]) -> None:
    """ValueError for jobs of one name, or of a cost that is not positive."""
    names = [job.name for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"jobs of the same name: {', '.join(twice)}")
    for job in jobs:
        if not job.cost > 0:
            raise ValueError(f"job {job.name}: cost={job.cost}, but it must be positive")


def attempt(job: Job, progress: Progress = silent, *, threads: int = 1) -> Done:
    """Do a job here and now, in a process of its own; an error becomes its result."""
    take_threads(threads)
    try:
        return Done(job.call(*job.arguments, progress=progress))
    except (UserError, OSError) as error:
        return Done(error=one_line(error))
    except Exception as error:
        what = exhausted(error)
        return Done(error=f"{what} ({one_line(error)[:120]})") if what else _defect(error)


def _defect(error: Exception) -> Done:
    trace = "".join(traceback.format_exception(error))
    return Done(error=f"{type(error).__name__}: {one_line(error)}", defect=True, trace=trace)


def take_threads(count: int) -> None:
    """So many threads for the libraries that this process will load, and for torch if it is loaded."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    if isinstance(error, OSError):
        return in_words(error)
    return " ".join(str(error).split()) or type(error).__name__


def _received(process: Any, pipe: Connection) -> Done:
    """What a process sent, or how it ended without a word."""
    try:
        found = pipe.recv()
    except (EOFError, OSError):
        process.join()
        return Done(error=_ending(process.exitcode))
    except Exception as error:  # what it sent cannot be read here
        found = _defect(error)
    finally:
        pipe.close()
    process.join()
    return found


def _ending(code: int) -> str:
    """How a process ended that sent nothing, from its exit code (minus the signal, if one ended it)."""
    if code >= 0:
        return f"its process ended early with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def tell_all(
    jobs: Sequence[Job],
    shares: Sequence[float],
    running: Sequence[int],
    done: Sequence[Done],
    text: str,
    progress: Progress,
) -> None:
    """Tell the progress of all jobs by their costs, how many failed, and that of the first few that run."""
    costs = [job.cost for job in jobs]
    share = sum(cost * share for cost, share in zip(costs, shares, strict=True)) / sum(costs)
    now = [f"{jobs[number].name} {100 * shares[number]:.0f} %" for number in running[:4]]
    now += ["..."] if len(running) > 4 else []
    failed = sum(one.error is not None for one in done)
    parts = [f"{len(done) - failed} of {len(jobs)} done", *([f"{failed} failed"] if failed else []), *now]
    progress(round(10_000 * share), 10_000, f"{text}: {', '.join(parts)}" if text else ", ".join(parts))


def _work(pickled: bytes, pipe: Connection, shares: Any, number: int) -> None:
    """Do a job in this process, which is its own, and send what came of it."""
    # The parent hears Ctrl-C and the end of the terminal too, and ends this process.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    take_threads(1)  # before the job loads its libraries

    def tell(done: int, total: int, text: str) -> None:
        shares[number] = max(shares[number], min(1.0, done / max(total, 1)))

    try:
        job = ForkingPickler.loads(pickled)  # type: ignore[attr-defined]
        pipe.send(attempt(job, tell))
    except Exception as error:  # the call cannot be imported, or its value cannot be sent
        pipe.send(_defect(error))


def _end(processes: Sequence[Any]) -> None:
    """End processes, by force where they do not listen."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _end_with_parent() -> None:
    """End this process when its parent dies, so that none goes on writing into folders that a new one may use."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
