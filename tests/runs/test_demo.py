"""The demo, shortened."""

import json

import pytest

from robustsnn.ground.errors import UserError
from robustsnn.runs import demo as module
from robustsnn.runs.demo import configs, demo
from robustsnn.runs.jobs import Done, tell_all


def here(jobs, *, text, progress):
    """All jobs one after another in this process, which spares the starts of others."""
    shares = [0.0] * len(jobs)
    done = []
    for number, job in enumerate(jobs):

        def tell(now, total, _, number=number):
            shares[number] = now / total
            tell_all(jobs, shares, [number], done, text, progress)

        done.append(Done(job.call(*job.arguments, progress=tell)))
    return {job.name: one for job, one in zip(jobs, done, strict=True)}


@pytest.mark.slow
def test_demo_writes_results_and_report_and_continues(tmp_path, monkeypatch, unchecked):
    told = []
    monkeypatch.setattr(module, "run_jobs", here)
    results = demo(tmp_path, epochs=1, limit=10, progress=lambda done, total, text: told.append((done, total)))
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert list(results["models"]) == ["vanilla", "SR", "AT", "SR*"]
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in results["models"])
    weights = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("weights.safetensors")}
    assert len(weights) == 4
    assert demo(tmp_path, epochs=1, limit=10)["models"] == results["models"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "TRAINING", {"vanilla": 3})  # of which a process of its own says the same
    (again,) = demo(tmp_path, epochs=1, limit=10)["models"].values()
    assert all(again[key] == results["models"]["vanilla"][key] for key in ("clean", "columns", "attacks", "curve"))
    assert {p: p.stat().st_mtime_ns for p in weights} == weights
    with pytest.raises(UserError, match="another config"):
        demo(tmp_path, epochs=1, limit=10, seed=1)


def test_the_runs_differ_in_the_objective_alone():
    plain = [c.to_dict() | {"name": None, "objective": None} for c in configs(3).values()]
    assert all(c == plain[0] for c in plain)
