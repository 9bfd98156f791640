"""The demo, shortened, and the README's example."""

import json
import re
from pathlib import Path

import pytest

from robustsnn.demo import configs, demo
from robustsnn.errors import UserError

README = Path(__file__).parent.parent / "README.md"


def test_demo_writes_results_and_report_and_continues(tmp_path):
    told = []
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
    assert {p: p.stat().st_mtime_ns for p in weights} == weights
    with pytest.raises(UserError, match="another config"):
        demo(tmp_path, epochs=1, limit=10, seed=1)


def test_the_runs_differ_in_the_objective_alone():
    plain = [c.to_dict() | {"name": None, "objective": None} for c in configs(3).values()]
    assert all(c == plain[0] for c in plain)


def test_the_example_of_the_readme_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from"))]) <= 10
    quick = code.replace("epochs=12", "epochs=1").replace("(model, data.test,", "(model, data.test.take(8),")
    assert quick.count("epochs=1,") == 1
    exec(compile(quick, "README.md", "exec"), {})
    assert "'accuracy'" in capsys.readouterr().out
