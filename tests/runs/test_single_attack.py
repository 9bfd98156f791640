"""One attack instead of a suite: by its name and steps, in Python and on the command line."""

import pytest
import torch

from robustsnn.attacks import Source, fgsm, pgd
from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.names import registered
from robustsnn.runs import folder
from robustsnn.runs.build import about_suite, suite


def test_an_attack_alone_is_a_suite_by_its_name_and_steps():
    for name, meant in (
        ("pgd-50", pgd("8/255", steps=50)),
        ("fgsm", fgsm("8/255")),
        ("pgd", pgd("8/255", steps=10)),
    ):
        made = suite(name)("8/255")
        assert made.name == name
        assert [attack for _, attack in made.members()] == [meant]
        assert about_suite(name)["text"] == registered("attack")[name.partition("-")[0]].text
    ((_, grey),) = suite("pgd-50-8bit")("8/255").members()
    assert grey.threat.levels == 255
    assert suite("pgd-3", norm="L2")(1.0).members()[0][1] == pgd(1.0, steps=3, norm="L2")
    with pytest.raises(UserError, match="steps is no option of fgsm"):
        suite("fgsm-3")("8/255")
    with pytest.raises(UserError, match="black-box"):
        suite("pgd-3", [Source("a", torch.nn.Identity())])


def test_the_command_line_says_it_in_two_flags(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(folder, "evaluate_together", lambda run, suites, eps, **_: asked.append(suites) or {})
    for flags in (["--attack", "pgd", "--steps", "50"], ["--attack", "fgsm"], ["--suite", "quick,pgd-7"]):
        assert main(["evaluate", "run", *flags, "--eps", "8/255"]) == 0
    assert asked == [["pgd-50"], ["fgsm"], ["quick", "pgd-7"]]
    for flags, said in (
        (["--steps", "3", "--suite", "quick"], "--steps is of --attack"),
        (["--attack", "pgd", "--suite", "quick"], "exclude each other"),
        (["--attack", "pdg"], "did you mean pgd?"),
    ):
        assert main(["evaluate", "run", *flags, "--eps", "8/255"]) == 2
        assert said in capsys.readouterr().err
