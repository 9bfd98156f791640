"""Sweeps: a grid of runs, each trained and attacked once, none lost with another."""

import json
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import silent
from robustsnn.names.config import Config, ModelConfig, ObjectiveConfig, TrainConfig
from robustsnn.reporting.page import write_report
from robustsnn.runs.folder import load_run
from robustsnn.runs.grid import LONGEST, axes, grid, point_name
from robustsnn.runs.jobs import Done
from robustsnn.runs.slurm import Slurm
from robustsnn.runs.sweep import SweepLook, sweep

BASE = Config(
    model=ModelConfig(steps=1, options={"width": 0.25}),
    objective=ObjectiveConfig(name="sparsity", lam=0.1, options={"h": 0.1}),
    train=TrainConfig(epochs=1, batch_size=512, lr=0.1),
)
LOOK = SweepLook("paper-trail", "8/255", limit=8)


@pytest.fixture
def here(monkeypatch, unchecked):
    """Jobs are done in this process, and their names kept in the list."""
    begun = []
    monkeypatch.setattr("robustsnn.runs.slurm.run_jobs", partial(run_here, begun))
    return begun


def run_here(begun, jobs, *, workers=None, text="", progress=silent):
    found = {}
    for job in jobs:
        begun.append(job.name)
        try:
            found[job.name] = Done(job.call(*job.arguments, progress=progress))
        except UserError as error:
            found[job.name] = Done(error=str(error))
    return found


# The grid


VALUES = st.lists(st.sampled_from(["0", "1e-3", "0.5", "2", "7.25"]), min_size=1, max_size=3, unique=True)


@settings(deadline=None, max_examples=10)
@given(lams=VALUES, seeds=st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True))
def test_a_grid_is_the_product_of_its_axes_in_order(lams, seeds):
    over = axes([f"objective.lam={','.join(lams)}", f"train.seed={','.join(map(str, seeds))}"])
    points = grid(BASE, over)
    wanted = [(float(lam), seed) for lam in lams for seed in seeds]
    assert [(p.config.objective.lam, p.config.train.seed) for p in points] == wanted
    assert [(p.overrides["objective.lam"], p.overrides["train.seed"]) for p in points] == wanted
    for point in points:
        lam, seed = point.config.objective.lam, point.config.train.seed
        assert point.config == replace(
            BASE,
            name=point.config.name,
            objective=replace(BASE.objective, lam=lam),
            train=replace(BASE.train, seed=seed),
        )
    assert len({p.config.name for p in points}) == len(points)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1) | st.from_regex(
    r"[0-9]/[0-9]", fullmatch=True
)


@settings(deadline=None, max_examples=60)
@given(first=st.lists(TEXTS, min_size=2, max_size=4, unique=True), second=st.lists(TEXTS, min_size=2, unique=True))
def test_names_of_points_are_unique_and_safe(first, second):
    names = [point_name({"train.lr": a, "objective.lam": b}) for a in first for b in second]
    assert len(set(names)) == len(names)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-~=") for name in names
    )
    assert max(map(len, names)) <= LONGEST


def test_names_are_readable():
    assert point_name({"objective.lam": "0.002", "train.seed": "1"}) == "lam=0.002_seed=1"
    assert point_name({"data.seed": "3", "train.seed": "1"}) == "data.seed=3_train.seed=1"
    assert point_name({"objective.attack.eps": "8/255"}) == "eps=8~255"
    assert point_name({"model.name": "vgg_small"}) == "name=vgg_small"
    assert point_name({"model.options": "{width: 0.5}"}).startswith("options=width-0.5~")
    assert len(point_name({f"model.options.{n}": "x" * 30 for n in range(20)})) == LONGEST
    (point,) = grid(BASE, axes(["model.name=vgg_small"]))
    assert point.config.name == "SR name=vgg_small"


def test_values_are_read_as_the_flags_of_train_are():
    over = axes(["objective.attack.eps=8/255, 0.1", "model.options={width: 0.5, depth: [1, 2]},{}"])
    assert over == {"objective.attack.eps": ["8/255", "0.1"], "model.options": ["{width: 0.5, depth: [1, 2]}", "{}"]}
    points = grid(BASE, over)
    assert [p.config.objective.attack.eps for p in points] == ["8/255", "8/255", 0.1, 0.1]
    assert [p.config.model.options for p in points] == [{"width": 0.5, "depth": [1, 2]}, {}] * 2
    (absent,) = grid(BASE, axes(["objective.attack=null"]))
    assert absent.overrides == {"objective.attack": None}
    (one,) = grid(BASE, axes(["objective.options.form=paper"]))
    assert one.config.objective.options == {"h": 0.1, "form": "paper"}


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ([], "needs --over"),
        (["train.seed"], "write it as OPTION=VALUE"),
        (["train.sed=1"], "train.sed: no such option; allowed in train are epochs, .*seed"),
        (["trian.seed=1"], "no such option; allowed are name, data, model, objective, train"),
        (["train.seed.x=1"], "train.seed has no options below it"),
        (["objective.attack.radius=1"], "allowed in objective.attack are eps, alpha, steps"),
        (["train=1"], "is a group of options; give one of train.epochs"),
        (["train.seed=1,,2"], "a value is empty"),
        (["train.seed="], "a value is empty"),
        (["train.seed=1", "train.seed=2"], "given twice"),
        (["train.lr=0.1,much"], "train.lr='much': allowed is a number above 0"),
        (["train.lr=0.1,0.10"], "lr=0.1 and lr=0.10 are the same run"),
    ],
)
def test_a_wrong_over_is_refused(over, message):
    with pytest.raises(UserError, match=message):
        grid(BASE, axes(over))


# The sweep


def test_a_sweep_keeps_all_but_the_failed_point_and_does_nothing_twice(tmp_path, here):
    over = axes(["train.roll=0,9", "train.seed=1"])
    found = sweep(BASE, over, tmp_path, look=LOOK)
    assert json.loads((tmp_path / "sweep.json").read_text()) == found
    assert [point["name"] for point in found["points"]] == here
    assert ["results" in point for point in found["points"]] == [True, False]
    point, failed = found["points"]
    assert "train.roll=9 on images of 8x8 pixels" in failed["error"]
    results = point["results"]
    assert results["worst_case"]["n"] == results["clean"]["n"] == 8
    assert results["worst_case"]["accuracy"] <= results["clean"]["accuracy"]
    assert 0 < results["gradient"]["l2"] <= results["gradient"]["l1"]
    assert not (tmp_path / point["run"] / "results.json").exists()  # which is of test images
    config, model, data = load_run(tmp_path / point["run"])
    assert config.train.seed == point["overrides"]["train.seed"]
    x, y = data.validation.take(8).floats()
    assert results["clean"]["accuracy"] == (model(x).argmax(1) == y).float().mean()
    here.clear()
    # One value more, and what failed again.
    grown = sweep(BASE, axes(["train.roll=0,9", "train.seed=1,2"]), tmp_path, look=LOOK)
    assert here == ["roll=0_seed=2", "roll=9_seed=1", "roll=9_seed=2"]
    assert grown["points"][0] == point


def test_damaged_figures_are_made_again_and_not_passed_as_trained(tmp_path, here):
    over = axes(["train.seed=1"])
    found = sweep(BASE, over, tmp_path, look=LOOK)
    path = tmp_path / "seed=1" / "validation.json"
    whole = path.read_text()
    kept = json.loads(whole)
    for text in (
        json.dumps(kept | {"results": None}),
        json.dumps(kept | {"results": {**kept["results"], "clean": {"accuracy": "high", "n": 1, "interval": [0, 1]}}}),
        json.dumps(kept["results"]),
        json.dumps(kept | {"results": kept["results"] | {"more": float("nan")}}),
        "[" * 5000,
        "",
    ):
        path.write_text(text)
        assert sweep(BASE, over, tmp_path, look=LOOK)["points"] == found["points"]
        assert path.read_text() == whole
    assert len(here) == 7


def test_test_images_make_results_to_report_and_another_look_is_taken_anew(tmp_path, here):
    over = axes(["train.seed=1"])
    (chosen,) = sweep(BASE, over, tmp_path, look=LOOK)["points"]
    (point,) = sweep(BASE, over, tmp_path, look=replace(LOOK, part="test"))["points"]
    assert len(here) == 2
    results = json.loads((tmp_path / "seed=1" / "results.json").read_text())
    (entry,) = results["models"].values()
    assert point["results"]["worst_case"] == entry["worst_case"]
    assert json.loads((tmp_path / "seed=1" / "validation.json").read_text())["results"] == chosen["results"]
    write_report([tmp_path / "seed=1"], tmp_path / "report.html")
    assert "SR seed=1" in (tmp_path / "report.html").read_text()
    sweep(BASE, over, tmp_path, look=replace(LOOK, part="test"))
    sweep(BASE, over, tmp_path, look=LOOK)
    assert len(here) == 2
    (tmp_path / "seed=1" / "results.json").unlink()
    sweep(BASE, over, tmp_path, look=replace(LOOK, part="test"))
    assert len(here) == 3
    (other,) = sweep(replace(BASE, train=replace(BASE.train, lr=0.2)), over, tmp_path)["points"]
    assert "another config" in other["error"]
    assert len(here) == 3


def test_a_wrong_look_is_refused_before_anything_runs(tmp_path, here):
    for look, message in ((SweepLook("none", "0.1"), "suite"), (SweepLook("quick", "much"), "not a number")):
        with pytest.raises(UserError, match=message):
            sweep(BASE, axes(["train.seed=1"]), tmp_path, look=look)
    assert here == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_cluster_and_this_process_give_the_same(tmp_path, here):
    over = axes(["train.seed=1"])
    found = sweep(BASE, over, tmp_path / "cluster", look=LOOK, slurm=Slurm(tmp_path / "jobs", cluster="local"))
    assert here == []
    same = sweep(BASE, over, tmp_path / "here", look=LOOK)
    assert here == ["seed=1"]
    for name in ("clean", "worst_case", "gradient"):
        assert found["points"][0]["results"][name] == same["points"][0]["results"][name]


@pytest.mark.slow
def test_the_command(tmp_path, capsys, monkeypatch):
    config = tmp_path / "config.yaml"
    config.write_text("model: {steps: 1, options: {width: 0.25}}\ntrain: {epochs: 1, batch_size: 512}\n")
    out = tmp_path / "out"
    look = ["--suite", "paper-trail", "--eps", "8/255", "--limit", "8"]
    command = ["sweep", str(config), "--over", "train.lr=0.1,1e30", "--out", str(out), "--workers", "2"]
    assert main([*command, *look]) == 2
    said = capsys.readouterr()
    assert "robustsnn: error: 1 of 2 points failed, " in said.err
    assert " by: " in said.err
    lines = said.out.splitlines()
    assert lines[0] == "validation images, paper-trail at eps 8/255, 95 % intervals"
    assert lines[2].startswith("lr=0.1 ")
    assert lines[3].startswith("lr=1e30 ")
    assert "failed: " in lines[3]
    written = (out / "lr=0.1" / "weights.safetensors").stat().st_mtime_ns
    again = []
    monkeypatch.setattr("robustsnn.runs.slurm.run_jobs", partial(run_here, again))
    assert main([*command[:3], "train.lr=0.1", *command[4:], *look]) == 0
    assert (out / "lr=0.1" / "weights.safetensors").stat().st_mtime_ns == written
    assert again == []
    assert "sweep.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--over", "train.sed=1"], "allowed in train are"),
        (["--over", "train.seed=1", "--suite", "quick"], "--suite and --eps go together"),
        (["--over", "train.seed=1", "--limit", "3"], "--limit and --part are of the attack"),
        (["--over", "train.seed=1", "--slurm.gpus", "1"], "only --executor slurm takes --slurm.gpus"),
        (["--over", "train.seed=1", "--executor", "slurm", "--workers", "1"], "--slurm.parallel"),
    ],
)
def test_a_wrong_command_is_refused(tmp_path, capsys, more, message):
    config = tmp_path / "config.yaml"
    config.write_text("train: {epochs: 1}\n")
    assert main(["sweep", str(config), "--out", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
