"""Jobs on a SLURM cluster, by submitit: the same jobs, and the same results."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from robustsnn.ground.errors import Stopped, UserError
from robustsnn.ground.files import write_json
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.ranges import Count, Positive, Within
from robustsnn.runs.jobs import Done, Job, attempt, check, one_line, run_jobs, tell_all


@dataclass(frozen=True)
class Slurm:
    """What each job asks of the cluster. It needs `pip install 'robustsnn[slurm]'`.

    Args:
        folder: for scripts, logs and results; all nodes must see it, and this very installation.
        partition: where to queue; None is the cluster's default.
        account: who pays; None is your default.
        qos: quality of service, by whose rules; None is the cluster's default.
        constraint: features that a node must have, such as a100; None is any node.
        minutes: time limit; a job that reaches it is queued again, up to three times, and continues.
        gpus: per job; one process uses one.
        cpus: per job, and threads of it.
        memory: in GB; None is the cluster's default.
        parallel: how many run at a time.
        cluster: slurm, or local to try it out on this machine, all at once.
    """

    folder: Path
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: Count = 240
    gpus: Annotated[int, Within(least=0, most=1024)] = 0
    cpus: Count = 1
    memory: Positive | None = None
    parallel: Count = 64
    cluster: str = "slurm"

    def __post_init__(self) -> None:
        for name, least in (("minutes", 1), ("gpus", 0), ("cpus", 1), ("parallel", 1)):
            if getattr(self, name) < least:
                raise UserError(f"slurm.{name}={getattr(self, name)}: at least {least} is needed")


def submit_jobs(
    jobs: Sequence[Job], slurm: Slurm, *, text: str = "", progress: Progress = silent, every: float = 1.0
) -> dict[str, Done]:
    """Do all jobs on the cluster as one job array, wait, and say by name what came of them, as `run_jobs` does.

    What a job tells on its way is not heard here. An interruption cancels what is not done.

    Args:
        every: seconds between looks for results.

    UserError without submitit or a cluster, or if jobs of an earlier call in `slurm.folder` may still run.
    """
    check(jobs)
    if not jobs:
        return {}
    executor = _executor(slurm)
    record = slurm.folder / "running.json"
    _none_left(record, slurm)
    order = sorted(jobs, key=lambda job: -job.cost)
    with executor.batch():
        sent = [executor.submit(Resumable(slurm.cpus), job) for job in order]
    submitted = {job.name: one for job, one in zip(order, sent, strict=True)}
    found: dict[str, Done] = {}
    try:
        write_json(record, {name: one.job_id for name, one in submitted.items()})
        while len(found) < len(jobs):
            for name, one in submitted.items():
                if name not in found and one.done():
                    found[name] = _outcome(one)
            shares = [float(job.name in found) for job in jobs]
            tell_all(jobs, shares, [], list(found.values()), text, progress)
            time.sleep(every if len(found) < len(jobs) else 0)
    except BaseException as error:
        if not (isinstance(error, Stopped) and str(error) == "SIGHUP"):  # without their terminal the jobs go on
            for name, one in submitted.items():
                if name not in found:
                    one.cancel(check=False)
        raise
    record.unlink(missing_ok=True)
    return {job.name: found[job.name] for job in jobs}


def do_jobs(
    jobs: Sequence[Job], *, slurm: Slurm | None, workers: int | None, text: str, progress: Progress
) -> dict[str, Done]:
    """All jobs on a cluster, or without one by so many processes here: see `submit_jobs` and `run_jobs`."""
    if slurm is None:
        return run_jobs(jobs, workers=workers, text=text, progress=progress)
    return submit_jobs(jobs, slurm, text=text, progress=progress)


@dataclass(frozen=True)
class Resumable:
    """What the cluster calls; stopped at its time limit, it asks to be called again, and the job's work continues."""

    threads: int = 1

    def __call__(self, job: Job) -> Done:
        """Do the job."""
        return attempt(job, threads=self.threads)

    def checkpoint(self, job: Job) -> Any:
        """What submitit queues again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, replace(job, call=job.again or job.call))


def _executor(slurm: Slurm) -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError("SLURM jobs need submitit; pip install 'robustsnn[slurm]'") from None
    try:
        executor = submitit.AutoExecutor(folder=slurm.folder, cluster=slurm.cluster)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"cluster {slurm.cluster}: {one_line(error)}; run this where jobs can be submitted") from None
    executor.update_parameters(
        name="robustsnn",
        timeout_min=slurm.minutes,
        gpus_per_node=slurm.gpus,
        cpus_per_task=slurm.cpus,
        mem_gb=slurm.memory,
        slurm_partition=slurm.partition,
        slurm_account=slurm.account,
        slurm_qos=slurm.qos,
        slurm_constraint=slurm.constraint,
        slurm_array_parallelism=slurm.parallel,
    )
    return executor


def _none_left(record: Path, slurm: Slurm) -> None:
    """UserError if jobs of an earlier call are not done: two that write into one folder would spoil it."""
    if slurm.cluster != "slurm" or not record.exists():
        return
    from submitit import SlurmJob

    left = [job for job in json.loads(record.read_text()).values() if not SlurmJob(slurm.folder, job).done()]
    if left:
        raise UserError(
            f"jobs of an earlier call may still run: {', '.join(left)}; wait for them or scancel them "
            f"(and delete {record} if the cluster has forgotten them)"
        )


def _outcome(submitted: Any) -> Done:
    """The result of a job that is done, or why there is none."""
    from submitit.core.utils import UncompletedJobError

    try:
        return submitted.result()
    except UncompletedJobError as error:
        return Done(error=f"job {submitted.job_id} ended early: {str(error).splitlines()[0]}; {submitted.paths.stderr}")
