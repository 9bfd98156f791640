"""The sections of a report that are made of analyses, and the same in words alone, for a model card."""

from __future__ import annotations

from robustsnn.records.exhibit import Words
from robustsnn.report import energy, gradients, theory, vulnerability
from robustsnn.report.reading import Model

SECTIONS = (
    ("vulnerability", "Random and adversarial vulnerability", vulnerability.blocks),
    ("gradients", "Input gradients", gradients.blocks),
    ("theory", "Theorems beside measurements", theory.blocks),
    ("energy", "Activity and energy", energy.blocks),
)


def in_words(model: Model) -> list[tuple[str, list[str]]]:
    """Title and sentences of each section that the model has an analysis for."""
    found = []
    for _, title, make in SECTIONS:
        blocks = [block for block in make([model]) if isinstance(block, Words)]
        if blocks:
            found.append((title, [paragraph for block in blocks for paragraph in block.paragraphs]))
    return found
