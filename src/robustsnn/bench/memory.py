"""Peak memory of a training step: allocated on a GPU, else resident in a fresh process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import torch

from robustsnn.bench.options import Options
from robustsnn.bench.trainee import Trainee
from robustsnn.ground.progress import Progress, silent
from robustsnn.runs.jobs import Job, run_jobs, values

Case: TypeAlias = tuple[str, str, int, int, str]
"""(network, precision, T, batch, regime)."""

_STATUS = Path("/proc/self/status")


def memories(
    options: Options, cases: Sequence[Case], device: torch.device, progress: Progress = silent
) -> dict[Case, dict[str, float]]:
    """MiB before and at the peak of two steps of each case; nothing where the system does not tell."""
    if device.type == "cuda":
        found = {}
        for i, case in enumerate(cases):
            found[case] = peak(options, case, "cuda")
            progress(i + 1, len(cases), "memory")
        return found
    if not _STATUS.exists():
        return {}
    jobs = [Job(" ".join(map(str, case)), peak, (options, case, "cpu"), case[2] * case[3]) for case in cases]
    # Two at a time: the figures do not depend on it, but the machine's memory is shared.
    done = values(run_jobs(jobs, workers=min(2, len(jobs)), text="memory", progress=progress))
    return {case: done[job.name] for case, job in zip(cases, jobs, strict=True)}


def peak(options: Options, case: Case, device: str, progress: Progress = silent) -> dict[str, float]:
    """ "before_mib" (network, optimiser and batch are there) and "peak_mib" of two steps of a case, in this process."""
    name, autocast, steps, batch, regime = case
    where = torch.device(device)
    trainee = Trainee(name, autocast, options.shape, steps, batch, options.seed, where)
    trainee.prepare()
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        with suppress(OSError):  # the peak so far is that of building; forget it where the system can
            Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
    for _ in range(2):
        trainee.step(regime)
    used = torch.cuda.max_memory_allocated() / 2**20 if where.type == "cuda" else _resident("VmHWM")
    return {"before_mib": round(before, 1), "peak_mib": round(used, 1)}


def _resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most."""
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def increase(used: dict[str, Any]) -> float:
    """MiB that the steps took beyond what was there."""
    return used["peak_mib"] - used["before_mib"]
