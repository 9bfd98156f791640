"""The value that an evaluation returns: its views agree with its record and its outcomes."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from helpers import Linear, images
from robustsnn.attacks import Suite, fgsm, pgd
from robustsnn.evaluation import Evaluation, evaluate
from robustsnn.records.outcome import rate
from robustsnn.records.result import Accuracy

EPS = 0.05


@pytest.fixture(scope="module")
def found() -> Evaluation:
    model, x = Linear(3), images(40, (1, 4, 4), low=0.0, high=1.0)
    y = model(x).argmax(1)
    y[:4] = (y[:4] + 1) % 3

    def attacks(eps: float) -> Suite:
        return Suite("<two>", (("a & b", (fgsm(eps),)), ("PGD", (pgd(eps, 3),))))

    return evaluate(model, (x, y), attacks, EPS, curve=[EPS / 4], keep_images=True)


def test_accuracies_are_those_of_the_samples(found):
    for share, hits in ((found.clean, found.outcomes.correct), (found.worst_case, found.standing)):
        assert {"accuracy": share.accuracy, "interval": list(share.interval), "n": share.n} == rate(hits)
    assert found.clean.accuracy == 0.9
    assert 0 < found.worst_case.accuracy < 0.9
    rows = dict(zip(found.columns, ([0], [1]), strict=True))
    for name, share in found.columns.items():
        assert share.accuracy == found.outcomes.standing(rows[name]).mean()
    assert list(found.curve) == [0.0, EPS / 4, EPS]
    assert (found.curve[0.0], found.curve[EPS].accuracy) == (found.clean, found.worst_case.accuracy)


def test_the_images_are_the_worst_ones(found):
    broken = found.outcomes.broken.any(0)
    assert np.array_equal(
        Linear(3)(torch.from_numpy(found.images)).argmax(1).numpy() != found.outcomes.label,
        broken | ~found.outcomes.correct,
    )
    assert len(found.suite.members()) == len(found.outcomes.broken)


def test_what_is_handed_out_is_a_copy(found):
    plain = found.to_dict()
    json.dumps(plain, allow_nan=False)
    plain["clean"]["accuracy"] = 2.0
    plain["curve"].clear()
    assert found.clean.accuracy == 0.9
    assert found.to_dict()["curve"]
    with pytest.raises(FrozenInstanceError):
        found.suite = None


def test_it_shows_itself(found):
    page = found._repr_html_()
    for share in (found.clean, found.worst_case, *found.columns.values()):
        assert str(share) in page
        assert share is not found.worst_case or str(share) in repr(found)
    assert "&lt;two&gt;" in page
    assert "a &amp; b" in page
    assert "<two>" not in page
    assert all(flag["name"] in page for flag in found.flags)
    assert str(Accuracy(0.5, (0.25, 0.75), 4, at_most=True)) == "at most 50.0 % [25.0, 75.0]"
