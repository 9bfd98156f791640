"""The pages that --help prints: what is required first, a page that can be read, everything where it is asked for."""

import re
from dataclasses import fields

import pytest

from robustsnn.cli import COMMANDS, evaluate, main, train
from robustsnn.names.config import Config
from robustsnn.names.parsing import _group, _kinds


def page(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def options(kind: type, prefix: str = "--") -> set[str]:
    """Every option of a dataclass, those of the groups in it too."""
    found = set()
    for field in fields(kind):
        of = _kinds(kind)[field.name]
        inner, _ = _group(of)
        found |= options(inner, f"{prefix}{field.name}.") if inner else {f"{prefix}{field.name}"}
    return found


def shown(text: str) -> set[str]:
    return set(re.findall(r"^  (--[\w.-]+)", text, re.MULTILINE))


def test_help_of_training_fits_a_page_and_all_of_it_has_every_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    short, whole = page(capsys, "train", "--help"), page(capsys, "train", "--help-all")
    assert len(short.splitlines()) <= 60
    assert max(map(len, (*short.splitlines(), *whole.splitlines()))) <= 80
    usual = {name for names in train.USUAL.values() for name in names}
    assert shown(short) == usual | {"--help-all"}
    assert usual < shown(whole)
    assert options(Config) <= shown(whole)


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_is_one_line_and_what_is_required_comes_first(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    usage, rest = page(capsys, name, "--help").split("\n", 1)
    assert re.fullmatch(r"usage: robustsnn \w+.* \[OPTION \.\.\.\]", usage)
    headings = re.findall(r"^(\w.*):$", rest, re.MULTILINE)
    if len(usage.split()) > len(f"usage: robustsnn {name} [OPTION ...]".split()) and name != "train":
        assert headings[0] == "required"


def test_every_option_of_evaluate_has_one_section(capsys):
    names = [name for part in evaluate.SECTIONS.values() for name in part]
    assert len(set(names)) == len(names)
    assert shown(page(capsys, "evaluate", "--help")) == set(names)
    assert shown(page(capsys, "evaluate", "--help-all")) - {"--help-all"} == set(names)


def test_help_shows_the_options_of_the_chosen_objective_and_network_alone(capsys):
    text = page(capsys, "train", "--objective.name", "sparsity", "--help")
    assert "--objective.options.h (" in text
    assert "--objective.options.lam" not in text
    assert "--model.options.width" in page(capsys, "train", "--model.name", "vgg_small", "--help-all")
    assert "no options of its own" in page(capsys, "train", "--objective.name", "natural", "--help")


def test_a_word_that_is_nearly_an_option_or_a_command_is_guessed(capsys):
    for arguments, meant in (
        (["trian"], "did you mean train?"),
        (["train", "--objective.lamb", "1"], "did you mean --objective.lam?"),
        (["train", "cifar10_vgg11_rs", "--out", "x"], "did you mean cifar10_vgg11_sr?"),
        (["evaluate", "run", "--suit", "quick"], "did you mean --suite?"),
    ):
        assert main(arguments) == 2
        assert meant in capsys.readouterr().err
