"""The command line as a user meets it: what works, and one clear line with exit code 2 for what does not."""

import hashlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import yaml

from robustsnn.cli import COMMANDS, main
from robustsnn.data import cifar
from robustsnn.ground.ours import LOCK
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.names.shipped import shipped

TINY = ["--train.epochs", "1", "--train.batch_size", "8", "--model.steps", "2", "--train.precision", "float32"]
SPARSE = ["--objective.name", "sparsity", "--objective.lam", "0.1", *TINY, "--train.batch_size", "64"]
SPARSE += ["--model.options.width", "0.25"]


def run(*arguments, capture):
    """Exit code, stdout and stderr of a command, in this process."""
    code = main([str(a) for a in arguments])
    found = capture.readouterr()
    return code, found.out, found.err


def refused(*arguments, capture):
    """The one line that a wrong input gets."""
    code, _, err = run(*arguments, capture=capture)
    told = re.compile(r"loading$| *[\d.]+ %  |\S+: at most [\d,]+ passes for an image that survives")
    lines = [line for line in err.splitlines() if not told.match(line)]
    assert code == 2
    assert len(lines) == 1, err
    assert lines[0].startswith("robustsnn: error: ")
    return lines[0]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run that was trained for one epoch on digits."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", *SPARSE, "--out", str(out)]) == 0
    return out


def copy(run_folder, target):
    target.mkdir()
    for path in run_folder.rglob("*"):
        if path.is_file():
            (target / path.relative_to(run_folder)).parent.mkdir(exist_ok=True, parents=True)
            (target / path.relative_to(run_folder)).write_bytes(path.read_bytes())
    return target


def test_help_of_everything_without_torch():
    code = "import sys; from robustsnn.cli import main; "
    code += (
        f"[main(a) for a in ([], ['--help'], ['--version'], *[[c, '--help'] for c in {list(COMMANDS)!r}], ['list'])]; "
    )
    code += "assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for word in ("demo", "--objective.lam", "--suite", "paper-sr", "wide_resnet16", "lambda, weight of the"):
        assert word in done.stdout


def test_a_run_from_training_to_report(trained, capsys, tmp_path):
    assert {p.name for p in trained.iterdir()} == {"config.yaml", "metrics.jsonl", "state", "weights.safetensors", LOCK}
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["objective"]["lam"] == 0.1
    assert config["train"]["lr"] == 0.1  # defaults are written too
    assert {"torch", "robustsnn", "git", "data_note", "started"} <= config["provenance"].keys()
    run_folder = copy(trained, tmp_path / "run")
    code, out, err = run(
        *("evaluate", run_folder, "--suite", "paper-sr-10", "--eps", "8/255", "--curve", "4/255", "--limit", 12),
        capture=capsys,
    )
    assert code == 0
    assert "worst case of paper-sr-10 at Linf eps 8/255" in out
    assert "%" in err
    results = json.loads((run_folder / "results.json").read_text())
    entry = results["models"]["SR"]
    assert entry["clean"]["n"] == 12
    assert entry["worst_case"]["accuracy"] <= entry["clean"]["accuracy"] <= 1
    # The cost is said before anything is attacked, once per radius.
    line = f"paper-sr-10: at most {2 * entry['passes']:,} passes for an image that survives; 12 images, 2 radii\n"
    assert 0 <= err.index(line) < err.index("%")
    assert "torch" in results["versions"]
    page = tmp_path / "report.html"
    assert run("report", run_folder, "--out", page, capture=capsys)[0] == 0
    assert "SR" in page.read_text()
    assert (tmp_path / "report.csv").exists()


def test_resuming_a_finished_run_changes_nothing_and_overwriting_is_refused(trained, capsys, tmp_path):
    run_folder = copy(trained, tmp_path / "run")
    before = (run_folder / "weights.safetensors").read_bytes()
    assert "--resume" in refused("train", *TINY, "--out", run_folder, capture=capsys)
    assert run("train", *SPARSE, "--out", run_folder, "--resume", capture=capsys)[0] == 0
    assert run("train", run_folder / "config.yaml", "--out", run_folder, "--resume", capture=capsys)[0] == 0
    assert "another config" in refused(
        "train", *SPARSE, "--train.seed", 1, "--out", run_folder, "--resume", capture=capsys
    )
    assert (run_folder / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fly"], "unknown command 'fly'; allowed are demo"),
        (["train", "nowhere.yaml", "--out", "x"], "nowhere.yaml does not exist"),
        (["train"], "--out"),
        (["train", "--train.epoch", "3", "--out", "x"], "train.epoch"),
        (["train", "--objective.name", "sparse", "--out", "x"], "objective.name"),
        (["train", "--objective.name", "sparsity", "--out", "x"], "objective.lam"),
        (["train", "--objective.name", "adversarial", "--out", "x"], "objective.attack.eps"),
        (["train", "--objective.lam", "1", "--out", "x"], "no effect"),
        (["train", "--objective.name", "adversarial", "--objective.attack.eps", "2", "--out", "x"], "eps=2/255"),
        (["train", "--model.neuron.tau", "2", "--out", "x"], "tau=2: allowed is a number above 0 and at most 1"),
        (["train", "--train.epochs", "0", "--out", "x"], "epochs=0"),
        (["train", "--data.name", "cifar10", "--out", "x"], "data.root"),
        (["train", "--train.momentum", "-1", "--out", "x"], "train.momentum"),
        (["train", "--train.weight_decay", "-1", "--out", "x"], "train.weight_decay"),
        (["train", "--train.seed", "99999999999999999999999", "--out", "x"], "train.seed"),
        (["train", "--data.seed", "-1", "--out", "x"], "data.seed"),
        (["train", "--train.crop", "-1", "--out", "x"], "crop"),
        (["train", "--train.lr", "1e39", "--out", "x"], "train.lr"),
        (["evaluate", "nowhere", "--suite", "paper-sr", "--eps", "0"], "nowhere is not a run"),
        (["train", "--model.name", "wide_resnet16", "--train.lr", "-1", "--out", "x"], "train.lr"),
        (["evaluate", "nowhere", "--suite", "paper-sr", "--eps", "8/255"], "nowhere is not a run"),
        (["evaluate", "nowhere", "--suite", "paper", "--eps", "8/255"], "suite=paper: allowed are quick"),
        (["evaluate", "nowhere", "--suite", "paper-sr", "--eps", "8"], "eps=8/255"),
        (
            ["evaluate", "nowhere", "--suite", "paper-sr", "--eps", "eight"],
            "--eps 'eight': allowed is a number from 0 to 255",
        ),
        (["evaluate", "nowhere", "--suite", "paper-sr"], "--eps"),
        (["evaluate", "nowhere", "--eps", "8/255"], "--suite"),
        (["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "2"], "write it as 2/4"),
        (["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "a/b"], "write it as 2/4"),
        (["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "1/2/3"], "write it as 2/4"),
        (["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "2/"], "write it as 2/4"),
        (["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "²/3"], "write it as 2/4"),
        (
            ["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "0/3"],
            "shard 0/3: the first number is 1 to the second",
        ),
        (
            ["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "4/3"],
            "shard 4/3: the first number is 1 to the second",
        ),
        (
            ["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "1/0"],
            "shard 1/0: the first number is 1 to the second",
        ),
        (
            ["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--shard", "1/2", "--merge"],
            "exclude each other",
        ),
        (
            ["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--source", "elsewhere"],
            "elsewhere is not a run",
        ),
        (["evaluate", "nowhere", "--suite", "quick", "--eps", "8/255", "--seed", "one"], "seed"),
        (["evaluate", "nowhere", "--suite", "quick,quick", "--eps", "8/255"], "give each suite once"),
        (["evaluate", "nowhere", "--suite", ",", "--eps", "8/255"], "at least one"),
        (["evaluate", "nowhere", "--suite", "quick,fast", "--eps", "8/255"], "suite=fast: allowed are"),
        (["evaluate", "nowhere", "--suite", "quick-coded", "--eps", "8/255"], "each with -encoded or -8bit at its end"),
        (["evaluate", "nowhere", "--images", "x.safetensors"], "nowhere is not a run"),
        (["train", "--model.name", "resnet", "--out", "x"], "model.name=resnet: allowed are vgg_small"),
        (["train", "--model.options.pooling", "max", "--out", "x"], "model.options.pooling is no option of vgg_small"),
        (["train", "--model.encoder.name", "morse", "--out", "x"], "model.encoder.name=morse: allowed are direct"),
        (["train", "--model.encoder.name", "frames", "--out", "x"], "frames does not fit images"),
        (["train", "--model.encoder.discretise", "1", "--out", "x"], "model.encoder.discretise=1: allowed is"),
        (["train", "--data.name", "digit_events", "--out", "x"], "data.frames.steps=8 and model.steps=4 differ"),
        (["train", "--data.name", "cifar10_dvs", "--out", "x"], "data.root"),
        (["train", "--objective.name", "trades", "--objective.lam", "1", "--out", "x"], "objective.attack.eps"),
        (["train", "--objective.name", "membrane", "--objective.lam", "1", "--out", "x"], "objective.options.delta"),
        (["train", "--objective.name", "hire", "--objective.options.eps", "8", "--out", "x"], "eps=8/255"),
        (["train", "--data.frames.steps", "3", "--out", "x"], "data.frames has no effect on data.name=digits"),
        (
            ["train", "--model.options.width", "wide", "--out", "x"],
            "model.options.width='wide' of vgg_small: allowed is",
        ),
        (
            ["train", "--train.cutout", "9", "--train.epochs", "1", "--out", "x"],
            "train.cutout=9 on images of 8x8 pixels",
        ),
        (["train", "--objective.retraction", "5", "--out", "x"], "objective.retraction=5: allowed is"),
        (["train", "--train.select", "validation-robust", "--out", "x"], "validation_attack"),
        (["analyze", "nowhere"], "nowhere is not a run"),
        (["analyze", "nowhere", "--loss", "l"], "--loss=l: allowed are cross_entropy"),
        (["analyze", "nowhere", "--rule", "r"], "--rule=r: allowed are own, triangle-1"),
        (["analyze", "nowhere", "--attack", "pgd"], "--attack pgd needs --eps"),
        (["analyze", "nowhere", "--eps", "0.1"], "--eps 0.1 needs --attack"),
        (["analyze", "nowhere", "--attack", "magic"], "--attack=magic: allowed are"),
        (["report", "nowhere", "--out", "x.html"], "nowhere"),
        (["report", "--out", "x.html"], "runs"),
        (["list", "fish"], "fish"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_gets_one_line_and_leaves_nothing(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert text in refused(*arguments, capture=capsys)
    assert not list(tmp_path.iterdir())


def test_a_typo_in_a_config_file_is_named(capsys, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("objective: {name: sparsity, lambda: 0.1}\n")
    assert "lambda" in refused("train", path, "--out", tmp_path / "x", capture=capsys)
    path.write_text("traim: {epochs: 1}\n")
    assert "traim" in refused("train", path, "--out", tmp_path / "x", capture=capsys)
    path.write_text("train: [unclosed\n")
    assert "c.yaml" in refused("train", path, "--out", tmp_path / "x", capture=capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model:\n  options:\n", "model.options=null: allowed is a mapping of options"),
        ("objective: {schedule: null}\n", "objective.schedule=null: allowed is a mapping with name, options"),
        ("model: {options: &a {width: *a}}\n", "nested more than 20 deep"),
        ("model: {options: {width: 2020-01-01}}\n", "neither a number"),
        ("model: {options: {1: 2}}\n", "the name 1 in it is no text"),
        ("model: {encoder: phase}\n", "model.encoder='phase': allowed is a mapping with name, options, discretise"),
        ("model: {name: sew_resnet18, options: {stem: [cifar]}}\n", "stem=['cifar']"),
        (
            "model: {encoder: {name: phase, options: {weighted: x}}}\n",
            "weighted='x' of phase: allowed is true or false",
        ),
        ("objective: {name: sparsity, lam: 1, options: {h: true}}\n", "h=true of sparsity: allowed is a number"),
        (
            "objective: {name: hire, options: {eps: 8/255, periods: 2.0}}\n",
            "periods=2.0 of hire: allowed is a whole number",
        ),
    ],
)
def test_a_config_file_with_values_of_the_wrong_kind_is_refused_by_name(text, said, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(text)
    assert said in refused("train", tmp_path / "c.yaml", "--out", tmp_path / "x", capture=capsys)
    assert not (tmp_path / "x").exists()


def test_analyze_writes_a_trail_that_the_report_shows(trained, capsys, tmp_path):
    folder = copy(trained, tmp_path / "run")
    code, out, err = run(
        *("analyze", folder, "--parts", "trail", "--limit", 6, "--attack", "pgd", "--eps", "16/255"),
        *("--rule", "arctan-2"),
        capture=capsys,
    )
    assert code == 0, err
    found = json.loads((folder / "analysis" / "trail.json").read_text())
    assert found["n"] == 6
    assert "arctan" in found["rule"].lower()
    assert "16/255" in found["attack"]
    neurons = [operation for operation in found["operations"] if operation["kind"] == "neurons"]
    assert len(neurons) == 4
    assert all(operation["architectural"]["total"] == 0 for operation in neurons)  # arctan has no finite support
    assert "convolution" in out
    code, _, err = run("report", folder, "--out", tmp_path / "page.html", capture=capsys)
    assert code == 0, err
    assert "Where the gradient becomes sparse" in (tmp_path / "page.html").read_text()
    (folder / "analysis" / "trail.json").write_text(json.dumps({**found, "made_with": "0" * 64}))
    assert "trail.json" in refused("report", folder, "--out", tmp_path / "other.html", capture=capsys)


def test_a_run_is_valid_still_when_the_library_learns_an_option(trained, capsys, tmp_path):
    folder = copy(trained, tmp_path / "run")
    document = yaml.safe_load((folder / "config.yaml").read_text())
    del document["train"]["cutout"], document["model"]["encoder"], document["data"]["frames"]
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    assert run("analyze", folder, "--parts", "energy", "--limit", 2, capture=capsys)[0] == 0
    document["train"]["crop"] = 0
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    assert "another config" in refused("analyze", folder, capture=capsys)


def test_dry_run_prints_a_config_that_is_complete_and_reads_back(capsys, tmp_path):
    code, out, _ = run("train", "cifar10_wrn16_sr_at", "--objective.lam", 0.5, "--dry_run", capture=capsys)
    assert code == 0
    config = yaml.safe_load(out)
    assert config["objective"] == {
        "name": "sparsity",
        "lam": 0.5,
        "options": {"h": 0.01, "form": "reference-code"},
        "attack": {"eps": "2/255", "alpha": 0.01, "steps": 5, "step": None},
        "schedule": {"name": "constant", "options": {}},
        "retraction": None,
        "constraint": {"name": None, "options": {}},
        "perturbation": None,
    }
    (tmp_path / "again.yaml").write_text(out)
    assert run("train", tmp_path / "again.yaml", "--dry_run", capture=capsys)[1] == out


def test_damaged_runs_are_named(trained, capsys, tmp_path):
    evaluate = ("--suite", "paper-sr-10", "--eps", "8/255", "--limit", 4)
    a = copy(trained, tmp_path / "a")
    weights = (a / "weights.safetensors").read_bytes()
    (a / "weights.safetensors").write_bytes(weights[:1000])
    assert "weights.safetensors" in refused("evaluate", a, *evaluate, capture=capsys)
    (a / "weights.safetensors").unlink()
    assert "not trained to the end" in refused("evaluate", a, *evaluate, capture=capsys)
    (a / "weights.safetensors").write_bytes(weights)
    config = yaml.safe_load((a / "config.yaml").read_text())
    other = config["model"] | {"name": "wide_resnet16", "options": {}}
    (a / "config.yaml").write_text(yaml.safe_dump(config | {"model": other}))
    assert "does not fit the model" in refused("evaluate", a, *evaluate, capture=capsys)
    for group, change in (("data", {"seed": 3}), ("model", {"neuron": {"theta": 0.5}})):
        (a / "config.yaml").write_text(yaml.safe_dump(config | {group: config[group] | change}))
        assert "was trained with another config" in refused("evaluate", a, *evaluate, capture=capsys)
    (a / "config.yaml").write_text("model: {stepz: 3}")
    assert "stepz" in refused("evaluate", a, *evaluate, capture=capsys)
    (a / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert "config.yaml" in refused("evaluate", a, *evaluate, capture=capsys)
    assert "--limit '0': allowed is" in refused("evaluate", trained, *evaluate[:-1], 0, capture=capsys)
    assert "batch_size" in refused("evaluate", trained, *evaluate, "--batch_size", 0, capture=capsys)


def test_figures_of_other_weights_are_not_reported(trained, capsys, tmp_path):
    evaluate = ("--suite", "paper-sr-10", "--eps", "8/255", "--limit", 4)
    a, page = copy(trained, tmp_path / "a"), tmp_path / "r.html"
    assert run("evaluate", a, *evaluate, capture=capsys)[0] == 0
    assert run("report", a, "--out", page, capture=capsys)[0] == 0
    weights = (a / "weights.safetensors").read_bytes()
    (a / "weights.safetensors").write_bytes(weights[:-4] + b"\x00\x00\x80\x3f")
    assert "results.json was made with other weights" in refused("report", a, "--out", page, capture=capsys)
    (a / "results.json").unlink()
    assert "samples.npz was made with other weights" in refused("report", a, "--out", page, capture=capsys)
    # Finished weights are not trained over, also without their state.
    for path in (a / "state").iterdir():
        path.unlink()
    assert "holds a run already" in refused("train", *TINY, "--out", a, capture=capsys)


def test_a_bad_curve_is_refused_before_anything_is_deleted(trained, capsys, tmp_path):
    evaluate = ("--suite", "paper-sr-10", "--eps", "8/255", "--limit", 4)
    a = copy(trained, tmp_path / "a")
    assert run("evaluate", a, *evaluate, capture=capsys)[0] == 0
    before = {p: p.stat().st_mtime_ns for p in a.rglob("*") if p.is_file()}
    for curve in ("4/255,x", "2", "-0.1"):
        refused("evaluate", a, *evaluate, "--curve=" + curve, capture=capsys)
    assert {p: p.stat().st_mtime_ns for p in a.rglob("*") if p.is_file()} == before


def test_divergence_is_one_line_with_advice(capsys, tmp_path):
    line = refused("train", *TINY, "--train.lr", "1e30", "--out", tmp_path / "x", capture=capsys)
    assert "the learning rate was 1e+30, the objective Natural(): lower train.lr" in line


def test_debug_shows_the_traceback(monkeypatch):
    with pytest.raises(ValueError, match="unknown command"):
        main(["fly", "--debug"])


SCRIPT = "import sys; from robustsnn.cli import main; sys.exit(main(sys.argv[1:]))"


def test_killed_evaluation_resumes_to_identical_outcomes(trained, tmp_path, capsys, unchecked):
    evaluate = ("--suite", "paper-sr-10", "--eps", "8/255", "--limit", "40", "--batch_size", "8")
    whole, killed = copy(trained, tmp_path / "whole"), copy(trained, tmp_path / "killed")
    assert run("evaluate", whole, *evaluate, capture=capsys)[0] == 0
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "evaluate", str(killed), *evaluate], stderr=subprocess.DEVNULL
    )
    outcomes = killed / "outcomes"
    while len(list(outcomes.rglob("batch-*.npz"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "results.json").exists()
    assert run("evaluate", killed, *evaluate, "--resume", capture=capsys)[0] == 0
    a, b = ({p.relative_to(f): p for p in (f / "outcomes").rglob("*.npz")} for f in (whole, killed))
    a, b = ({k: v for k, v in x.items() if not k.name.startswith(".")} for x in (a, b))
    assert a.keys() == b.keys()
    for name in a:
        with np.load(a[name]) as x, np.load(b[name]) as y:
            assert all(np.array_equal(x[k], y[k]) for k in x.files)
    results = [json.loads((f / "results.json").read_text())["models"] for f in (whole, killed)]
    assert results[0] == results[1]


# Suites, shards, sources and saved images

TRAIL = ("--suite", "paper-trail", "--eps", "8/255", "--limit", 24, "--batch_size", 8)


def models(run_folder):
    return json.loads((run_folder / "results.json").read_text())["models"]


def test_list_names_the_suites_that_can_be_built(capsys):
    from robustsnn.runs.build import suite

    code, out, _ = run("list", "suites", capture=capsys)
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert {"quick", "reliable", "autoattack", "paper-sr", "paper-trail"} <= set(names)
    for name in names:
        if name not in ("NAME-encoded", "NAME-8bit", "flips"):
            assert suite(name)(0.03).encoded().name == suite(f"{name}-encoded")(0.03).name
            assert suite(name)(0.03).on_grid() == suite(f"{name}-8bit")(0.03)


def test_shards_of_one_folder_or_of_copies_merge_to_the_results_of_one_run(trained, capsys, tmp_path, unchecked):
    curve = ("--curve", "4/255")
    whole, one, *copies = (copy(trained, tmp_path / name) for name in ("whole", "one", "a", "b", "c"))
    assert run("evaluate", whole, *TRAIL, *curve, capture=capsys)[0] == 0
    for number, folder in enumerate(copies, 1):
        for place in (folder, one):
            code, out, _ = run("evaluate", place, *TRAIL, *curve, "--shard", f"{number}/3", capture=capsys)
            assert code == 0
            assert f"shard {number}/3 is done" in out
            assert not (place / "results.json").exists()
    others = tmp_path / "b", tmp_path / "c"
    line = refused("evaluate", tmp_path / "a", *TRAIL, *curve, "--merge", others[0], capture=capsys)
    assert "1 of 3 batches are missing" in line
    assert "batch-00002.npz" in line
    assert run("evaluate", one, *TRAIL, *curve, "--merge", capture=capsys)[0] == 0
    assert run("evaluate", tmp_path / "a", *TRAIL, *curve, "--merge", *others, capture=capsys)[0] == 0
    assert models(one) == models(tmp_path / "a") == models(whole)
    assert "another model" in refused(
        "evaluate", one, *TRAIL, *curve, "--seed", 1, "--merge", tmp_path / "a", capture=capsys
    )
    assert "shard 4/4 is empty" in refused("evaluate", one, *TRAIL, "--shard", "4/4", capture=capsys)


def test_several_suites_are_entries_of_their_own_and_their_images_are_judged_again(
    trained, capsys, tmp_path, unchecked
):
    folder = copy(trained, tmp_path / "run")
    three = ("--suite", "paper-trail, paper-trail-8bit, paper-trail-encoded", *TRAIL[2:], "--save_images")
    code, out, _ = run("evaluate", folder, *three, capture=capsys)
    assert code == 0
    assert "in pixel space on 8-bit grey levels" in out
    entries = models(folder)
    assert list(entries) == ["SR (paper-trail)", "SR (paper-trail-8bit)", "SR (paper-trail-encoded)"]
    pixel, grid, encoded = entries.values()
    assert [(entry["space"], entry["levels"]) for entry in entries.values()] == [
        ("pixel", None),
        ("pixel", 255),
        ("encoded", None),
    ]
    assert pixel["clean"] == encoded["clean"] == grid["clean"]
    assert pixel["rounded"]["of"] == round(
        (pixel["clean"]["accuracy"] - pixel["worst_case"]["accuracy"]) * pixel["clean"]["n"]
    )
    assert 0 <= pixel["rounded"]["standing"] <= pixel["rounded"]["of"]
    assert grid["rounded"] is None
    assert encoded["rounded"] is None
    assert run("report", folder, "--out", tmp_path / "r.html", capture=capsys)[0] == 0
    for name in ("paper-trail", "paper-trail-8bit", "paper-trail-encoded"):
        path = folder / "adversarial" / f"{name}.safetensors"
        code, out, _ = run("evaluate", folder, "--images", path, capture=capsys)
        assert code == 0
        entry = entries[f"SR ({name})"]
        for figure in (entry["clean"], entry["worst_case"]):
            assert f"{100 * figure['accuracy']:.1f} %" in out
        assert f"{name} on SR, Linf eps 8/255 in {entry['space']} space" in out
    assert "not a readable safetensors file" in refused(
        "evaluate", folder, "--images", folder / "config.yaml", capture=capsys
    )
    assert "holds no adversarial images" in refused(
        "evaluate", folder, "--images", folder / "weights.safetensors", capture=capsys
    )
    path.write_bytes(path.read_bytes()[:-9])
    assert "paper-trail-encoded.safetensors" in refused("evaluate", folder, "--images", path, capture=capsys)


def test_sources_give_black_box_columns(trained, capsys, tmp_path, monkeypatch):
    folder, source = copy(trained, tmp_path / "run"), copy(trained, tmp_path / "source")
    arguments = ("--suite", "paper-sr-10", *TRAIL[2:5], 6)
    assert "is the attacked model itself" in refused("evaluate", folder, *arguments, "--source", source, capture=capsys)
    tensors, metadata = read_tensors(source / "weights.safetensors", "")
    next(value for name, value in tensors.items() if name.endswith("bias")).add_(1e-6)  # another one, if barely
    write_tensors(source / "weights.safetensors", tensors, metadata)
    assert run("evaluate", folder, *arguments, "--source", source, capture=capsys)[0] == 0
    entry = models(folder)["SR"]
    white = ["FGSM", "RFGSM", "PGD10", "APGD10"]
    assert list(entry["columns"]) == [*white, *(f"BB {name}" for name in white)]
    assert entry["sources"] == [str(source)]
    crafted = [attack for attack in entry["attacks"].values() if attack["black_box"]]
    assert len(crafted) == 16
    assert all(attack["label"].endswith(f" from {source}") for attack in crafted)
    # Images of almost the same network, taken to the last step, break what one sign step breaks.
    assert entry["columns"]["BB FGSM"] == entry["columns"]["FGSM"]
    assert "no black-box columns" in refused("evaluate", folder, *TRAIL, "--source", source, capture=capsys)

    from helpers import spiking
    from robustsnn.attacks import Source
    from robustsnn.runs import folder as runs

    monkeypatch.setattr(runs, "load_source", lambda path, **_: Source(str(path), spiking(image=(3, 16, 16))))
    assert "is made for other images than" in refused(
        "evaluate", folder, *arguments, "--source", source, capture=capsys
    )


# CIFAR-10 in its two layouts, tiny.


def pixels(n, seed):
    draws = np.random.default_rng(seed)
    return draws.integers(0, 256, (n, 3072), dtype=np.uint8), draws.integers(0, 10, n)


def names():
    return [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def python_layout(root, n=8):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for seed, name in enumerate(names()):
        x, y = pixels(n, seed)
        (folder / name).write_bytes(pickle.dumps({b"data": x, b"labels": y.tolist()}, protocol=2))
    meta = {b"label_names": [f"class{i}".encode() for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return folder


def binary_layout(root, n=8):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for seed, name in enumerate(names()):
        x, y = pixels(n, seed)
        (folder / f"{name}.bin").write_bytes(np.concatenate([y[:, None].astype(np.uint8), x], 1).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)) + "\n")
    return folder


# An eighth of VGG-11's channels: the whole takes half a minute.
CIFAR = ["cifar10_vgg11_sr", "--data.validation", "8", "--model.options.width", "0.125", *TINY]


@pytest.mark.parametrize("layout", [python_layout, binary_layout])
def test_trains_the_cifar_config_on_a_folder_of_either_layout(layout, tmp_path, capsys):
    layout(tmp_path / "data")
    code, _, err = run("train", *CIFAR, "--data.root", tmp_path / "data", "--out", tmp_path / "run", capture=capsys)
    assert code == 0, err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["objective"]["lam"] == 0.008


def archive(folder, target):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    target.write_bytes(stream.getvalue())
    return hashlib.md5(stream.getvalue()).hexdigest()


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_bad_cifar_files_get_one_line(tmp_path, capsys, monkeypatch):
    root = tmp_path / "data"

    def attempt():
        return refused("train", *CIFAR, "--data.root", root, "--out", tmp_path / "run", capture=capsys)

    assert "download" in attempt()  # a missing folder
    root.mkdir()
    assert "download" in attempt()  # an empty one
    folder = python_layout(root)
    batch = folder / "data_batch_3"
    good = batch.read_bytes()
    batch.write_bytes(good[:-100])
    assert "data_batch_3" in attempt()
    x, y = pixels(8, 2)
    batch.write_bytes(pickle.dumps({b"data": x, b"labels": [*y[:7].tolist(), 10]}, protocol=2))
    assert "10" in attempt()
    batch.write_bytes(pickle.dumps({b"data": Hostile(tmp_path / "owned"), b"labels": [0]}, protocol=2))
    assert "data_batch_3" in attempt()
    assert not (tmp_path / "owned").exists()
    batch.write_bytes(good)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder = binary_layout(tmp_path / "elsewhere")
    digest = archive(folder, root / "cifar-10-binary.tar.gz")
    assert "cifar-10-binary.tar.gz" in attempt()  # a wrong checksum
    monkeypatch.setitem(cifar.CHECKSUMS, "cifar-10-binary.tar.gz", digest)
    assert run("train", *CIFAR, "--data.root", root, "--out", tmp_path / "run", capture=capsys)[0] == 0


@pytest.mark.parametrize("path", shipped().values(), ids=lambda p: p.stem)
def test_every_config_builds(path):
    from robustsnn.data.procedural import procedural
    from robustsnn.names.parsing import parse_config
    from robustsnn.runs.build import build_data, build_model, build_objective

    config = parse_config(yaml.safe_load(path.read_text()), path.name)
    build_objective(config.objective)
    if config.data.root is None and path.stem.startswith("digit"):  # embedded data: the real thing
        made = build_data(config.data)
        assert build_model(config.model, made, 0).image == made.train.shape
        return
    ends = {"vanilla": "vanilla", "SR": "sr", "AT": "at", "SR*": "sr_at", "RAT": "rat"}
    ends |= {"SEW-ResNet18": "sew18", "Spiking-ResNet18": "spiking18"}
    assert path.stem.endswith(ends[config.title()])
    if "sr" not in path.stem:
        return
    data = procedural(n_train=20, n_validation=10, n_test=10)
    assert build_model(config.model, data, 0).image == (3, 32, 32)
