"""Paired timing: what is compared takes turns in one process, and ratios are formed within a round."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from robustsnn.ground.progress import Progress, silent

Work = Callable[[], object]
TICK = 1e-9
"""Seconds, the least that a timing says: the clock of a virtual machine may stand still, and ratios divide by it."""


def clock(device: torch.device) -> str:
    """ "processor" for one thread on the CPU: the time that other programs take is left out; else "wall"."""
    return "processor" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def now(device: torch.device) -> float:
    """Seconds by `clock`, after all that was begun on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if clock(device) == "processor" else time.perf_counter()


def preemptions() -> int:
    """How often the scheduler has taken a core from this process."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def first_call(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call that may compile (in other processes too), and what it returned."""
    started = time.perf_counter()
    made = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return rounded(time.perf_counter() - started), made


def rounded(value: float) -> float:
    """To four significant digits."""
    return float(f"{value:.4g}")


def spread(values: Sequence[float], unit: float = 1.0) -> dict[str, float]:
    """Minimum, median and maximum, to four significant digits."""
    three = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: rounded(value * unit) for name, value in three.items()}


def titled(progress: Progress, title: str) -> Progress:
    """The same progress, with a title before its texts."""
    return lambda done, total, text: progress(done, total, f"{title}, {text}")


@dataclass(frozen=True)
class Timings:
    """Times in seconds of each work, one per round, and what else happened.

    Args:
        seconds: by the work's name, in the order of the rounds.
        first: wall seconds of the first call, which may compile.
        preemptions: per round.
    """

    seconds: Mapping[str, Sequence[float]]
    first: Mapping[str, float]
    preemptions: float

    def ms(self, name: str) -> dict[str, float]:
        """Milliseconds of a work."""
        return spread(self.seconds[name], 1e3)

    def over(self, name: str, other: str, unit: float = 1.0) -> dict[str, float]:
        """Time of one work over that of another, round by round, times `unit`."""
        return spread(self.ratios(name, other), unit)

    def ratios(self, name: str, other: str) -> list[float]:
        """Time of one work over that of another in each round."""
        return [a / b for a, b in zip(self.seconds[name], self.seconds[other], strict=True)]

    def per_second(self, name: str, amount: float) -> dict[str, float]:
        """How much of something a second brings of which one call does `amount`."""
        return spread([amount / taken for taken in self.seconds[name]])


def paired(
    works: Mapping[str, Work],
    rounds: int,
    device: torch.device,
    *,
    settle: int = 0,
    least: float = 0.0,
    read: Callable[[torch.device], float] = now,
    progress: Progress = silent,
) -> Timings:
    """Time the works in turns: A, B, ..., A, B, ...; one untimed call of each comes before.

    Args:
        settle: untimed calls right before each timed one, so that none pays for memory another has given back.
        least: seconds that a timing should take; shorter works are called so often in it, and the mean counts.
        read: the clock.
    """
    total, done = (rounds + 1) * len(works), 0
    first, calls = {}, {}
    for name, work in works.items():
        first[name], _ = first_call(work)
        calls[name] = 1
        if least:
            started = read(device)
            work()
            calls[name] = min(1000, math.ceil(least / max(read(device) - started, 1e-6)))
        done += 1
        progress(done, total, name)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    taken = preemptions()
    for _ in range(rounds):
        for name, work in works.items():
            for _ in range(settle):
                work()
            started = read(device)
            for _ in range(calls[name]):
                work()
            seconds[name].append(max(read(device) - started, TICK) / calls[name])
            done += 1
            progress(done, total, name)
    return Timings(seconds, first, round((preemptions() - taken) / rounds, 2))
