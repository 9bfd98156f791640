"""`robustsnn analyze`: which files it writes, on how many images, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robustsnn.ground.errors import UserError
from robustsnn.names import registered
from robustsnn.names.config import Config, ModelConfig, TrainConfig
from robustsnn.reporting.page import write_report
from robustsnn.reporting.saved import read_studies
from robustsnn.reporting.studies import words
from robustsnn.runs.analyses import WORK, analyze
from robustsnn.runs.folder import train_run, weights_digest
from robustsnn.studies.study import NamedNetwork


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch."""
    folder = tmp_path_factory.mktemp("analyses") / "run"
    model = ModelConfig(steps=2, options={"width": 0.25})
    train_run(Config(model=model, train=TrainConfig(epochs=1, batch_size=128)), folder)
    return folder


@pytest.fixture(scope="module")
def found(run):
    return analyze(run, limit=8, radii=("8/255", "32/255"))


def sentences(run, name):
    study, content = read_studies(run / "analysis")[name]
    return words(study, NamedNetwork("net"), content)


def test_every_part_is_a_file_that_names_its_weights_and_that_the_report_shows(run, found, tmp_path):
    assert list(found) == list(registered("study"))
    for name in found:
        content = json.loads((run / "analysis" / f"{name}.json").read_text())
        assert content["made_with"] == weights_digest(run)
        assert content["schema"] >= 1
        assert "torch" in content["versions"]
        assert sentences(run, name)
        assert all(sentence and "\n" not in sentence for sentence in sentences(run, name))
    with np.load(run / "analysis" / "gradients.npz", allow_pickle=False) as arrays:
        assert arrays["gradient"].shape == (5, 6, 1, 8, 8)
        assert str(arrays["weights"]) == weights_digest(run)
    write_report([run], tmp_path / "page.html")


def test_what_they_say_of_the_same_thing_agrees(found):
    own = found["gradients"]["rules"][0]
    assert own["label"] == "own"
    # The trail differentiates the cross-entropy, which is zero where the probability is: -grad log f = -grad f / f.
    assert found["trail"]["input"]["zeros"]["mean"] == pytest.approx(own["sparsity"]["mean"], abs=0.02)
    assert found["vulnerability"]["gradient"]["l1"]["mean"] == pytest.approx(own["l1"]["mean"])
    # The gradient rule that the network was trained with is among those of the ensemble.
    assert own["l1"]["mean"] == found["gradients"]["rules"][1]["l1"]["mean"]
    assert found["energy"]["n"] == found["trail"]["n"] == 8
    assert [level["eps"] for level in found["vulnerability"]["levels"]] == pytest.approx([8 / 255, 32 / 255])


def test_parts_of_a_large_network_take_fewer_images_and_say_so(run, found):
    macs = sum(layer["macs"] * layer["runs"] for layer in found["energy"]["layers"])
    few = analyze(run, None, ["trail", "vulnerability"], limit=12, work=9 * 25 * macs)
    assert few["trail"]["n"] == 9
    assert few["vulnerability"]["n"] == 2  # the least
    assert WORK > 1e11


def test_what_cannot_be_asked_of_two_images_is_said(run):
    theory = analyze(run, None, ["theory"], limit=2)["theory"]
    assert "at least" in theory["signal"]["refused"]
    assert any("at least" in sentence for sentence in sentences(run, "theory"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parts": ["trial"]}, "--parts=trial: allowed are trail, vulnerability"),
        ({"parts": []}, "--parts: give at least one"),
        ({"limit": 0}, "limit=0"),
        ({"rule": "magic"}, "--rule=magic: allowed are own"),
        ({"attack": "pgd"}, "--attack pgd needs --eps"),
        ({"radii": ["8"]}, "8"),
        ({"radii": ["0"]}, "--radii 0.0: give at least one, each above 0"),
        ({"mac": -1.0}, "mac=-1.0"),
        ({"work": 0.0}, "work=0.0"),
    ],
)
def test_wrong_requests_are_refused(run, options, said):
    with pytest.raises(UserError, match=said):
        analyze(run, **options)


def test_training_anew_forgets_what_was_found(run, found, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "weights.safetensors").unlink()
    shutil.rmtree(folder / "state")
    model = ModelConfig(steps=1, options={"width": 0.25})
    train_run(Config(model=model, train=TrainConfig(epochs=1, batch_size=512)), folder)
    assert not list((folder / "analysis").iterdir())
