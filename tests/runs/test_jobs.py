"""Jobs in processes: nothing is lost with one that fails, and nothing goes on that should not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import silent
from robustsnn.runs.jobs import Done, Job, run_jobs, tell_all, usable_cores, values


def double(value, *, progress=silent):
    progress(1, 2, "half")
    progress(1, 4, "back")  # what a job tells may fall; all jobs together never do
    return 2 * value


def surroundings(*, progress=silent):
    import torch

    return torch.get_num_threads(), os.getpid()


def clock(*, progress=silent):
    return time.monotonic()


def refuse(value, *, progress=silent):
    raise UserError(f"value={value}:\n  too small")


def divide(by, *, progress=silent):
    return 1 / by


def give_back_what_cannot_travel(*, progress=silent):
    return lambda: None


def kill_itself(marks, *, progress=silent):
    (Path(marks) / f"begun-{os.getpid()}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code, *, progress=silent):
    os._exit(code)


def wait_for(path, *, progress=silent):
    """Mark that it began, and its end, which comes after a minute or when `path` is there."""
    path.with_suffix(f".begun-{os.getpid()}").touch()
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return time.monotonic() < until


def test_values_come_by_name_in_the_order_of_the_jobs_and_progress_never_falls():
    told = []
    jobs = [Job(f"job {n}", double, (n,), cost=n + 1) for n in range(5)]
    found = run_jobs(jobs, workers=2, text="doubling", progress=lambda *now: told.append(now))
    assert list(found.items()) == [(f"job {n}", Done(2 * n)) for n in range(5)]
    assert values(found) == {f"job {n}": 2 * n for n in range(5)}
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert told[-1][2] == "doubling: 5 of 5 done"


def test_progress_tells_what_failed_from_what_is_done():
    told = []
    done = [Done(1), Done(error="it failed"), Done(error="it too", defect=True)]
    jobs = [Job(name, abs, (1,)) for name in "abcd"]
    tell_all(jobs, [1.0, 1.0, 1.0, 0.5], [3], done, "train", lambda *about: told.append(about))
    assert told == [(8750, 10_000, "train: 1 of 4 done, 2 failed, d 50 %")]
    assert run_jobs([]) == {}


def test_the_longest_begin_first():
    order = [("short", 1), ("long", 3), ("middle", 2)]
    began = values(run_jobs([Job(name, clock, cost=cost) for name, cost in order], workers=1))
    assert began["long"] < began["middle"] < began["short"]


def test_each_job_has_a_process_with_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = values(run_jobs([Job("a", surroundings), Job("b", surroundings)], workers=1))
    assert {threads for threads, _ in found.values()} == {1}
    assert len({os.getpid(), *(process for _, process in found.values())}) == 3


def test_a_failed_job_loses_no_other(tmp_path):
    jobs = [
        Job("refused", refuse, (3,)),
        Job("defect", divide, (0,)),
        Job("killed", kill_itself, (tmp_path,)),
        Job("left", leave, (7,)),
        Job("cannot travel", give_back_what_cannot_travel),
        Job("fine", double, (4,)),
    ]
    found = run_jobs(jobs, workers=2)
    assert found["fine"] == Done(8)
    assert found["refused"] == Done(error="value=3: too small")
    assert found["defect"].error == "ZeroDivisionError: division by zero"
    assert found["defect"].defect
    assert "in divide" in found["defect"].trace
    assert "ended by SIGKILL (out of memory?)" in str(found["killed"].error)
    assert len(list(tmp_path.glob("begun-*"))) == 1  # not tried again and again
    assert found["left"] == Done(error="its process ended early with exit code 7")
    assert found["cannot travel"].defect
    with pytest.raises(RuntimeError, match="in divide"):
        values(found)
    with pytest.raises(UserError, match=r"refused: value=3: too small; killed: its .*; left: its process"):
        values({name: done for name, done in found.items() if not done.defect})


def test_an_interrupted_call_ends_its_processes(tmp_path):
    def stop(done, total, text):
        if list(tmp_path.glob("*.begun-*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("waits", wait_for, (tmp_path / "end",))], progress=stop)
    (begun,) = tmp_path.glob("*.begun-*")
    assert not alive(int(begun.suffix.split("-")[1]))


def test_processes_end_when_their_parent_dies(tmp_path):
    code = (
        "from pathlib import Path\nfrom robustsnn.runs.jobs import Job, run_jobs\nfrom test_jobs import wait_for\n"
        f"if __name__ == '__main__': run_jobs([Job('waits', wait_for, (Path({str(tmp_path)!r}) / 'end',))])\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    path = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    begun = eventually(lambda: list(tmp_path.glob("*.begun-*")))
    parent.kill()
    parent.wait()
    eventually(lambda: not alive(int(begun[0].suffix.split("-")[1])))


def test_wrong_jobs_are_refused_before_any_begins():
    with pytest.raises(UserError, match="workers=0"):
        run_jobs([Job("a", double, (1,))], workers=0)
    with pytest.raises(ValueError, match="same name: a"):
        run_jobs([Job("a", double, (1,)), Job("a", double, (2,))])
    with pytest.raises(ValueError, match="cost=0"):
        run_jobs([Job("a", double, (1,), cost=0)])
    assert usable_cores() >= 1


def eventually(found, seconds=30):
    """What `found` says as soon as it says something; fails after so many seconds."""
    until = time.monotonic() + seconds
    while not (now := found()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return now


def alive(process):
    """Whether a process runs; one that ended and was not waited for by its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
