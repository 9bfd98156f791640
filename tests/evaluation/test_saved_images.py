"""Adversarial images on disk: what they hold, that they are checked, and judged again on any model."""

import json
import math
import random

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import Linf, RandomSearch, Suite, fgsm, pgd
from robustsnn.evaluation import Effort, run_suite
from robustsnn.evaluation.adversarial import load_images, rejudge, save_images
from robustsnn.evaluation.judge import Judge
from robustsnn.evaluation.rounded import rounded
from robustsnn.ground.errors import UserError
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.losses import correct, margin
from robustsnn.models import Encoded
from robustsnn.records.outcome import rate

EPS = 0.02


def attacks(eps=EPS):
    return Suite("test", (("one", (fgsm(eps),)), ("more", (pgd(eps, 3), pgd(eps, 4)))))


def saved(path, model, x, suite):
    y = model(x).argmax(1)
    y[:2] = (y[:2] + 1) % 3
    found = run_suite(model, (x, y), suite, keep_images=True)
    clean = Encoded(model).encode(x) if suite.threat.space == "encoded" else x
    save_images(path, clean, found, suite, name="a net")
    return y, found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "images.safetensors"
    model, x = Linear(3), images(30)
    y, found = saved(path, model, x, attacks())
    return path, model, x, y, found


def test_saved_images_read_back_with_what_they_are(file):
    path, model, x, y, found = file
    tensors, threat, about = load_images(path)
    assert threat == Linf(EPS)
    assert {k: about[k] for k in ("suite", "norm", "eps", "low", "high", "space", "name")} == {
        **{"suite": "test", "norm": "Linf", "eps": EPS, "low": 0.0, "high": 1.0, "space": "pixel", "name": "a net"}
    }
    assert about["attacks"] == [repr(attack) for _, attack in attacks().members()]
    assert torch.equal(tensors["clean"], x)
    assert torch.equal(tensors["label"], y)
    assert tensors["image"].numpy().tobytes() == found.images.tobytes()
    first = tensors["attack"].numpy()
    assert np.array_equal(first == -1, ~found.broken.any(0))
    for i in np.flatnonzero(first >= 0):
        assert found.broken[first[i], i]
        assert not found.broken[: first[i], i].any()
        # The image is that attack's own, whatever later columns reached.
        assert margin(model(tensors["image"][i : i + 1]), y[i : i + 1]).item() == pytest.approx(
            found.margin[first[i], i], abs=1e-6
        )
    with safe_open(path, "pt") as raw:  # readable by anybody
        assert json.loads(raw.metadata()["robustsnn"])["norm"] == "Linf"


def test_judged_again_they_give_the_accuracy_that_was_reported(file):
    path, model, x, y, found = file
    again = rejudge(model, path, batch_size=7)
    assert again["adversarial"] == rate(found.standing())
    assert again["clean"] == rate(found.correct)
    assert 0 < again["adversarial"]["accuracy"] < again["clean"]["accuracy"] < 1
    assert (again["suite"], again["eps"], again["space"], again["draws"]) == ("test", EPS, "pixel", None)
    other = Linear(3, seed=5)
    tensors, _, _ = load_images(path)
    assert rejudge(other, path)["adversarial"] == rate(correct(other(tensors["image"]), y).numpy())
    assert x.shape == tensors["image"].shape


def test_images_from_behind_the_encoder(tmp_path):
    path, model = tmp_path / "images.safetensors", spiking(classes=3)
    _, found = saved(path, model, images(20, (1, 8, 8)), attacks().encoded())
    tensors, threat, _ = load_images(path)
    assert threat == Linf(EPS, space="encoded")
    assert tensors["image"].shape == (20, 3, 1, 8, 8)
    assert rejudge(model, path)["adversarial"] == rate(found.standing())
    with pytest.raises(UserError, match="no encoded space"):
        rejudge(Linear(3, (1, 8, 8)), path)


def test_a_random_model_is_judged_by_votes_and_repeats_itself(file):
    path, model, *_ = file

    class Shaky(nn.Module):
        def forward(self, x):
            return model(x + 0.05 * torch.randn_like(x))

    once = rejudge(Shaky(), path)
    torch.rand(3)
    assert rejudge(Shaky(), path) == once
    assert once["draws"]["n"] == 20
    assert once["draws"]["std"] > 0


def edited(path, **changes):
    tensors, about = read_tensors(path, "")
    write_tensors(path, {**tensors, **{k: v for k, v in changes.items() if isinstance(v, torch.Tensor)}}, about)
    return tensors


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: {"image": t["image"] + 0.01}, "left its budget"),
        (lambda t: {"image": t["image"].double()}, "image of shape .*float64: needed is float32"),
        (lambda t: {"clean": t["clean"].long()}, "clean of shape .*int64: needed is float32"),
        (lambda t: {name: t[name][:0] for name in t}, "N >= 1"),
        (lambda t: {name: t[name].flatten()[:30] for name in t}, "needed is float32"),
        (lambda t: {name: t[name][..., :0] for name in ("image", "clean")}, "needed is float32"),
        (lambda t: {"image": t["clean"] * float("nan")}, "left its budget"),
        (lambda t: {"image": t["image"][:, :, :2]}, "shape"),
        (lambda t: {"image": t["image"][:5]}, "shape"),
        (lambda t: {"clean": 255 * t["clean"]}, "images span"),
        (lambda t: {"label": t["label"].float()}, "labels of shape"),
        (lambda t: {"label": t["label"][:5]}, "labels of shape"),
        (lambda t: {"label": t["label"][:, None]}, "labels of shape"),
        (lambda t: {"label": t["label"] - 3}, "labels count from 0"),
        (lambda t: {"attack": t["attack"].int()}, "attacks of shape"),
        (lambda t: {"attack": t["attack"][1:]}, "attacks of shape"),
        (lambda t: {"attack": t["attack"] + 3}, "where 3 are named"),
        (lambda t: {"attack": t["attack"] - 1}, "where 3 are named"),
    ],
)
def test_edited_images_are_refused_in_one_line(file, change, text):
    path, model, *_ = file
    edited(path, **change(read_tensors(path, "")[0]))
    with pytest.raises(UserError, match=text) as caught:
        rejudge(model, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "give a file written by `robustsnn evaluate" in str(caught.value)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L0"])
@pytest.mark.parametrize(
    "wrong",
    [
        *({name: value} for name in ("eps", "low", "high") for value in (True, math.inf, math.nan, 10**400, None, [1])),
        *({"norm": norm} for norm in ("L7", None, [], {})),
        *({"space": space} for space in ("fourier", None, [], {})),
        *({"attacks": names} for names in (None, "fgsm", 3, {}, ["fgsm"])),
        *({"levels": levels} for levels in (0, 2.5, True, [], "255", 255)),  # 255: these are no grey values
        {"eps": -0.1},
        {"low": 1},
        {"norm": "L" * 10_000},
    ],
)
def test_metadata_that_name_no_threat_are_refused_in_one_line(file, norm, wrong):
    path, *_ = file
    tensors, about = read_tensors(path, "")
    tensors["clean"] = (tensors["clean"] > 0.5).float()
    tensors["image"] = tensors["clean"].clone()
    good = {**about, "norm": norm, "eps": 1}
    write_tensors(path, tensors, good)
    load_images(path)
    write_tensors(path, tensors, {**good, **wrong})
    if norm == "L0" and "low" in wrong and wrong["low"] == 1 and wrong["low"] is not True:
        load_images(path)  # binary inputs span 0 to 1 whatever the file says
        return
    with pytest.raises(UserError, match=f"{next(iter(wrong))}|data range") as caught:
        load_images(path)
    assert str(path) in str(caught.value)
    assert "give a file written by `robustsnn evaluate" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_images_on_grey_levels_are_saved_as_grey_values(tmp_path):
    path, model, shade = tmp_path / "images.safetensors", Linear(3), (255 * images(30)).round()
    suite = Suite("test", (("one", (fgsm(8 / 255), pgd(8 / 255, 3))),)).on_grid()
    _, found = saved(path, model, shade / 255, suite)
    raw, about = read_tensors(path, "")
    assert (about["levels"], raw["image"].dtype, raw["clean"].dtype) == (255, torch.uint8, torch.uint8)
    assert torch.equal(raw["clean"], shade.byte())
    assert (raw["image"].int() - raw["clean"].int()).abs().max() == 8
    tensors, threat, _ = load_images(path)
    assert threat == Linf(8 / 255, levels=255)
    assert tensors["image"].numpy().tobytes() == found.images.tobytes()
    assert torch.equal(tensors["clean"], shade / 255)
    assert rejudge(model, path)["adversarial"] == rate(found.standing())
    assert rejudge(model, path)["levels"] == 255
    raw["image"][3, 0, 0, 0] = raw["clean"][3, 0, 0, 0] ^ 16
    write_tensors(path, raw, about)
    with pytest.raises(UserError, match="left its budget"):
        load_images(path)


def test_rounding_lets_images_stand_again_that_are_broken_by_less_than_a_level():
    class Sharp(nn.Module):
        """Wrong from 100.2 levels on, so that 100.3 is broken, 100 and its rounding are not."""

        def forward(self, x):
            value = 255 * x.flatten(1)[:, :1]
            return torch.cat([(value < 100.2).float(), torch.full_like(value, 0.5)], 1)

    x, y = torch.full((4, 1, 1, 2), 100 / 255), torch.zeros(4, dtype=torch.int64)
    found = run_suite(Sharp(), (x, y), Suite("test", (("one", (RandomSearch(Linf(2 / 255)),)),)), keep_images=True)
    assert found.broken.all()
    value = 100 + torch.tensor([0.3, 0.4, 0.6, 1.0]).view(4, 1, 1, 1)
    found.images[:] = (value / 255).numpy()
    assert rounded(Sharp(), Linf(2 / 255), found, Judge(), Effort(3)) == {"standing": 2, "of": 4}
    found.broken[:, 0] = False
    assert rounded(Sharp(), Linf(2 / 255), found, Judge(), Effort(3)) == {"standing": 1, "of": 3}
    assert rounded(Sharp(), Linf(2 / 255, levels=255), found, Judge(), Effort(3)) is None
    assert rounded(Sharp(), Linf(2 / 255, space="encoded"), found, Judge(), Effort(3)) is None


def test_images_of_another_dtype_are_saved_as_float32(file, tmp_path):
    _, _, x, _, found = file
    save_images(tmp_path / "double.safetensors", x.double(), found, attacks())
    assert torch.equal(load_images(tmp_path / "double.safetensors")[0]["clean"], x)


@pytest.mark.parametrize("part", ["header", "anywhere", "cut"])
def test_damaged_bytes_are_refused_in_one_line_or_read_as_such_images(file, part):
    """Values carry no checksum: what is read may differ, but is within the threat that is read."""
    path, *_ = file
    whole, draws = path.read_bytes(), random.Random(part)
    header = 8 + int.from_bytes(whole[:8], "little")
    refusals = 0
    for _ in range(120):
        harmed = bytearray(whole)
        at = draws.randrange(header if part == "header" else len(whole))
        if part == "cut":
            del harmed[at:]
        else:
            harmed[at] ^= draws.choice((1 << draws.randrange(8), 0xFF))
        path.write_bytes(harmed)
        try:
            tensors, threat, _ = load_images(path)
        except UserError as error:
            refusals += 1
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert tensors["image"].shape == tensors["clean"].shape == (30, 1, 4, 4)
            assert bool((threat.distance(tensors["image"], tensors["clean"]) <= threat.eps + 1e-6).all())
    assert refusals == 120 if part == "cut" else 20 < refusals < 120


def test_other_files_are_refused_in_one_line(file, tmp_path):
    path, model, *_ = file
    advice = "give a file written by `robustsnn evaluate"
    tensors, about = read_tensors(path, "")
    foreign = tmp_path / "weights.safetensors"
    write_tensors(foreign, model.state_dict(), {"config": "x"})
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    odd = tmp_path / "odd.safetensors"
    write_tensors(odd, tensors, {**about, "norm": "L7"})
    bare = tmp_path / "bare.safetensors"
    write_tensors(bare, {"clean": tensors["clean"]}, about)
    wide = tmp_path / "wide.safetensors"
    write_tensors(wide, tensors, {**about, "eps": "much"})
    deep = tmp_path / "deep.safetensors"
    deep.write_bytes(save(tensors, {"eps": "[" * 200_000}))
    for wrong in (foreign, cut, text, odd, bare, wide, deep, tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(UserError) as caught:
            rejudge(model, wrong)
        assert ("it is a folder where a file is needed" if wrong == tmp_path else advice) in str(caught.value)
        assert str(wrong) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_model_for_other_images_or_fewer_classes_is_refused(file, tmp_path):
    path, *_ = file
    with pytest.raises(UserError, match="label 2 given to a model of 2 classes"):
        rejudge(Linear(2), path)
    with pytest.raises(UserError, match=r"network made for \(1, 8, 8\)"):
        rejudge(spiking(), path)
    coded = tmp_path / "coded.safetensors"
    saved(coded, spiking(classes=3), images(6, (1, 8, 8)), attacks().encoded())
    for other in (spiking(classes=3, image=(3, 8, 8)), spiking(classes=3, image=(1, 16, 16)), spiking(steps=5)):
        with pytest.raises(UserError, match=r"\(3, 1, 8, 8\)"):
            rejudge(other, coded)


def test_outcomes_without_images_cannot_be_saved(tmp_path):
    model, x = Linear(3), images(4)
    found = run_suite(model, (x, model(x).argmax(1)), attacks())
    with pytest.raises(ValueError, match="keep_images=True"):
        save_images(tmp_path / "x.safetensors", x, found, attacks())
