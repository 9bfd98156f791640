"""A foreign package with one concept of each kind trains, sweeps, is attacked, analysed and reported.

It lies in the current folder, as a user's does, and is named in a YAML file and on the command line alone.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

import robustsnn
from robustsnn.cli import main
from robustsnn.ground.tensors import read_tensors
from robustsnn.names import KINDS, installed
from robustsnn.names.parsing import parse_config
from robustsnn.names.things import resolve
from robustsnn.neurons import LIF
from robustsnn.runs.folder import load_run

HERE = Path(__file__).parent
ATTACK = ("--suite", "willow.attacks:pair", "--eps", "0.2", "--limit", "12")
POINTS = {
    "data": "blobs=willow.data:blobs",
    "model": "twig=willow.models:twig",
    "suite": "pair=willow.attacks:pair",
}


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """A folder with the package and its config, and nothing of it imported."""
    shutil.copytree(HERE / "willow", tmp_path / "willow")
    shutil.copy(HERE / "willow.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    forget()


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "willow"]:
        del sys.modules[name]


def test_the_library_knows_nothing_of_it():
    names = {path.stem for path in (HERE / "willow").glob("*.py")} - {"__init__"}
    assert len(names) > 5
    for path in Path(robustsnn.__file__).parent.rglob("*"):
        if path.suffix in (".py", ".yaml", ".j2"):
            assert "willow" not in path.read_text("utf-8").lower()


def test_from_a_config_to_a_report(garden, capsys):
    assert main(["train", "willow.yaml", "--out", "run"]) == 2
    assert "model.name=willow.models:twig" in capsys.readouterr().err
    assert "willow" not in sys.modules
    assert main(["train", "willow.yaml", "--dry_run", "--trust-code"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["objective"]["name"] == "willow.training:Quiet"
    assert main(["train", "willow.yaml", "--out", "run", "--trust-code"]) == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["lam"] for line in lines] == [0, 0.01, 0.01, 0.01]  # the schedule
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.02, 0.015, 0.01, 0.005])
    assert lines[-1]["train"]["quiet"] > 0
    assert lines[-1]["validation"]["accuracy"] > 0.6
    weights, _ = read_tensors(Path("run/weights.safetensors"), "")
    largest = max(float(tensor.abs().max()) for name, tensor in weights.items() if name.endswith(("weight", "bias")))
    assert largest <= 0.5  # the constraint

    # Later its own folder is a file like any other.
    forget()
    for command in (["evaluate", "run", *ATTACK], ["analyze", "run"], ["train", "run/config.yaml", "--out", "run"]):
        assert main(command) == 2
        assert "--trust-code" in capsys.readouterr().err
    assert "willow.models" not in sys.modules

    assert main(["evaluate", "run", *ATTACK, "--save_images", "--trust-code"]) == 0
    (entry,) = json.loads(Path("run/results.json").read_text())["models"].values()
    assert list(entry["columns"]) == ["FGSM", "Cautious"]
    assert main(["evaluate", "run", "--images", "run/adversarial/willow.attacks.pair.safetensors", "--trust-code"]) == 0
    analyze = ["analyze", "run", "--parts", "trail,gradients,energy,willow.rings:study", "--limit", "4", "--trust-code"]
    looks = ["--loss", "willow.attacks:brier", "--attack", "willow.attacks:jump", "--eps", "0.1"]
    assert main([*analyze, *looks, "--rule", "willow.neurons:Halved"]) == 0
    trail = json.loads(Path("run/analysis/trail.json").read_text())
    assert (trail["loss"], trail["rule"]) == ("brier", "Halved(surrogate=Cauchy(scale=0.5))")

    assert "Rings\n\nQuiet* says " in capsys.readouterr().out
    rings = json.loads(Path("run/analysis/willow.rings.study.json").read_text())
    assert len(rings["largest"]) == 3
    assert rings["made_with"] == trail["made_with"]

    # The report reads it from the run: the package is gone.
    forget()
    shutil.rmtree("willow")
    assert main(["report", "run", "--out", "page.html", "--card"]) == 0
    page, card = Path("page.html").read_text(), Path("run/card.md").read_text()
    for text in ("Quiet logits (eps 2/255", "Q. Uiet. On logits. 2032", "P. Air. Two attacks. 2033", "W. Illow."):
        assert text in page
        assert text in card.replace("\\", "")
    assert "Blobs say nothing about trees." in page
    assert '<h2 id="willow-rings-study">Rings</h2>' in page
    assert "Rings of a willow" in page
    assert f"Quiet* says {max(rings['largest']):.2f} at most." in page
    assert "### Rings" in card
    rings["blocks"][1]["lines"] = 3
    Path("run/analysis/willow.rings.study.json").write_text(json.dumps(rings))
    assert main(["report", "run", "--out", "page.html"]) == 2
    assert "analyse the run again" in capsys.readouterr().err
    assert "One convolution, neurons, one linear layer" in card.replace("\\", "")
    assert "willow" not in sys.modules


def test_the_network_is_made_of_all_of_them(garden):
    config = parse_config(yaml.safe_load(Path("willow.yaml").read_text()), "willow.yaml", trust_code=True)
    from robustsnn.runs.build import build_attack, build_constraints, build_data, build_model, build_objective

    data = build_data(config.data)
    model = build_model(config.model, data, 0)
    neurons = model.body[1]
    assert next(model.body[0].parameters()).shape == (3, 1, 3, 3)
    assert repr(neurons.neuron).startswith("Amplified(")
    assert neurons.neuron.factor == 2
    assert repr(neurons.rule) == "Halved(surrogate=Cauchy(scale=0.4))"
    assert (model.encoder.steps, model.encoder.first) == (3, 0.25)
    assert repr(build_attack(config.objective.attack).step) == f"Cautious(alpha={1 / 255!r})"
    assert repr(build_constraints(config.objective, model)) == "(Within(limit=0.5),)"
    objective = build_objective(config.objective)
    assert "Quiet(lam=0.01, over=Adversarial(" in repr(objective)
    # Amplifying by two is the same network as doubling the current, forward and backward.
    x, _ = data.test.take(4).floats()
    plain = build_model(config.model, data, 0)
    plain.load_state_dict(model.state_dict())
    plain.body[1].neuron = type(neurons.neuron)(factor=1.0)
    with torch.no_grad():
        for parameter in plain.body[0].parameters():
            parameter *= 2
    gradients = []
    for net in (model.eval(), plain.eval()):
        leaf = x.clone().requires_grad_()
        logits = net(leaf)
        gradients.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), leaf)))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert gradients[0][1].abs().sum() > 0


def test_a_neuron_of_ones_own_is_never_taken_for_a_plain_one(garden):
    """A twin by the fields of LIF would be another neuron; and so would be the compiled one that has the norm in it."""
    from robustsnn.models.time import Layers
    from robustsnn.neurons import STBP, Neurons, compilation
    from robustsnn.neurons.fused import compiler_available
    from robustsnn.neurons.normed import fusable
    from robustsnn.neurons.smooth import smooth_forward

    sys.path.append(str(garden))
    from willow.neurons import Amplified

    own, plain = (Neurons(neuron, 2) for neuron in (Amplified(), LIF()))
    with pytest.raises(robustsnn.UserError, match="differentiable or smooth twin"):
        own.neuron.differentiable(STBP().surrogate)
    with pytest.raises(robustsnn.UserError, match="differentiable or smooth twin"), smooth_forward(Layers(own)):
        pass
    x = torch.rand(2, 2, 3, 4, 4).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    with compilation("always"):
        norm = torch.nn.BatchNorm2d(3)
        assert fusable(norm, plain, x) == compiler_available("cpu")
        assert not fusable(norm, own, x)


def test_names_in_python_are_trusted(garden):
    from robustsnn.names.config import Config, DataConfig, ModelConfig, TrainConfig
    from robustsnn.runs.folder import train_run

    train = TrainConfig(epochs=1, crop=0)
    config = Config(data=DataConfig("willow.data:blobs"), model=ModelConfig("willow.models:twig"), train=train)
    train_run(config, Path("run"))
    _, model, data = load_run("run", trust_code=["willow.data:blobs", "willow.models:twig"])
    found = robustsnn.evaluate(model, data.test, "willow.attacks:pair", 0.2)
    assert list(found.columns) == ["FGSM", "Cautious"]
    with pytest.raises(robustsnn.UserError, match=r"data\.name=willow\.data:blobs would import"):
        load_run("run", trust_code=["willow.models:twig"])


@pytest.mark.slow
def test_a_sweep_over_names(garden, capsys):
    command = ["sweep", "willow.yaml", "--over", "model.name=willow.models:twig", "--over", "train.epochs=1"]
    command += ["--out", "runs", "--suite", "willow.attacks:pair", "--eps", "0.2", "--limit", "8"]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "data.name=willow.data:blobs" in err
    assert "model.name" not in err  # it is typed
    assert main([*command, "--trust-code"]) == 0
    (point,) = json.loads(Path("runs/sweep.json").read_text())["points"]
    assert point["overrides"] == {"model.name": "willow.models:twig", "train.epochs": 1}
    assert point["results"]["clean"]["n"] == 8
    with pytest.raises(robustsnn.UserError, match="trust_code=True"):
        load_run(Path("runs") / point["run"])
    load_run(Path("runs") / point["run"], trust_code=True)


def test_an_installed_package_adds_names(garden, capsys):
    folder = garden / "willow-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: willow\nVersion: 1.0\n")
    groups = (f"[robustsnn.{kind}]\n{point}\n" for kind, point in POINTS.items())
    (folder / "entry_points.txt").write_text("\n".join(groups))
    sys.path.append(str(garden))
    assert {kind: list(installed(kind)) for kind in KINDS if installed(kind) and kind != "recipe"} == {
        "data": ["blobs"],
        "model": ["twig"],
        "suite": ["pair"],
    }
    assert main(["list", "models"]) == 0
    assert "twig               willow.models:twig, of an installed package" in capsys.readouterr().out
    Path("short.yaml").write_text("data: {name: blobs}\nmodel: {name: twig, steps: 2}\ntrain: {epochs: 1, crop: 0}\n")
    assert main(["train", "short.yaml", "--out", "run"]) == 2  # installed is not trusted
    assert "would import and run willow.data, willow.models" in capsys.readouterr().err
    assert main(["train", "--data.name", "blob", "--out", "run"]) == 2
    assert "did you mean blobs?" in capsys.readouterr().err
    assert main(["train", "short.yaml", "--data.name", "blobs", "--model.name", "twig", "--out", "run"]) == 0
    assert main(["evaluate", "run", "--suite", "pair", "--eps", "0.2", "--limit", "6", "--trust-code"]) == 0


@pytest.mark.slow
def test_a_recipe_is_made_again_by_name(garden, capsys):
    """Trained, attacked and measured in processes of their own, which import it too."""
    assert main(["reproduce", "willow.recipes:twig", "--out", "made"]) == 2
    assert "willow.recipes has no twig; did you mean twigs?" in capsys.readouterr().err
    assert main(["reproduce", "willow.recipes:TWIGS", "--out", "made"]) == 2
    assert "needed is a robustsnn.recipes.Recipe, it is a tuple" in capsys.readouterr().err
    assert main(["reproduce", "willow.recipes:twigs", "--out", "made", "--limit", "6", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "twig of 4" in said
    assert "twig of 8" in said
    page = Path("made/digits/twigs.html")
    assert str(page) in said
    assert "Twigs of two sizes" in page.read_text()
    assert json.loads(Path("made/digits/runs/twig-8-1/recipes/leaves-6.json").read_text())["found"] == 8
    assert {path.name for path in Path("made/digits/runs").iterdir()} == {"twig-4-1", "twig-8-1"}


class Blind(torch.nn.Module):
    """Says the first class to everything."""

    def forward(self, x):
        return torch.eye(3)[torch.zeros(len(x), dtype=torch.long)] + 0 * x.flatten(1)[:, :3]


def test_a_flag_is_looked_for_and_told_on_the_page(garden, capsys):
    """Not raised by a network that sees, raised by one that does not."""
    assert main(["train", "willow.yaml", "--trust-code", "--out", "run", "--train.epochs", "1"]) == 0
    assert main(["evaluate", "run", *ATTACK, "--trust-code", "--flags", "willow.flags:drouht"]) == 2
    assert "willow.flags has no drouht; did you mean drought?" in capsys.readouterr().err
    assert main(["evaluate", "run", *ATTACK, "--trust-code", "--flags", "willow.flags:drought"]) == 0
    (entry,) = json.loads(Path("run/results.json").read_text())["models"].values()
    (check,) = [check for check in entry["checks"] if check["name"] == "drought"]
    assert (check["masking"], check["raised"], check["todo"]) == (True, False, "Water it.")
    assert main(["report", "run", "--out", "page.html"]) == 0
    assert "from black to white the logits move by" in Path("page.html").read_text()
    images, suite = (torch.rand(6, 1, 8, 8), torch.zeros(6).long()), resolve("suite", "willow.attacks:pair")
    found = robustsnn.evaluate(Blind(), images, suite, 0.1, flags=["willow.flags:drought"])
    assert "drought" in [flag["name"] for flag in found.flags if flag["masking"]]
    with pytest.raises(robustsnn.UserError, match=r"needed is a robustsnn.evaluation.flags.Check"):
        robustsnn.evaluate(Blind(), images, suite, 0.1, flags=[lambda *_: [1]])
