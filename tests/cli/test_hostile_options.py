"""Every option of every command with hostile values: one line and 2, no folder, no import; and what the lines say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from helpers import benchmark
from robustsnn.cli import main
from robustsnn.cli.command_line import _short
from robustsnn.ground.progress import Display
from robustsnn.names.documents import plain

with benchmark("hostile") as hostile:
    PATHS = list(hostile.options())
    FLAGS = [(command, action) for command, actions in hostile.flags().items() for action in actions]
    OWN = list(hostile.own_options())


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, which it must leave so, and returns its exit code and one line."""
    monkeypatch.chdir(tmp_path)
    Path("hostile_canary.py").write_text("import pathlib\npathlib.Path('imported').touch()\ndef X(**_): pass\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Path("c.yaml").touch()
    before = {"hostile_canary.py", "c.yaml"}

    def run(arguments, text=None):
        if text is not None:
            Path("c.yaml").write_text(text)
        code = main(arguments)
        err = [line for line in capsys.readouterr().err.splitlines() if line != "loading"]
        assert {path.name for path in tmp_path.iterdir()} == before
        assert "hostile_canary" not in sys.modules
        assert code in (0, 2)
        assert len(err) == (code == 2), err
        assert all(line.startswith("robustsnn: error: ") and len(line) < 1200 for line in err)
        return code, "".join(err)

    return run


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_every_option_of_a_file(path, said):
    refused = 0
    for value in hostile.VALUES:
        code, line = said(["train", "c.yaml", "--dry_run"], hostile.told(path, value))
        refused += code == 2
        assert not re.search(r"NoneType|typing\.|<class|Traceback|needed is [A-Z]", line)
    assert refused > len(hostile.VALUES) / 2


@pytest.mark.parametrize(("objective", "path"), OWN, ids=str)
def test_every_option_of_an_objective(objective, path, said):
    for value in hostile.VALUES:
        objective = "natural" if objective == "model" else objective
        code, line = said(["train", "c.yaml", "--dry_run"], hostile.told(path, value, objective))
        assert code == 0 or path[-1] in line or "holds" in line


@pytest.mark.parametrize(("command", "action"), FLAGS, ids=lambda value: getattr(value, "dest", value))
def test_every_flag(command, action, said):
    """With values that no command can take, and beside a run that is not there: nothing is computed."""
    needed = {
        "train": ["--dry_run"],
        "evaluate": ["nowhere", "--suite", "quick", "--eps", "8/255"],
        "analyze": ["nowhere"],
        "certify": ["nowhere"],
        "completion": ["nothing"],
        "leaderboard": ["nowhere", "--out", "out"],
        "zoo": ["judge", "nowhere"],
        "sweep": ["nowhere.yaml", "--over", "train.seed=1", "--out", "out"],
        "report": ["nowhere"],
        "reproduce": ["nothing"],
        "bench": ["--parts", "nothing"],
        "demo": ["--seed", "-1"],
        "doctor": ["--nothing"],
        "list": ["nothing"],
    }[command]
    for text in hostile.TEXTS:
        if "\0" in text or "hostile_canary" in text:  # no argument has a zero byte; a name that is typed is trusted
            continue
        if action.option_strings:
            value = [] if action.nargs == 0 else [text]
            said([command, *needed, action.option_strings[-1], *value])
            if not value:
                break


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "expands to more than 10000 values"),
        ("model: &m {options: *m}", "nested more than 20 deep"),
        ("[" * 5000, "nested more than 20 deep"),
        ("1: 2\nx: 3", "the name 1 in it is no text; write it in quotes"),
        ("train: {lr: 0.1}\ntrain: {lr: 0.2}", "'train' is said twice, in line 2 again"),
        ("train: {lr: 0.1, lr: 0.2}", "'lr' is said twice"),
        ('name: "\\ud800"', "lone surrogate"),
        ('name: "\\0"', "zero byte"),
        ("train: {epochs: 0x" + "f" * 5000 + "}", "train.epochs=a number of 6021 digits: allowed is"),
        ("? [1]\n: 2", "found unhashable key"),
        ("name: !!timestamp x", "cannot be read as a config"),
        ("name: 2024-01-01", "is neither a number, a text"),
        ("x" * (1 << 20) + ": 1", "bytes; 1048576 are allowed"),
        ("train:\n  epochs:\n", "train.epochs=null: allowed is a whole number from 1 to 1000000; leave it out for 20"),
        ("train: {lr: .nan}", "train.lr=nan: allowed is a number above 0; leave it out for 0.1"),
        ("trian: {lr: 0.1}", "did you mean train?"),
        ("train: {lr: 1.0e+300}", "train.lr=1e+300: allowed is a number above 0, of a size from 1e-37 to 1e+37; leave"),
        ("objective: {name: sparsity, lam: 1, options: {h: 1.0e-300}}", "most 1000, of a size from 1e-37 to 1e+37"),
        ("objective: {name: sparsity, lam: 1, options: {h: 1e-300}}", "most 1000, of a size from 1e-37 to 1e+37"),
        (
            "objective: {name: sparsity, lam: 1, options: {h: 1.0e+30}}",
            "h=1e+30 of sparsity: allowed is a number",
        ),
        ("objective: {name: membrane, lam: 1, options: {delta: 1e30}}", "above 0 and at most 1000; give one"),
        ("objective: {name: sparsity}", "needs objective.lam; give it, allowed is a number of at least 0"),
    ],
)
def test_files_that_are_no_config(text, words, said):
    code, line = said(["train", "c.yaml", "--out", "run"], text)
    assert code == 2
    assert words in line


def test_aliases_merges_and_a_byte_order_mark_are_allowed():
    assert plain("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}
    assert plain("") is None


def test_files_are_utf8_whatever_the_locale(said, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    Path("c.yaml").write_bytes("\ufeffname: é\ntrain: {lr: 0}".encode())
    assert "train.lr=0" in said(["train", "c.yaml", "--out", "run"])[1]
    Path("c.yaml").write_bytes(b"name: \xe9")
    assert "utf-8" in said(["train", "c.yaml", "--out", "run"])[1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "there is not enough memory in train, at the stage: epoch 1/2 (MemoryError); lower"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "train.batch_size, model.steps or the width"),
        (RecursionError("maximum recursion depth exceeded"), "something is nested too deeply in train"),
        (OverflowError("int too big to convert"), "a number is too large to compute with"),
    ],
)
def test_the_net_names_the_stage_and_what_to_lower(error, words, said, monkeypatch):
    def fails(*_, **__):
        Display.stage = "epoch 1/2"
        raise error

    monkeypatch.setattr("robustsnn.runs.folder.train_run", fails)
    code, line = said(["train", "--out", "run"])
    assert code == 2
    assert words in line


def test_the_net_lets_defects_through(said, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr("robustsnn.runs.folder.train_run", fails)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["train", "--out", "run"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model.options.width", "1000"], "of memory, and"),
        (["--model.steps", "4096", "--train.batch_size", "1200"], "a training step on 1197 images with T=4096 needs"),
        (["--train.crop", "9"], "train.crop=9 on images of 8x8 pixels: allowed is a whole number from 0 to 8"),
        (["--data.name", "digit_events", "--data.frames.steps", "4096", "--data.frames.size", "128"], "of memory, and"),
    ],
)
def test_what_cannot_fit_is_refused_before_it_is_allocated(options, words, said, monkeypatch):
    monkeypatch.setattr("robustsnn.ground.memory.available", lambda: 4 << 30)
    monkeypatch.setattr("robustsnn.runs.fitting.available", lambda: 4 << 30)
    code, line = said(["train", *options, "--out", "run"])
    assert code == 2
    assert words in line


@pytest.mark.parametrize("sign", [";", ":", ",", ""])
def test_words_of_thousands_of_letters_are_shortened_and_what_follows_stays(sign):
    long, short = 1001 * "a", f"{60 * 'a'}... (1001 letters)"
    assert _short(f"it has unknown {long}{sign} use\n the config") == f"it has unknown {short}{sign} use the config"
