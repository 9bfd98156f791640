"""A network that was built and trained elsewhere: module:attribute and a file of weights become a run."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.runs.adopt import _load, read_weights

BUILDER = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))

build = Net
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module that builds a linear network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "adopted", raising=False)
    Path("adopted.py").write_text(BUILDER)
    return tmp_path


def weights(scale: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"fc.weight": scale * torch.randn(10, 64, generator=generator), "fc.bias": torch.zeros(10)}


def evaluate(file: str, out: str, *more: str) -> int:
    asked = ["--data", "digits", "--suite", "quick", "--eps", "8/255", "--limit", "8", "--out", out]
    return main(["evaluate", "adopted:build", "--weights", file, *asked, *more])


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "checkpoint of DataParallel"])
def test_every_form_of_the_same_weights_gives_the_same_figures(here: Path, kind: str) -> None:
    state: dict[str, Any] = weights()
    save_file(state, "w.safetensors", {"format": "pt"})
    torch.save(state, "w.pt")
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, "m.pt")
    file = {"safetensors": "w.safetensors", "state dict": "w.pt", "checkpoint of DataParallel": "m.pt"}[kind]
    assert evaluate(file, "run") == 0
    (entry,) = json.loads(Path("run/results.json").read_text())["models"].values()
    digits = __import__("robustsnn.data.digits", fromlist=["digits"]).digits().test.take(8)
    x, y = digits.floats()
    right = (x.flatten(1) @ state["fc.weight"].T).argmax(1) == y
    assert entry["clean"]["accuracy"] == pytest.approx(float(right.float().mean()))
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["model"] == {"name": "adopted:build"}
    assert config["provenance"]["source"]["file"] == "adopted.py"
    assert len(config["provenance"]["source"]["sha256"]) == 64


def test_the_run_is_a_run_for_every_command_and_its_code_is_asked_for(here: Path, capsys: Any) -> None:
    save_file(weights(), "w.safetensors")
    assert evaluate("w.safetensors", "run") == 0
    first = Path("run/results.json").read_bytes()
    assert evaluate("w.safetensors", "run", "--resume") == 0
    assert Path("run/results.json").read_bytes() == first
    assert main(["report", "run", "--out", "page.html"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--suite", "quick", "--eps", "8/255", "--limit", "8"]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert main(["evaluate", "run", "--suite", "quick", "--eps", "8/255", "--limit", "8", "--trust-code"]) == 0


def test_other_weights_do_not_take_the_place_of_a_run(here: Path, capsys: Any) -> None:
    save_file(weights(), "w.safetensors")
    save_file(weights(2.0), "other.safetensors")
    assert evaluate("w.safetensors", "run") == 0
    assert evaluate("other.safetensors", "run") == 2
    assert "run of other weights" in capsys.readouterr().err


class Canary:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


def test_a_file_that_would_run_code_is_refused_and_runs_none(here: Path, capsys: Any) -> None:
    torch.save({"fc.weight": Canary()}, "bad.pt")
    torch.save(nn.Linear(2, 2), "whole.pt")
    Path("noise.pt").write_bytes(b"noise" * 50)
    Path("noise.safetensors").write_bytes(b"noise" * 50)
    for file in ("bad.pt", "whole.pt", "noise.pt", "noise.safetensors", "missing.pt", "missing.safetensors"):
        assert evaluate(file, "run") == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert file in said
        assert "weights_only" not in said
    assert not Path("pwned").exists()
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"fc.weight": torch.zeros(10, 64)}, "fc.bias"),
        ({"fc.weight": torch.zeros(10, 63), "fc.bias": torch.zeros(10)}, "size mismatch"),
        ({**weights(), "more": torch.zeros(1)}, "more"),
    ],
)
def test_weights_that_do_not_fit_are_refused(here: Path, capsys: Any, state: Any, said: str) -> None:
    save_file(state, "w.safetensors")
    assert evaluate("w.safetensors", "run") == 2
    assert said in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["adopted:build", "--suite", "quick", "--eps", "0.1"], "--weights, --data, --out"),
        (["adopted:nothing", "--weights", "w", "--data", "digits", "--out", "run", "--suite", "quick"], "--eps"),
        (["run", "--weights", "w", "--suite", "quick", "--eps", "0.1"], "--weights goes with a network of yours"),
    ],
)
def test_what_is_missing_or_too_much_is_said(here: Path, capsys: Any, arguments: list[str], said: str) -> None:
    Path("run").mkdir()
    assert main(["evaluate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_the_state_of_the_last_batch_is_no_weight(tmp_path: Path) -> None:
    """Sinabs saves membranes with the weights, in the shape of the batch that it saw last."""
    kept = type("IAF", (nn.Module,), {"__module__": "sinabs.layers.iaf", "reset_states": lambda self: None})()
    kept.register_buffer("v_mem", torch.zeros(1, 10))
    net = nn.Sequential(nn.Linear(64, 10), kept)
    state = net.state_dict() | {"1.v_mem": torch.ones(32, 10), "0.bias": torch.ones(10)}
    _load(net, state, tmp_path)
    assert net.get_parameter("0.bias").eq(1).all()
    assert not kept.v_mem.numel()


def test_tensors_that_say_to_be_larger_than_their_file_take_no_memory(tmp_path: Path) -> None:
    """By the shape in the pickle, and by the directory of the archive, which would be given 2 GiB as it is read."""
    saved, path = io.BytesIO(), tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(7)}, saved)
    with zipfile.ZipFile(saved) as honest, zipfile.ZipFile(path, "w") as lying:
        for name in honest.namelist():
            content = honest.read(name)
            said = content.replace(b"K\x07\x85", b"J\x00\x00\x00\x40\x85")  # the shape (7,)
            assert (said != content) == name.endswith("data.pkl")
            lying.writestr(name, said)
    with pytest.raises(UserError, match="is not read"):
        read_weights(path)
    whole = bytearray(saved.getvalue())
    whole[(at := whole.rindex(b"PK\x01\x02") + 24) : at + 4] = (1 << 31).to_bytes(4, "little")
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        assert max(member.file_size for member in archive.infolist()) == 1 << 31
    with pytest.raises(UserError, match="is not read"):
        read_weights(path)
    path.write_bytes(saved.getvalue())
    assert read_weights(path)["weight"].tolist() == [0.0] * 7
    torch.save({"weight": torch.zeros(7)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"older than torch 1\.6"):
        read_weights(path)
