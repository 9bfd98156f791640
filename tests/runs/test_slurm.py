"""Jobs by submitit, on its executor for one machine: the same results as in processes."""

import os
import sys
from pathlib import Path

import pytest
import torch
from test_jobs import divide, double, leave, refuse, surroundings

from robustsnn.cli import main
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
    for job, next_call in ((Job("fine", double, (4,)), double), (Job("fine", double, (4,), again=refuse), refuse)):
        asked = Resumable(3).checkpoint(job)
        assert asked.function == Resumable(3)
        assert asked.args == (Job("fine", next_call, (4,), again=job.again),)


def test_a_job_has_a_thread_for_each_processor(monkeypatch):
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    try:
        assert Resumable(2)(Job("a", surroundings)).value[0] == 2
    finally:
        torch.set_num_threads(before)


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
    slurm = Slurm(cluster / "out", "gpu", "lab", "short", "a100&nvlink", 90, gpus=1, cpus=4, memory=16, parallel=1)
    found = submit_jobs(jobs, slurm, every=0.1)
    said = [str(found[name].error).partition(":")[0] for name in ("a", "b")]
    assert said == ["job 42_1 ended early", "job 42_0 ended early"]  # the longest was submitted first
    words = (cluster / "script").read_text().split()
    wanted = {"--account=lab", "--qos=short", "--constraint='a100&nvlink'"}
    wanted |= {"--partition=gpu", "--time=90", "--gpus-per-node=1", "--cpus-per-task=4", "--mem=16GB", "--array=0-1%1"}
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


@pytest.fixture
def working(tmp_path, monkeypatch):
    """A cluster of one machine: what is submitted runs there, each job with its number, as SLURM would start it."""
    states = tmp_path / "states"
    states.mkdir()
    submit = f"""
id=$(($(cat {tmp_path}/id 2>/dev/null || echo 41) + 1)); echo $id > {tmp_path}/id; cp $1 {tmp_path}/script
export SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=a
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $1)
for task in $(seq 0 ${{last:-0}}); do
  name=$id; [ -n "$last" ] && export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$task && name=${{id}}_$task
  echo RUNNING > {states}/$name  # submitit needs a moment to put the job where it is looked for
  (sleep 1; SLURM_JOB_ID=$id sh {tmp_path}/script; echo COMPLETED > {states}/$name) >> {tmp_path}/log 2>&1 &
done
echo Submitted batch job $id"""
    tell = f"""printf "JobID|State|NodeList\\n"
for name in $(ls {states}); do printf "$name|$(cat {states}/$name)|a\\n"; done"""
    commands = {
        "srun": f'until [ "$1" = {sys.executable} ]; do shift; done; exec "$@"',
        "sbatch": submit,
        "sacct": tell,
        "scancel": "exit 0",
    }
    for name, does in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TINY = ["--model.steps", "1", "--model.options.width", "0.25", "--train.epochs", "1", "--train.batch_size", "512"]
ATTACK = ["--attack", "fgsm", "--eps", "8/255", "--limit", "8"]
CLUSTER = ["--executor", "slurm", "--slurm.account", "lab"]


@pytest.mark.slow
def test_training_and_evaluation_on_a_cluster_are_those_of_this_process(working, capsys):
    assert main(["train", *TINY, "--out", "runs/far", *CLUSTER]) == 0
    assert "#SBATCH --account=lab" in (working / "script").read_text()
    assert main(["train", *TINY, "--out", "runs/near"]) == 0
    weights = [(working / "runs" / name / "weights.safetensors").read_bytes() for name in ("far", "near")]
    assert weights[0] == weights[1]
    capsys.readouterr()
    said = []
    for name, where in (("far", CLUSTER), ("near", [])):
        assert main(["evaluate", f"runs/{name}", *ATTACK, *where]) == 0
        said.append(capsys.readouterr().out.replace(name, "RUN"))
    assert said[0] == said[1]
    assert main(["train", *TINY, "--out", "runs/far", *CLUSTER]) == 2
    assert "holds a run already; use --resume" in capsys.readouterr().err
    assert main(["train", *TINY, "--out", "runs/far", *CLUSTER, "--resume"]) == 0


@pytest.mark.slow
def test_a_reproduction_on_a_cluster_is_that_of_this_process(working, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(HERE).parent / "outside"), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(Path(HERE).parent / "outside"))
    for name, where in (("far", CLUSTER), ("near", ["--workers", "1"])):
        assert main(["reproduce", "willow.recipes:twigs", "--out", name, "--limit", "6", *where]) == 0
    assert "#SBATCH --array=0-1%2" in (working / "script").read_text()
    far, near = ((working / name / "digits" / "twigs.json").read_text() for name in ("far", "near"))
    assert far == near


def test_what_does_not_go_together_is_refused(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "out")
    for command in (["train", "--out", out], ["evaluate", out, *ATTACK], ["reproduce", "all", "--out", out]):
        assert main([*command, "--slurm.qos", "low"]) == 2
        assert "only --executor slurm takes --slurm.qos" in capsys.readouterr().err
    assert main(["reproduce", "all", "--out", out, "--executor", "slurm", "--workers", "2"]) == 2
    assert "--slurm.parallel" in capsys.readouterr().err
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert main(["train", "--out", out, "--executor", "slurm"]) == 2
    assert "leave out torchrun" in capsys.readouterr().err
    assert not Path(out).exists()
