"""Jobs by submitit, on its executor for one machine: the same results as in processes."""

import os
import sys
from pathlib import Path

import pytest
from test_jobs import divide, double, leave, refuse

from robustsnn.ground.errors import UserError
from robustsnn.runs.jobs import Done, Job, run_jobs
from robustsnn.runs.slurm import Resumable, Slurm, submit_jobs

HERE = str(Path(__file__).parent)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Do not wait a quarter of a minute for results that a cluster's file system might show late."""
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)


def test_a_cluster_gives_the_same_results(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)  # the jobs of this test are in this folder
    told = []
    jobs = [Job("fine", double, (4,)), Job("refused", refuse, (3,), cost=2), Job("defect", divide, (0,))]
    found = submit_jobs(jobs, Slurm(tmp_path, cluster="local"), progress=lambda *now: told.append(now[:2]), every=0.1)
    assert {name: (done.value, done.error, done.defect) for name, done in found.items()} == {
        name: (done.value, done.error, done.defect) for name, done in run_jobs(jobs).items()
    }
    assert list(found) == ["fine", "refused", "defect"]
    assert told == sorted(told)
    assert told[-1] == (10_000, 10_000)
    assert not (tmp_path / "running.json").exists()


def test_a_job_that_dies_loses_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
    jobs = [Job("left", leave, (7,)), Job("fine", double, (1,))]
    found = submit_jobs(jobs, Slurm(tmp_path, cluster="local"), every=0.1)
    assert found["fine"] == Done(2)
    assert "ended early" in str(found["left"].error)
    assert str(tmp_path) in str(found["left"].error)


def test_a_job_at_its_time_limit_asks_to_be_called_again():
    job = Job("fine", double, (4,))
    again = Resumable().checkpoint(job)
    assert isinstance(again.function, Resumable)
    assert again.args == (job,)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"slurm.minutes=0"):
        Slurm(tmp_path, minutes=0)
    with pytest.raises(UserError, match="submitted"):
        submit_jobs([Job("a", double, (1,))], Slurm(tmp_path, cluster="none"))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"robustsnn\[slurm\]"):
        submit_jobs([Job("a", double, (1,))], Slurm(tmp_path))


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Stand-ins for SLURM's commands: they note the script and what is cancelled, and say what is in `state`."""
    commands = {
        "srun": "exit 1",
        "sbatch": f"cp $1 {tmp_path}/script; echo Submitted batch job 42",
        "sacct": f'S=$(cat {tmp_path}/state); printf "JobID|State|NodeList\\n42_0|$S|a\\n42_1|$S|a\\n"',
        "scancel": f"echo $1 >> {tmp_path}/cancelled",
    }
    for name, does in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_jobs_are_submitted_as_one_array_and_lost_ones_are_told(cluster):
    (cluster / "state").write_text("FAILED")
    jobs = [Job("a", double, (1,)), Job("b", double, (2,), cost=2)]
    slurm = Slurm(cluster / "out", partition="gpu", minutes=90, gpus=1, cpus=4, memory=16, parallel=1)
    found = submit_jobs(jobs, slurm, every=0.1)
    said = [str(found[name].error).partition(":")[0] for name in ("a", "b")]
    assert said == ["job 42_1 ended early", "job 42_0 ended early"]  # the longest was submitted first
    words = (cluster / "script").read_text().split()
    wanted = {"--partition=gpu", "--time=90", "--gpus-per-node=1", "--cpus-per-task=4", "--mem=16GB", "--array=0-1%1"}
    assert wanted <= set(words)


def test_an_interruption_cancels_what_is_not_done(cluster):
    (cluster / "state").write_text("RUNNING")

    def stop(done, total, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit_jobs([Job("a", double, (1,)), Job("b", double, (2,))], Slurm(cluster / "out"), progress=stop)
    assert (cluster / "cancelled").read_text().split() == ["42_0", "42_1"]
    with pytest.raises(UserError, match="may still run: 42_0, 42_1;"):
        submit_jobs([Job("a", double, (1,))], Slurm(cluster / "out"))
