"""Which attacks reach a foreign network, and what is said where they do not."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from foreign import IFNode, Leaky, images, made
from safetensors.torch import save_file
from test_recorded import Native

import robustsnn
from robustsnn.attacks import Suite, paper_sr_10, reliable
from robustsnn.attacks.presets import apgd
from robustsnn.cli import main
from robustsnn.data.digits import digits
from robustsnn.evaluation import evaluate
from robustsnn.evaluation.fingerprint import model_digest
from robustsnn.evaluation.fitting import fit_to, judge_of
from robustsnn.interop import KNOWN, unreached, wrap
from robustsnn.neurons import IF, STBP

X = images(24)


def fitted(model):
    suite = reliable(8 / 255)
    return [repr(attack) for _, attack in fit_to(model, suite, X, judge_of(model, X, suite)).members()]


@pytest.mark.parametrize("kind", [IFNode, Leaky])
def test_reliable_has_every_attack_of_the_native_twin(kind):
    net = made(kind)
    assert fitted(wrap(net, x=X)) == fitted(Native(net, IF()).eval())


def test_without_wrap_the_flag_says_how_many_attacks_are_left_out():
    net, x = made(), X[:12]

    class Resets(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            for module in self.net.modules():
                module.reset() if isinstance(module, IFNode) else None
            return self.net(x)

    model, y = Resets().eval(), net(x).argmax(1)
    suite = paper_sr_10(8 / 255)
    found = evaluate(model, (x, y), paper_sr_10, 8 / 255).to_dict()
    (flag,) = [flag for flag in found["flags"] if flag["name"] == "foreign-gradient"]
    left_out = len(suite.members()) - len(found["attacks"])
    assert left_out > 0
    assert f"{left_out} attacks of the suite are left out" in flag["message"]
    assert "net.first (the network was not handed to robustsnn.wrap)" in flag["message"]
    assert found["worst_case"]["at_most"]
    assert any("foreign-gradient" in reason for reason in found["depth"]["at_most"])

    wrapped = wrap(net, x=x)
    assert unreached(wrapped) == {}
    found = evaluate(wrapped, (x, y), paper_sr_10, 8 / 255).to_dict()
    assert len(found["attacks"]) == len(suite.members())
    (check,) = [check for check in found["checks"] if check["name"] == "foreign-gradient"]
    assert not check["raised"]
    assert not {"rules-without-effect", "state", "call-dependent", "unsteady-gradient"} & {
        flag["name"] for flag in found["flags"]
    }


def test_a_folder_of_a_foreign_network_is_resumed(tmp_path):
    net, suite = made(), lambda eps: Suite("one", (("column", (apgd(eps, 3, rule=STBP()),)),))
    x, y = X[:3], net(X).argmax(1)[:3]
    found = [
        robustsnn.evaluate(wrap(net), (x, y), suite=suite, eps=0.1, out=tmp_path / "run").to_dict() for _ in range(2)
    ]
    assert found[0]["worst_case"] == found[1]["worst_case"]
    assert model_digest(wrap(net, x=x)) == model_digest(wrap(net, x=x))
    assert robustsnn.report(tmp_path / "run", tmp_path / "page.html").exists()


def test_what_is_left_alone_is_named_in_the_flag():
    net = made()
    model = wrap(net, x=X)
    model.left_alone["second"] = "spikes come back"
    assert unreached(torch.nn.Sequential(model)) == {"second": "spikes come back"}


def test_no_framework_is_imported_before_its_network_comes():
    code = (
        "import sys, torch, robustsnn; net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2));"
        "robustsnn.wrap(net, x=torch.rand(3, 1, 2, 2));"
        f"print([name for name in {KNOWN!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert robustsnn.wrap is wrap


BUILDER = """
import torch
from foreign import IFNode
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.first = nn.Conv2d(1, 4, 3), IFNode()
        self.fc, self.second, self.out = nn.Linear(144, 12), IFNode(), nn.Linear(12, 10)

    def forward(self, x):
        s = [self.second(2 * self.fc(self.first(3 * self.conv(x)).flatten(1))) for _ in range(4)]
        return torch.stack([self.out(step) for step in s]).mean(0)

build = Net
"""


@pytest.mark.slow
def test_every_command_works_with_a_run_of_a_foreign_network(tmp_path, monkeypatch, unchecked, undrawn):
    """Shards, a page, a card, and all parts of `analyze`, whose energy counts the framework's own spikes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("other_framework.py").write_text(BUILDER)
    spec = importlib.import_module("other_framework")
    torch.manual_seed(0)
    net = spec.build().eval()
    net.out.bias.data[digits().test.labels[0]] += 1  # so that an image is right
    save_file(net.state_dict(), "w.safetensors")
    named = ["other_framework:build", "--weights", "w.safetensors", "--data", "digits", "--out", "run"]
    how = ["--suite", "paper-sr", "--eps", "8/255", "--limit", "4", "--batch_size", "2"]
    assert main(["evaluate", *named, *how]) == 0
    whole = json.loads(Path("run/results.json").read_text())["models"]
    for part in ("1/2", "2/2"):
        assert main(["evaluate", *named[:-1], "parts", *how, "--shard", part]) == 0
    assert main(["evaluate", "parts", *how, "--merge", "--trust-code"]) == 0
    assert next(iter(whole.values()))["clean"]["accuracy"] > 0
    parts = json.loads(Path("parts/results.json").read_text())["models"]
    assert [m["worst_case"] for m in parts.values()] == [m["worst_case"] for m in whole.values()]
    studies = "trail,gradients,vulnerability,energy"
    assert main(["analyze", "run", "--limit", "2", "--parts", studies, "--trust-code"]) == 0
    assert main(["report", "run", "--card", "--out", "page.html"]) == 0
    card = Path("run/card.md").read_text()
    assert "other\\_framework:build\n" in card  # and not what nn.Module says of itself
    assert "trained elsewhere" in card
    assert "robustsnn train" not in card
    assert yaml.safe_load(Path("run/config.yaml").read_text())["provenance"]["frameworks"].keys() == {"spikingjelly"}
