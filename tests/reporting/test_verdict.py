"""The first sentence of a report: who stands best, as far as that is settled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustsnn.records.outcome import rate
from robustsnn.records.result import Accuracy, CheckResult, Result, Results, Right
from robustsnn.records.typed import plain, record_of
from robustsnn.reporting.reading import Model, Run
from robustsnn.reporting.verdict import verdict

N = 100


def model(name: str, standing: int, *, data: str = "digits", images: str = "same", **more: Any) -> Model:
    """One that the first so many of 100 images stand in, at 8/255 after `quick`."""
    hits = np.arange(N) < standing
    worst = record_of(Accuracy, {**rate(hits), "right": plain(Right.of(images, hits))}, "a rate")
    clean = record_of(Accuracy, rate(np.arange(N) < 94), "a rate")
    result = Result(clean=clean, suite="quick", norm="Linf", eps=8 / 255, space="pixel", worst_case=worst, **more)
    run = Run(Path(name), {"name": name, "data": {"name": data}}, [], Results({name: result}), None)
    return Model(name, 0, run, result, True)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([], ""),
        ([model("A", 4)], "A: 4.0 % of 100 images survive the attacks of quick at Linf 8/255"),
        ([model("A", 4), model("B", 40)], "B is the most robust of the 2 models: 40.0 % of 100 images survive"),
        ([model("A", 0), model("B", 0)], "No image of any of the 2 models survives"),
        ([model("A", 4, data="x"), model("B", 40)], "2 results of 2 different tests"),
        # Six images more are settled where one sees them image by image, and not where they are others.
        ([model("A", 34), model("B", 40)], "B is the most robust"),
        ([model("A", 34, images="other"), model("B", 40)], "Which is the most robust is not settled by"),
        ([model("A", 39), model("B", 40), model("C", 1)], "Which of the 3 is the most robust is not settled by"),
    ],
)
def test_it_says_what_is_settled_and_no_more(models: list[Model], said: str) -> None:
    text = verdict(models)
    assert text.startswith(said)
    assert bool(text) == bool(models)


def test_it_names_clean_accuracy_and_warnings_about_the_best_alone() -> None:
    masking = (CheckResult("vanishing", masking=True, raised=True),)
    best, other = model("B", 40), model("A", 4, flags=masking)
    assert verdict([other, best]).endswith("; without an attack 94.0 % are right.")
    assert verdict([model("A", 4), model("B", 40, flags=masking)]).endswith("There are warnings about B: see below.")
