"""Runs that differ in their seed alone: mean and deviation over seeds, in the files of a report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from fake_runs import write_run

from robustsnn.reporting.main_table import main_table
from robustsnn.reporting.over_seeds import over_seeds
from robustsnn.reporting.page import write_report
from robustsnn.reporting.reading import models_of, read_runs

SHARES = (0.10, 0.20, 0.36)


@pytest.fixture
def runs(tmp_path):
    """SR from three seeds, of which the shares stand; and AT from one."""
    folders = []
    for seed, share in enumerate(SHARES):
        folder = write_run(tmp_path / f"sr-{seed}", "SR")
        change(folder, seed)
        path = folder / "results.json"
        document = json.loads(path.read_text())
        document["models"]["SR"]["worst_case"] |= {"accuracy": share, "interval": [0.0, 1.0]}
        path.write_text(json.dumps(document))
        folders.append(folder)
    return [*folders, write_run(tmp_path / "at", "AT")]


def change(folder, seed, **train):
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["train"] = {**(config.get("train") or {}), "seed": seed, **train}
    path.write_text(yaml.safe_dump(config))


def table_of(runs):
    return over_seeds(main_table(models_of(read_runs(runs))))


def test_a_row_has_mean_and_deviation_of_a_sample(runs):
    table = table_of(runs)
    assert table is not None
    (row,) = table.rows
    assert list(table.headers[:3]) == ["model", "seeds", "worst case"]
    percent = 100 * np.array(SHARES)
    assert row[:3] == ["SR", "3", f"{percent.mean():.1f} ± {percent.std(ddof=1):.1f}"]


def test_what_differs_in_more_than_the_seed_is_not_put_together(runs):
    change(runs[2], 2, lr=0.5)
    (row,) = table_of(runs).rows
    assert row[1] == "2"
    change(runs[1], 0)  # the seed of the first: twice the same run says nothing of seeds
    assert table_of(runs) is None


def test_the_files_of_a_report_have_it(runs, tmp_path):
    write_report(runs, tmp_path / "out" / "page.html")
    tex, markdown = ((tmp_path / "out" / f"page.{kind}").read_text("utf-8") for kind in ("tex", "md"))
    assert r"\label{tab:page-seeds}" in tex
    assert "SR & 3 & 22.0 ± 13.1" in tex
    assert "SR | 3 | 22.0 ± 13.1" in markdown
    write_report(runs[2:], tmp_path / "out" / "page.html")
    assert "±" not in (tmp_path / "out" / "page.tex").read_text("utf-8")
