"""Studies, the zoo and the report, called from Python with what does not fit: one UserError, before any work."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import images, spiking
from robustsnn import report
from robustsnn.ground.errors import UserError
from robustsnn.records.zoo import ZooEntry, read_zoo
from robustsnn.reporting.board import write_board
from robustsnn.runs.zoo import add, judge, pull
from robustsnn.studies.corruptions.measure import corruptions
from robustsnn.studies.energy.measure import energy
from robustsnn.studies.gradients.measure import gradients
from robustsnn.studies.smoothing.measure import smoothing
from robustsnn.studies.trail.measure import trail
from robustsnn.studies.vulnerability.measure import vulnerability

STUDIES = (corruptions, energy, gradients, smoothing, trail, vulnerability)
ODD: tuple[Any, ...] = ("x", b"x", {"a": object()}, object(), object, float("nan"), -1, -1.5, torch.zeros(2), "a\0")


def keywords(function: Any) -> list[str]:
    return [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.__name__)
def test_every_option_of_every_study_is_checked(study: Any) -> None:
    model, data = spiking(), (images(2, (1, 8, 8)), torch.tensor([0, 1]))
    for name in keywords(study):
        for value in ODD:
            if name == "loss" and value is object:
                continue  # it can be called
            with pytest.raises(UserError):
                study(model, data, **{name: value})
    for value in ODD:
        with pytest.raises(UserError):
            study(value, data)
        with pytest.raises(UserError):
            study(model, value)


@pytest.mark.parametrize("label", [-1, 4, 1 << 40])
def test_a_label_beyond_the_classes_is_named_by_the_smoothed_classifier(label: int) -> None:
    with pytest.raises(UserError, match=f"label {label} given to a model of 4 classes"):
        smoothing(spiking(), (images(2, (1, 8, 8)), torch.tensor([0, label])), draws=5)


@pytest.mark.parametrize(
    "value", [value for value in ODD if value != "x"] + [None, 3, "", " "], ids=lambda value: type(value).__name__
)
def test_what_names_no_file_is_refused_by_the_zoo_and_the_report(value: Any, tmp_path: Path) -> None:
    asked = (
        lambda: pull(value, tmp_path / "run"),
        lambda: pull("digits-vgg-at", value),
        lambda: list(judge(value, 1)),
        lambda: add(value, tmp_path),
        lambda: add([value], tmp_path),
        lambda: read_zoo(value),
        lambda: ZooEntry.load(value),
        lambda: write_board(value, tmp_path),
        lambda: report(value, tmp_path / "x.html") if not isinstance(value, dict) else pull(value, tmp_path / "run"),
        lambda: report(tmp_path, value),
    )
    for call in asked:
        with pytest.raises(UserError, match="the name of a file or a folder is needed"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": None}, {"suites": "quick"}, {"batch_size": 0}, {"progress": 3}]
)
def test_options_of_judging_are_checked_before_anything_is_fetched(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        list(judge("digits-vgg-at", **{"limit": 1, **wrong}))
