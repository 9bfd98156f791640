"""What an evaluation found: accuracies with intervals, the outcome of every sample, and a view for notebooks."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.attacks.suites import Suite
from robustsnn.ground.units import grid_words, show_fraction
from robustsnn.records.outcome import Outcomes
from robustsnn.records.result import Accuracy
from robustsnn.records.typed import record_of


def _rate(part: dict[str, Any]) -> Accuracy:
    return record_of(Accuracy, part, "a rate")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How robust a model is.

    Args:
        record: all figures, as `results.json` holds them; `to_dict` gives a copy.
        outcomes: what each attack did to each sample, at the radius of the suite.
        standing: bool `[N]`, who is classified correctly under all attacks, at this and all smaller radii.
        suite: as it fitted the model; its members are the rows of the outcomes.
    """

    record: dict[str, Any]
    outcomes: Outcomes
    standing: NDArray[np.bool_]
    suite: Suite

    @property
    def clean(self) -> Accuracy:
        """Accuracy without an attack."""
        return _rate(self.record["clean"])

    @property
    def worst_case(self) -> Accuracy:
        """Accuracy under all attacks together, per image: the figure to report."""
        return _rate(self.record["worst_case"])

    @property
    def columns(self) -> dict[str, Accuracy]:
        """Accuracy under the attacks of each column of the suite."""
        return {name: _rate(part) for name, part in self.record["columns"].items()}

    @property
    def curve(self) -> dict[float, Accuracy]:
        """Accuracy under all attacks, by radius; at 0 the clean one."""
        return {point["eps"]: _rate(point) for point in self.record["curve"]}

    @property
    def flags(self) -> tuple[dict[str, Any], ...]:
        """What speaks against the figures, as `name`, `message`, `todo` and `masking`, a sign of hidden gradients."""
        return tuple(deepcopy(self.record["flags"]))

    @property
    def images(self) -> NDArray[np.float32] | None:
        """The worst image of each sample, `[N, ...]`, where they were asked for."""
        return self.outcomes.images

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values: a model's entry of `results.json`."""
        return deepcopy(self.record)

    def _threat(self) -> str:
        record = self.record
        where = f"{record['space']} space{grid_words(record['levels'])}"
        return f"{record['suite']} at {record['norm']} eps {show_fraction(record['eps'])} in {where}"

    def __repr__(self) -> str:
        return f"Evaluation(clean {self.clean}, worst case of {self._threat()} {self.worst_case}, n = {self.clean.n})"

    def _repr_html_(self) -> str:
        shares = {"clean": self.clean, **self.columns, "worst case": self.worst_case}
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{share}</td></tr>" for name, share in shares.items())
        flags = "".join(
            f"<li><b>{escape(flag['name'])}</b>: {escape(flag['message'])} {escape(flag['todo'])}</li>"
            for flag in self.flags
        )
        caption = f"{escape(self._threat())}; n = {self.clean.n}; accuracy with 95 % interval"
        return f"<table><caption>{caption}</caption>{rows}</table>" + (f"<ul>{flags}</ul>" if flags else "")
