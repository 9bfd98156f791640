"""A reproduction that was cut: a network counts as trained if it is there, whatever its process said."""

import pytest

from robustsnn.ground.errors import UserError
from robustsnn.recipes import running
from robustsnn.recipes.recipe import Look, Need, Setting
from robustsnn.runs.jobs import Done
from robustsnn_papers.networks import Network

NEEDS = [
    Need(Network("CIFAR-10", "VGG-11", "SR"), (Look("quick", 8, Network("CIFAR-10", "WRN-16")),)),
    Need(Network("CIFAR-10", "VGG-11"), (Look("quick", 8),)),
]


@pytest.mark.parametrize("said", [None, "its process was ended by SIGKILL"])
def test_nothing_is_attacked_that_was_not_trained(tmp_path, monkeypatch, said):
    asked = []

    def do_jobs(jobs, **options):
        asked.append([job.name for job in jobs])
        return {job.name: Done(error=said) for job in jobs}

    monkeypatch.setattr(running, "do_jobs", do_jobs)
    setting = Setting("digits", (1,), 2, "robustsnn reproduce")
    with pytest.raises(UserError, match=said or "ended without a trained network; repeat the command"):
        running.find_out(NEEDS, setting, tmp_path, root=None, workers=1, slurm=None, progress=lambda *_: None)
    assert sorted(asked[0]) == ["digits-vgg-11-sr-1", "digits-vgg-11-vanilla-1", "digits-wrn-16-vanilla-1"]
    assert asked[1] == []  # also not one that would be attacked from it
