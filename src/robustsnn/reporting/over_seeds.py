"""Several runs that differ in their seed alone: the mean of each column, and how far seeds lie apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from robustsnn.draw.tables import TextTable
from robustsnn.records.result import Accuracy
from robustsnn.reporting.main_table import MainCell, MainTable
from robustsnn.reporting.reading import Model
from robustsnn.reporting.wording import test_text

CAPTION = "Mean and standard deviation over training seeds, accuracy in %."
Row = tuple[Model, Sequence[MainCell]]


def over_seeds(table: MainTable) -> TextTable | None:
    """A row for each network of the table that was trained from two seeds or more; None without one.

    'x ± s' are mean and standard deviation (that of a sample, with n - 1) of the accuracies over the seeds, in percent.
    Runs count as one network if their configs differ in `train.seed` alone, and the tests are the same.
    """
    groups: dict[str, list[Row]] = {}
    for model, entries in table.rows:
        groups.setdefault(_network(model), []).append((model, entries))
    rows = [_row(group) for group in groups.values() if len(_seeds(group)) == len(group) > 1]
    return TextTable(["model", "seeds", *table.headers], rows) if rows else None


def _network(model: Model) -> str:
    """Of a model all that is no seed of its training, as text."""
    config: dict[str, Any] = {
        key: value for key, value in model.run.config.items() if key not in ("provenance", "about")
    }
    train = config.get("train")
    if isinstance(train, dict):
        config["train"] = {key: value for key, value in train.items() if key != "seed"}
    test = "" if model.result is None else test_text(model.result)
    return json.dumps([config, test], sort_keys=True, default=str)


def _seeds(group: Sequence[Row]) -> set[str]:
    return {str(model.run.setting("train", "seed")) for model, _ in group}


def _row(group: Sequence[Row]) -> list[str]:
    first = group[0][0]
    name = str(first.run.config.get("name") or first.name)
    columns = zip(*(entries for _, entries in group), strict=True)
    return [name, str(len(group)), *(_words([entry.rate for entry in column]) for column in columns)]


def _words(rates: Sequence[Accuracy | None]) -> str:
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        return "\N{EN DASH}"
    shares = [100 * rate.accuracy for rate in known]
    at_most = "at most " if any(rate.at_most for rate in known) else ""
    return f"{at_most}{mean(shares):.1f} \N{PLUS-MINUS SIGN} {stdev(shares):.1f}"
