"""One writer per folder, also when writers are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from robustsnn.ground import claim
from robustsnn.ground.claim import claimed, claimed_files, claimed_part
from robustsnn.ground.errors import UserError
from robustsnn.ground.ours import LOCK

HOLDER = """
import sys, time
from pathlib import Path
from robustsnn.ground.claim import claimed, claimed_files, claimed_part
what, path, part = sys.argv[1:]
with {"whole": lambda: claimed(Path(path)), "part": lambda: claimed_part(Path(path), part),
      "file": lambda: claimed_files([Path(path)])}[what]():
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(what, path, part="1-of-2"):
    """Another process that holds a lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, what, str(path), part], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(claim, "PATIENCE", 0.1)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_told_who_writes_and_a_dead_one_locks_nobody_out(tmp_path):
    run = tmp_path / "run"
    with holder("whole", run) as other:
        with pytest.raises(UserError, match=f"is being written by process {other.pid} on .*, since 20.*; wait until"):
            claimed(run).__enter__()
        with pytest.raises(UserError, match="is being written"):
            claimed_part(run, "1-of-2").__enter__()
        assert json.loads((run / LOCK).read_text())["pid"] == other.pid
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert json.loads((run / LOCK).read_text())["pid"] == other.pid  # a stale lock
    with claimed(run):
        assert json.loads((run / LOCK).read_text())["pid"] == os.getpid()
        (run / "config.yaml").write_text("")
    assert json.loads((run / LOCK).read_text()) == {"made_by": "robustsnn"}


def test_a_process_about_to_end_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "PATIENCE", 20.0)
    with holder("whole", tmp_path) as other:
        threading.Timer(0.2, other.kill).start()
        with claimed(tmp_path):
            assert other.wait() == -signal.SIGKILL


def test_within_a_block_of_the_same_folder_but_not_from_another_thread(tmp_path):
    run = tmp_path / "run"
    found = []

    def elsewhere():
        try:
            with claimed(run):
                pass
        except UserError as error:
            found.append(str(error))

    with claimed(run):
        with claimed(run), claimed(Path(os.path.relpath(run))):
            pass
        assert "pid" in json.loads((run / LOCK).read_text())
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with claimed(tmp_path, overwrite=True):  # another folder
            pass
    assert len(found) == 1
    assert f"process {os.getpid()}" in found[0]


def test_what_stays_empty_goes_again(tmp_path):
    with claimed(tmp_path / "a" / "b"):
        assert names(tmp_path / "a" / "b") == [LOCK]
    assert not names(tmp_path)
    (tmp_path / "empty").mkdir()
    with claimed(tmp_path / "empty"):
        pass
    assert not names(tmp_path / "empty")
    with claimed(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").write_text("")
    assert names(tmp_path / "a" / "b") == [LOCK, "file"]


def test_parts_go_side_by_side_and_the_whole_waits_for_none(tmp_path):
    with claimed_part(tmp_path, "1-of-2"), claimed_part(tmp_path, "2-of-2"):
        assert names(tmp_path) == [".robustsnn.1-of-2.lock", ".robustsnn.2-of-2.lock", LOCK]
    assert names(tmp_path) == [LOCK]
    with holder("part", tmp_path) as other:
        with claimed_part(tmp_path, "2-of-2"):
            pass
        with pytest.raises(UserError, match=f"process {other.pid}"), claimed_part(tmp_path, "1-of-2"):
            pass
        with pytest.raises(UserError, match=f"process {other.pid}"), claimed(tmp_path):
            pass
        assert ".robustsnn.1-of-2.lock" in names(tmp_path)
    with claimed(tmp_path):  # the killed part is forgotten
        assert names(tmp_path) == [LOCK]


def test_leftovers_of_killed_processes_go_and_nothing_else(tmp_path):
    stale = [".results.json.0123456789abcdef.tmp", "state/.last.safetensors.0123456789abcdef.tmp"]
    stale += ["outcomes/quick/.batch-00000.npz.0123456789abcdef.tmp"]
    stay = [".results.json.0123456789abcdeg.tmp", "results.json.0123456789abcdef.tmp", ".mine.tmp", "state/.a.b.tmp"]
    stay += ["notes/.results.json.0123456789abcdef.tmp", "linked"]
    outside = tmp_path / "outside"
    run = tmp_path / "run"
    for path in [*(run / name for name in (*stale, *stay[:-1])), outside / ".a.0123456789abcdef.tmp"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    os.symlink(outside, run / "linked")
    with claimed_part_or_whole(run, part=True):
        assert all((run / name).exists() for name in stale)  # another part may be writing them
    with claimed_part_or_whole(run, part=False):
        assert not any((run / name).exists() for name in stale)
    assert all((run / name).exists() for name in stay)
    assert names(outside) == [".a.0123456789abcdef.tmp"]


def claimed_part_or_whole(run, part):
    return claimed_part(run, "1-of-2") if part else claimed(run, overwrite=True)


def test_one_report_at_a_time_in_a_folder_of_anybodys(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with claimed_files([tmp_path / "new" / "report.html"]):
        pass
    assert names(tmp_path / "new") == []
    with holder("file", tmp_path / "report.html") as other:
        with pytest.raises(UserError, match=f"report.html is being written by process {other.pid}"):
            claimed_files([tmp_path / "report.html"]).__enter__()
        with claimed_files([tmp_path / "other.html"]):
            pass
    for name in (".report.html.0123456789abcdef.tmp", ".report.csv.0123456789abcdef.tmp", ".a.0123456789abcdef.tmp"):
        (tmp_path / name).write_text("")
    with claimed_files([tmp_path / "report.html", tmp_path / "report.csv"]):
        assert names(tmp_path) == [".a.0123456789abcdef.tmp", ".report.html.lock", "mine.txt", "new"]
    assert names(tmp_path) == [".a.0123456789abcdef.tmp", "mine.txt", "new"]


@pytest.mark.parametrize("name", [LOCK, ".robustsnn.1-of-2.lock"])
def test_a_lock_that_is_a_link_is_not_written_through(tmp_path, name):
    (tmp_path / "mine").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    os.symlink(tmp_path / "mine", run / name)
    for block in (lambda: claimed(run, overwrite=True), lambda: claimed_part(run, "1-of-2")):
        with pytest.raises(UserError, match=r"is a link to .*mine; remove the link"):
            block().__enter__()
    assert (tmp_path / "mine").read_text() == "mine"
