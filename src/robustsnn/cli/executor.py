"""Where a command computes: in this process, or as jobs on a SLURM cluster; for commands that take long."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress
from robustsnn.names.parsing import Parser, add_options, overridden
from robustsnn.runs.jobs import Job, values
from robustsnn.runs.slurm import Slurm, submit_jobs

SLURM = tuple(
    f"--slurm.{name}" for name in ("partition", "account", "qos", "constraint", "minutes", "gpus", "cpus", "memory")
)
"""What one job asks of a cluster, for pages of help."""


def executing(parser: Parser, *, many: bool = False) -> None:
    """The flags that say where, and what a cluster is asked for; `many`: of more jobs than one."""
    text = "%(default)s, or slurm: jobs on a cluster"
    parser.add_argument("--executor", choices=["local", "slurm"], default="local", metavar="WHERE", help=text)
    add_options(parser, Slurm, "slurm.", skip=("folder", "cluster", *(() if many else ("parallel",))))


def cluster_of(executor: str, given: Mapping[str, str], folder: Path) -> Slurm | None:
    """The cluster that the flags mean, with `folder` for logs and results; None is here."""
    if executor == "local":
        if given:
            said = ", ".join(f"--slurm.{key}" for key in given)
            raise UserError(f"only --executor slurm takes {said}; give it too, or leave out {said}")
        return None
    if "MASTER_ADDR" in os.environ:
        raise UserError("--executor slurm submits from one process; leave out torchrun")
    return overridden(Slurm(folder), given, "--slurm.")


def beside(run: Path) -> Path:
    """Where a job that writes the folder `run` has its logs: outside of it, which is the job's own."""
    return run.parent / ".slurm" / run.name


def submitted(name: str, slurm: Slurm, progress: Progress, first: Callable[..., Any], again: Callable[..., Any]) -> Any:
    """What one job returns: `first`, and `again` where it was stopped at its time limit and is begun anew."""
    return values(submit_jobs([Job(name, first, again=again)], slurm, text=name, progress=progress))[name]
