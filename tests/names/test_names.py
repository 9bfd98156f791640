"""Names: what is registered holds together, and what leads outside is found, said and imported as promised."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml

from robustsnn import names
from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.names import KINDS, Entry, find, known, load, registered, told
from robustsnn.names.config import Config, ObjectiveConfig, TrainConfig, TrainingAttackConfig
from robustsnn.names.parsing import parse_config
from robustsnn.names.things import resolve
from robustsnn.studies.study import Study

ENTRIES = [(kind, name) for kind in KINDS for name in registered(kind)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder for modules, which are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(names, "_outside", set())
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]


@pytest.mark.parametrize(("kind", "name"), ENTRIES, ids="-".join)
def test_a_registered_name_is_a_sentence_and_something_that_can_be_called(kind, name):
    entry = registered(kind)[name]
    assert entry.text
    assert (entry.kind, entry.name, entry.outside) == (kind, name, False)
    for word in (name, *entry.short):
        assert find(kind, word) == find(kind, word.upper()) == entry
    if kind == "recipe":
        return  # run by `reproduce`
    thing = load(entry)
    if kind == "study":  # a value
        assert isinstance(thing, Study)
        assert thing.title
        assert thing.read
        return
    assert callable(thing)
    assert all(option in str(inspect.signature(thing)) for option in options_of(entry.text))


def options_of(text):
    """The options that a line names, as in "...; options depth, width (1)"."""
    found = re.search(r"; options? ([^;]*)", re.sub(r" \([^)]*\)", "", text))
    return re.split(", | or ", found[1]) if found else []


def test_the_options_of_a_line_are_found():
    assert options_of("a (b); options h, form (paper, code); else") == ["h", "form"]
    assert options_of("a; option epochs or share") == ["epochs", "share"]
    assert not options_of("none; of options")


def test_no_word_means_two_things_of_a_kind_and_every_paper_is_cited():
    cited = set()
    for kind in KINDS:
        words = [word.lower() for name, entry in registered(kind).items() for word in (name, *entry.short)]
        assert len(words) == len(set(words))
        cited |= {entry.cite for entry in registered(kind).values()} - {""}
    assert cited == set(names._file("names/papers.yaml")["paper"].values())


def test_what_an_entry_says_comes_back_from_a_file_and_nothing_else_does():
    for kind, name in ENTRIES:
        entry = registered(kind)[name]
        again = told(yaml.safe_load(yaml.safe_dump(entry.facts())))
        assert again is not None
        assert again.facts() == entry.facts()
    assert told(None) is told([]) is told({}) is told({"target": "os:system", "name": "x"}) is None
    assert told({"text": "a", "classes": 10, "event": 1, "cite": ["x"], "forms": []}) == Entry(text="a")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("model", "vgg12", r"^model\.name=vgg12: allowed are vgg_small, .*spiking_resnet50; did you mean vgg11\?$"),
        ("objective", "trade", r"did you mean trades\?$"),
        ("encoder", "morse code", r"or module:attribute of your own$"),
        ("data", "cifar", r"did you mean cifar1"),
        ("suite", "os.system", "allowed are quick"),
        ("suite", "os:", "allowed are quick"),
        ("suite", "os:path.join", "allowed are quick"),
        ("suite", "a b:c", "allowed are quick"),
        ("suite", "../x:c", "allowed are quick"),
        ("suite", "os:path\n", "allowed are quick"),
    ],
)
def test_a_wrong_name_gets_one_line_with_what_is_allowed_and_what_is_near(kind, name, said):
    with pytest.raises(UserError, match=said) as caught:
        find(kind, name, f"{kind}.name")
    assert "\n" not in str(caught.value).replace(name, "")


def test_short_names_are_written_in_full():
    config = parse_config({"objective": {"name": "SR", "lam": 0.1}, "data": {"name": "digits"}}, "c.yaml")
    assert (config.objective.name, config.title()) == ("sparsity", "SR")
    attack = {"eps": "2/255"}
    config = parse_config({"objective": {"name": "sr*", "lam": 0.1, "attack": attack}}, "c.yaml")
    assert (config.objective.name, config.title()) == ("sparsity", "SR*")
    with pytest.raises(UserError, match=r"^c\.yaml: objective\.name=sr\* trains on attacked images"):
        parse_config({"objective": {"name": "sr*", "lam": 0.1}}, "c.yaml")


@pytest.mark.parametrize(
    ("objective", "title"),
    [
        (ObjectiveConfig(), "vanilla"),
        (ObjectiveConfig("adversarial", attack=TrainingAttackConfig(0.1)), "AT"),
        (ObjectiveConfig("trades", attack=TrainingAttackConfig(0.1)), "TRADES"),
        (ObjectiveConfig("gradient"), "gradient"),
        (ObjectiveConfig("gradient", attack=TrainingAttackConfig(0.1)), "gradient*"),
        (ObjectiveConfig("adversarial", attack=TrainingAttackConfig(0.1), retraction=0.1), "AT, retraction"),
        (ObjectiveConfig("mine.losses:Quiet"), "Quiet"),
    ],
)
def test_the_title_of_a_run(objective, title):
    assert Config(objective=objective).title() == title
    assert Config("own", objective=objective).title() == "own"
    rat = Config(objective=ObjectiveConfig("adversarial", retraction=0.1), train=TrainConfig(weight_decay=0))
    assert rat.title() == "RAT"


def test_options_are_checked_against_the_signature(here):
    (here / "mine.py").write_text(
        "from functools import partial\nclass Thing:\n    def __init__(self, size: int, share: float = 0.5, **more):\n"
        "        self.size, self.share = size, share\nhalf = partial(Thing, share=0.25)\nnumber = 3\n"
    )
    made = resolve("model", "mine:Thing", {"size": 2, "share": 1}, option="model.name")()
    assert (made.size, made.share, type(made.share)) == (2, 1.0, float)
    assert resolve("model", "mine:half", {"size": 2})().share == 0.25
    with pytest.raises(UserError, match=r"model\.options\.shar is no option of mine:Thing; .* did you mean share\?"):
        resolve("model", "mine:Thing", {"shar": 1}, option="model.name")
    with pytest.raises(UserError, match=r"model\.options\.size='wide' of mine:Thing: allowed is a whole number"):
        resolve("model", "mine:Thing", {"size": "wide"}, option="model.name")
    with pytest.raises(UserError, match=r"model\.name=mine:Thing needs model\.options\.size; give it"):
        resolve("model", "mine:Thing", option="model.name")()
    with pytest.raises(UserError, match=r"no option of mine:Thing; allowed: share"):
        resolve("model", "mine:Thing", {"size": 2}, option="model.name", given={"size": ""})
    with pytest.raises(UserError, match=r"gave a Thing; needed is a dict"):
        resolve("model", "mine:Thing", {"size": 2}, gives=dict)()
    with pytest.raises(UserError, match=r"it is no function or class, but 3"):
        resolve("model", "mine:number")


def test_a_module_of_the_current_folder_is_found_after_all_others(here):
    (here / "mine.py").write_text("def here(): return 'here'\n")
    (here / "json.py").write_text("raise SystemExit('shadows the library')\n")
    before = [*sys.path]
    find("model", "mine:here")
    assert sys.path == before
    assert load(find("model", "mine:here"))() == "here"
    assert sys.path == [*before, str(here)]
    assert load(find("model", "json:dumps"))(1) == "1"
    with pytest.raises(UserError, match=r"mine has no heer; did you mean here\?"):
        load(find("model", "mine:heer"))
    with pytest.raises(UserError, match="there is no module mine2, installed or here"):
        load(find("model", "mine2:here"))
    with pytest.raises(UserError, match=r"there is no module mine\.deeper"):
        load(find("model", "mine.deeper:here"))


ERRORS = {
    "import": ("import no_such_module\ndef net(): pass\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax": ("def net(:\n", "SyntaxError"),
    "call": ("def net(image, classes):\n    return [][classes]\n", "IndexError"),
    "type": ("def net(image, classes):\n    return classes()\n", "TypeError: 'int' object is not callable"),
    "file": ("def net(image, classes):\n    return open('gone')\n", "FileNotFoundError"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_of_outside_code_come_in_one_line_with_its_own_traceback(case, here, capsys):
    text, said = ERRORS[case]
    (here / "mine.py").write_text(text)
    assert main(["train", "--model.name", "mine:net", "--out", "run"]) == 2
    shown = capsys.readouterr().err
    assert re.search(rf"^robustsnn: error: your code raised {said}.*$", shown, re.MULTILINE)
    assert f'File "{here / "mine.py"}", line' in shown
    assert "things.py" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net = 3\n", "it is no function or class, but 3"),
        ("def net(image): pass\n", "gave a NoneType; needed is a Module"),
        ("def net(image, breadth): pass\n", "model.name=mine:net needs model.options.breadth"),
        ("def net(image, breadth, /): pass\n", "missing 2 required positional arguments"),
        ("from robustsnn import UserError\ndef net(): raise UserError('no such image')\n", "no such image"),
    ],
)
def test_what_does_not_fit_of_outside_code_gets_one_line(text, said, here, capsys):
    (here / "mine.py").write_text(text)
    assert main(["train", "--model.name", "mine:net", "--out", "run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("robustsnn: error: ")]
    assert said in line


def test_dry_run_refuses_what_the_run_refuses(here, capsys):
    for arguments in (
        ["--objective.name", "sparsity"],
        ["--model.options.pooling", "max"],
        ["--model.encoder.name", "phase", "--model.encoder.options.perod", "8"],
        ["--data.name", "cifar10"],
        ["--model.surrogate.name", "identity", "--model.surrogate.value", "2"],
        ["--model.rule.name", "rga", "--model.surrogate.name", "arctan"],
        ["--model.rule.options.gamma", "0.1"],
        ["--objective.constraint.name", "retraction"],
        ["--train.lr", "-1"],
    ):
        assert main(["train", *arguments, "--dry_run"]) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert main(["train", *arguments, "--out", "run"]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == err
        assert not Path("run").exists()


def test_every_surrogate_and_rule_trains_from_the_command_line(here):
    small = ["--train.epochs", "1", "--model.steps", "1", "--model.options.width", "0.25", "--train.batch_size", "600"]
    for option, kind in (("model.surrogate.name", "surrogate"), ("model.rule.name", "rule")):
        for name in registered(kind):
            assert main(["train", *small, f"--{option}", name, "--out", name]) == 0


def test_list_shows_every_kind_and_the_configs(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for kind, name in ENTRIES:
        assert f"\n  {name}" in out, kind
    assert "also sr, sr*" in out
    assert "\n  digit_events               Digits moved before" in out


def test_known_is_silent_about_what_it_does_not_know():
    assert known("model", "mine:net") is known("model", None) is known("data", {"a": 1}) is None
