"""A short form of `benchmarks/storm.py`: a few kills, and not a bit differs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).parents[1] / "benchmarks" / "storm.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self/fd").exists(), reason="Linux only")
def test_killed_and_continued_is_undisturbed(tmp_path):
    out = tmp_path / "kills.json"
    works = ["train", "evaluate", "reproduce"]
    command = [sys.executable, str(STORM), "kills", "--kills", "12", "--minutes", "2", "--json", str(out), "--works"]
    done = subprocess.run([*command, *works], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(out.read_text())["seed 1"]["works"]
    assert set(counts) == set(works)
    assert sum(count["kills"] for count in counts.values()) >= 6
    for count in counts.values():
        assert (count["differ"], count["leftovers_kept"], count["half"], count["stuck"]) == (0, 0, 0, 0)
