"""`doctor --determinism`, and what a run says when it goes on elsewhere than it was begun."""

from __future__ import annotations

import re

import pytest
import torch
import yaml

from robustsnn.bench import determinism as measured
from robustsnn.bench.determinism import determinism, settings, step_digest
from robustsnn.cli import main
from robustsnn.ground.errors import Advice
from robustsnn.names.parsing import parse_config, read_config
from robustsnn.runs.folder import load_run, train_run

SMALL = ["--train.epochs", "2", "--model.steps", "1", "--model.options.width", "0.1", "--train.batch_size", "400"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("determinism") / "run"
    assert main(["train", *SMALL, "--out", str(out)]) == 0
    return out


def test_a_step_repeats_and_depends_on_the_seed(run):
    config, _, data = load_run(run)
    threads = torch.get_num_threads()
    first = step_digest(config, data, "cpu", 1)
    assert step_digest(config, data, "cpu", 1) == first
    config.train.seed += 1
    assert step_digest(config, data, "cpu", 1) != first
    assert torch.get_num_threads() == threads


def test_every_setting_is_done_twice_and_those_that_agree_are_named(run, monkeypatch):
    made = iter(["a", "a", "a", "a", "b", "c"])
    monkeypatch.setattr(measured, "settings", lambda: iter([("cpu", 1), ("cpu", 2), ("cuda", 1)]))
    monkeypatch.setattr(measured, "step_digest", lambda *_: next(made))
    lines = determinism(run)
    assert lines[0] == "cpu with 1 thread: the same bits when it is done twice"
    assert lines[2] == "cuda: OTHER BITS when it is done twice"
    assert lines[3].startswith("the same bits among: cpu with 1 thread = cpu with 2 threads; cuda. Resume")


def test_the_command_says_so(run, monkeypatch, capsys):
    monkeypatch.setattr(measured, "settings", lambda: iter([("cpu", 1)]))
    assert main(["doctor", "--determinism", str(run)]) == 0
    assert "cpu with 1 thread: the same bits" in capsys.readouterr().out
    assert main(["doctor", "--determinism", "nowhere"]) == 2


def test_one_thread_is_always_among_the_settings():
    assert next(settings()) == ("cpu", 1)


def test_the_record_of_a_run_holds_what_decides_its_bits(run):
    record = yaml.safe_load((run / "config.yaml").read_text())["provenance"]
    assert record["threads"] == torch.get_num_threads()
    assert {"cpu", "cpu_capability", "device", "torch", "numpy", "platform"} <= record.keys()


@pytest.mark.parametrize(("name", "value"), [("threads", 63), ("torch", "1.0"), ("cpu_capability", "NONE")])
def test_a_run_that_goes_on_elsewhere_says_that_bits_may_differ(run, tmp_path, name, value):
    out = tmp_path / "run"
    assert main(["train", *SMALL, "--out", str(out)]) == 0
    (out / "weights.safetensors").unlink()
    assert (
        main(["train", *SMALL, "--out", str(out), "--resume"]) == 0
    )  # here nothing differs, and a warning is an error
    (out / "weights.safetensors").unlink()
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(re.sub(rf"(?m)^  {name}: .*", f"  {name}: {value}", text))
    with pytest.warns(Advice, match=f"bits may differ .*: {name} {value} then, .* now"):
        train_run(parse_config(read_config(out / "config.yaml"), "c"), out, resume=True)
