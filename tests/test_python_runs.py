"""Python can all that the command line can, and the folders that it writes are runs like any other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import robustsnn
from robustsnn.cli import main
from robustsnn.data.digits import digits
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.objectives import Natural
from robustsnn.reporting.reading import read_runs
from robustsnn.runs.folder import evaluate_run, load_run

MINE = '''
"""Networks of a user's own."""
import torch
from torch import nn
from robustsnn.models.classifier import classifier
from robustsnn.models.time import Fold
from robustsnn.neurons import LIF, Neurons

def spiking(*, image=(1, 8, 8), classes=10, tau: float = 1.0):
    """One hidden layer of spikes."""
    hidden = (Fold(nn.AvgPool2d(2)), nn.Flatten(2), nn.Linear(16, 24), Neurons(LIF(tau=tau), 2))
    return classifier(nn.Sequential(*hidden, nn.Linear(24, classes)), None, image, [0.3], [0.4])

class Plain(nn.Module):
    """No spikes."""
    def __init__(self, width: int = 4, slope: float = 0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.LeakyReLU(slope), nn.Linear(width, 10))

    def forward(self, x):
        return self.body(x)
'''
NAMED = {"model": {"name": "mine_of_python:spiking", "options": {"tau": 0.5}}, "data": {"name": "digits"}}
PLAIN = {"model": {"name": "mine_of_python:Plain", "options": {"width": 6}}, "data": {"name": "digits"}}
ATTACK = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "12"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a user's module, imported."""
    (tmp_path / "mine_of_python.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    import mine_of_python

    yield mine_of_python
    del sys.modules["mine_of_python"]


def fitted(net, run, config=None):
    data = digits()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    train = data.train.take(256)
    run = robustsnn.training.RunFolder(run, config)
    robustsnn.fit(net, train, Natural(), optimiser, epochs=1, batch_size=64, run=run)
    return net, data.test.take(12)


def test_what_fit_leaves_is_evaluated_analysed_and_reported_by_the_command_line(mine, capsys):
    torch.manual_seed(0)
    net, test = fitted(mine.spiking(tau=0.5), "run", NAMED)
    assert main(["evaluate", "run", *ATTACK]) == 2
    assert "model.name=mine_of_python:spiking would import" in capsys.readouterr().err
    assert main(["evaluate", "run", *ATTACK, "--trust-code"]) == 0
    assert main(["analyze", "run", "--parts", "energy", "--limit", "4", "--trust-code"]) == 0
    assert main(["report", "run", "--out", "page.html", "--card"]) == 0
    (entry,) = json.loads(Path("run/results.json").read_text())["models"].values()
    found = robustsnn.evaluate(net, test, "paper-trail", "8/255")
    assert {key: entry[key] for key in found.to_dict()} == found.to_dict()
    document = yaml.safe_load(Path("run/config.yaml").read_text())
    assert "objective" not in document  # what it does not know it does not claim
    assert document["provenance"]["objective"] == "Natural()"
    assert document["about"]["model.name"]["text"] == "One hidden layer of spikes."
    assert "vanilla" not in Path("page.html").read_text()


def test_a_run_that_names_no_model_is_reported_and_given_again(mine, capsys):
    net, test = fitted(mine.Plain(), Path("run"))
    assert main(["report", "run", "--out", "page.html"]) == 0
    assert main(["evaluate", "run", *ATTACK, "--trust-code"]) == 2
    assert "its model was made in Python" in capsys.readouterr().err
    found = robustsnn.evaluate(net, test, "paper-trail", "8/255", out="run", images=True)
    (run,) = read_runs([Path("run")])
    ((name, result),) = run.results.models.items()
    assert (name, result.worst_case.accuracy) == ("run", found.worst_case.accuracy)
    assert run.samples is not None
    assert Path("run/adversarial/paper-trail.safetensors").exists()
    with torch.no_grad():
        net.body[1].bias += 1
    with pytest.raises(robustsnn.UserError, match="other weights"):
        robustsnn.evaluate(net, test, "paper-trail", "8/255", out="run")


def test_what_evaluate_leaves_is_a_run(mine):
    torch.manual_seed(1)
    net = mine.Plain(width=6)
    x, y = digits().test.take(10).floats()
    first = robustsnn.evaluate(net, (x, y), "paper-trail", "8/255", out="run", config=PLAIN)
    again = robustsnn.evaluate("run", (x, y), "paper-trail", "8/255", trust_code=True)
    assert again.to_dict() == first.to_dict()
    assert again.outcomes.equals(first.outcomes)
    assert np.array_equal(again.standing, first.standing)
    assert main(["evaluate", "run", *ATTACK, "--trust-code"]) == 0
    with pytest.raises(robustsnn.UserError, match="another data than config"):
        robustsnn.evaluate(net, (x, y), "paper-trail", "8/255", out="run", config={**PLAIN, "data": {"name": "disks"}})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**NAMED, "model": {"name": "mine_of_python:spiking", "options": {"tau": 0.25}}}, "answers otherwise"),
        ({**NAMED, "model": {"name": "mine_of_python:spiking"}}, "answers otherwise"),
        ({**NAMED, "model": {"name": "mine_of_python:Plain"}}, "does not fit the model"),
    ],
)
def test_a_name_that_makes_another_network_is_refused(mine, config, said):
    torch.manual_seed(0)
    fitted(mine.spiking(tau=0.5), "run", config)
    with pytest.raises(robustsnn.UserError, match=said):
        load_run("run", trust_code=True)


def test_a_witness_that_is_none_is_refused_in_words(mine):
    fitted(mine.spiking(tau=0.5), "run", NAMED)
    path = Path("run/witness.safetensors")
    good = read_tensors(path, "")[0]
    for bad in ({"image": good["image"]}, {**good, "logits": good["logits"][:, :3]}, {**good, "image": torch.zeros(2)}):
        write_tensors(path, bad, {})
        with pytest.raises(robustsnn.UserError, match=r"is no witness|answers otherwise"):
            load_run("run", trust_code=True)
    path.write_bytes(b"x")
    with pytest.raises(robustsnn.UserError, match="not a readable safetensors file"):
        load_run("run", trust_code=True)


def test_a_network_that_draws_random_numbers_has_no_witness(mine):
    class Noisy(mine.Plain):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 10)

    fitted(Noisy(), "run")
    assert not Path("run/witness.safetensors").exists()


def test_a_config_is_checked_before_anything_is_trained(mine):
    for wrong in ({"modell": {}}, {"model": {"name": "vgg12"}}, {"data": "digits"}):
        with pytest.raises(robustsnn.UserError):
            fitted(mine.Plain(), "run", wrong)
    with pytest.raises(robustsnn.UserError, match="run=None: the name of a file or a folder"):
        fitted(mine.Plain(), None, PLAIN)
    assert not Path("run").exists()


def test_train_analyse_and_report_in_python_are_those_of_the_command_line(mine):
    options = {"epochs": 1, "batch_size": 512, "crop": 0}
    Path("c.yaml").write_text(yaml.safe_dump({**NAMED, "train": options}))
    assert main(["train", "c.yaml", "--out", "shell", "--trust-code"]) == 0
    with pytest.raises(robustsnn.UserError, match="trust_code=True"):
        robustsnn.train("c.yaml", "no")
    runs = [robustsnn.train("c.yaml", "file", trust_code=True), robustsnn.train({**NAMED, "train": options}, "given")]
    weights = {Path(run, "weights.safetensors").read_bytes() for run in (*runs, "shell")}
    assert len(weights) == 1
    assert main(["analyze", "shell", "--parts", "energy", "--limit", "4", "--trust-code"]) == 0
    found = robustsnn.analyze("given", parts=["energy"], limit=4, trust_code=True)
    _, net, data = load_run("file", trust_code=True)
    assert robustsnn.analyze(net, data.test, ["energy"], limit=4) == found
    assert not Path("file/analysis").exists()
    assert robustsnn.analyze(net, data.test, ["energy"], limit=4, out="file") == found
    files = {Path(run, "analysis/energy.json").read_bytes() for run in ("shell", "given", "file")}
    assert len(files) == 1
    evaluate_run(Path("shell"), "paper-trail", "8/255", trust_code=True)
    seen = robustsnn.evaluate("given", suite="paper-trail", eps="8/255", trust_code=True)
    results = [json.loads(Path(run, "results.json").read_text()) for run in ("shell", "given")]
    assert results[0] == results[1]
    assert seen.to_dict() == next(iter(results[0]["models"].values()))
    page = robustsnn.report(["given", "file"], "page.html", title="Two runs", card=True)
    assert "Two runs" in page.read_text()
    assert Path("given/card.md").exists()
    alone = robustsnn.report({"a & b": seen, "c": seen}, "alone.html").read_text()
    assert "a &amp; b" in alone
    assert "tmp" not in alone


def test_wrong_calls_are_refused_in_words(mine):
    x, y = digits().test.take(4).floats()
    net = mine.Plain()
    for arguments, options, said in (
        ((net, (x, y), "quick"), {}, "give eps"),
        ((net,), {"eps": 0.1}, "give data"),
        ((net, (x, y), "quick", 0.1), {"config": PLAIN}, "give out"),
        (("run", None, "quick", 0.1), {"out": "other"}, "its own folder"),
        (("nowhere", None, "quick", 0.1), {}, "is not a run"),
    ):
        with pytest.raises(robustsnn.UserError, match=said):
            robustsnn.evaluate(*arguments, **options)
    with pytest.raises(robustsnn.UserError, match="give data"):
        robustsnn.analyze(net)
    with pytest.raises(robustsnn.UserError, match="give folders"):
        robustsnn.report({}, card=True)
