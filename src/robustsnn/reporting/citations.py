"""Which paper each part of a run comes from. A line is a fact of publication; nothing is looked up."""

from __future__ import annotations

import re

from robustsnn.names import Entry, known, registered, told, untwinned
from robustsnn.reporting.reading import Run

_PARTS = {
    "objective.name": ("objective", "objective"),
    "objective.constraint.name": ("constraint", "constraint"),
    "model.encoder.name": ("encoder", "encoder"),
    "model.neuron.name": ("neuron", "neuron"),
    "model.surrogate.name": ("surrogate", "surrogate"),
    "model.rule.name": ("rule", "gradient rule"),
    "model.name": ("model", "network"),
    "data.name": ("data", "data"),
}
"""Options that name what may be cited: its kind, and what is said of it."""


def citations(run: Run) -> list[tuple[str, list[str]]]:
    """(paper, what of the run it is cited for), each paper once; of a part that names none, nothing."""
    found: dict[str, dict[str, None]] = {}

    def cite(paper: str, part: str) -> None:
        if paper:
            found.setdefault(paper, {})[part] = None

    def cite_named(option: str) -> None:
        kind, what = _PARTS[option]
        cite(run.entry(kind, option).cite, f"{what} {run.setting(*option.split('.'))}")

    cite_named("objective.name")
    if run.setting("objective", "attack") is not None:
        cite(registered("objective")["adversarial"].cite, "training on attacked images")
    if run.setting("objective", "retraction") is not None:
        cite(registered("constraint")["retraction"].cite, "retraction")
    if run.setting("objective", "perturbation") is not None:
        cite(registered("objective")["awp"].cite, "weight perturbation")
    for option in list(_PARTS)[1:]:
        cite_named(option)
    for result in run.results.models.values():
        suite = told(result.about) or known("suite", untwinned(result.suite)) or Entry()
        cite(suite.cite, f"suite {result.suite}")
        for attack in result.attacks:
            for paper in papers_of(attack):
                cite(paper, "attacks")
    return [(paper, list(parts)) for paper, parts in found.items()]


def papers_of(attack: str) -> list[str]:
    """The papers of the parts that the repr of an attack shows, each once."""
    entries = [entry for kind in ("attack", "step", "rule") for entry in registered(kind).values()]
    seen = [(entry.cite, entry.seen or rf"\b{entry.target.partition(':')[2]}\(") for entry in entries]
    return list(dict.fromkeys(paper for paper, pattern in seen if paper and re.search(pattern, attack)))
