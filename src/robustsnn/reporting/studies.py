"""Sections of a page: blocks below a title; and studies in words, for a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustsnn import names
from robustsnn.draw.blocks import Part, parts
from robustsnn.draw.files import stem
from robustsnn.records.exhibit import Block, Words
from robustsnn.reporting.reading import Model


@dataclass(frozen=True)
class StudySection:
    """A section of the page."""

    anchor: str
    brief: str
    title: str
    parts: list[Part]
    note: str = ""


def section(anchor: str, brief: str, title: str, blocks: Sequence[Block], note: str = "") -> list[StudySection]:
    """The section of these blocks; none if there are none."""
    return [StudySection(anchor, brief, title, parts(blocks, anchor), note)] if blocks else []


def sections(models: Sequence[Model]) -> list[StudySection]:
    """Of all studies of all models that were trained here, those that have something to show."""
    own = [model for model in models if model.trained_here]
    order = [*names.registered("study"), *sorted({name for model in own for name in model.run.studies})]
    found = []
    for name in dict.fromkeys(order):
        shown = [(model, *model.run.studies[name]) for model in own if name in model.run.studies]
        if shown:
            study = shown[0][1]
            blocks = study.blocks([(model, content) for model, _, content in shown])
            found += section(stem(name), study.brief or study.title, study.title, blocks)
    return found


def in_words(model: Model) -> list[tuple[str, list[str]]]:
    """Title and sentences of each study of the model."""
    found = []
    for study, content in model.run.studies.values():
        title, sentences = study.card(model, content) if study.card else (study.title, words(study, model, content))
        if sentences:
            found.append((title, sentences))
    return found


def words(study: Any, model: Any, content: Any) -> list[str]:
    """The paragraphs of the blocks of one model."""
    blocks = [block for block in study.blocks([(model, content)]) if isinstance(block, Words)]
    return [paragraph for block in blocks for paragraph in block.paragraphs]
