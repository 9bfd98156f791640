"""The claims of the tables point the way the papers' figures do: a recipe that found those would say that all hold."""

from __future__ import annotations

import pytest

from robustsnn.recipes import named
from robustsnn.recipes.recipe import WORST, Found, Setting, merged
from robustsnn_papers.networks import Network
from robustsnn_papers.published import (
    BLACK,
    SR_TABLE_1,
    SR_TABLE_2,
    SR_TABLE_2_COLUMNS,
    TRAIL_TABLE_3,
    TRAIL_TABLES_1_2,
    WHITE,
)

SETTING = Setting("full", (1,), None, "robustsnn reproduce")
IMAGES = 10_000


def published_1() -> dict[Network, dict[str, float]]:
    return {
        Network(data, architecture, defence): dict(zip(("clean", *WHITE, *BLACK), figures, strict=True))  # type: ignore[arg-type]
        for (data, architecture), rows in SR_TABLE_1.items()
        for defence, figures in rows.items()
    }


def published_2() -> dict[Network, dict[str, float]]:
    return {
        Network(data, "WRN-16", defence): dict(zip(("clean", *SR_TABLE_2_COLUMNS), figures, strict=True))  # type: ignore[arg-type]
        for data, rows in SR_TABLE_2.items()
        for defence, figures in rows.items()
    }


def published_trail() -> dict[Network, dict[str, float]]:
    columns = ("FGSM", "PGD7", "clean")
    found = {
        Network(data, architecture, defence): dict(zip(columns, figures, strict=True))  # type: ignore[arg-type]
        for data, rows in TRAIL_TABLES_1_2.items()
        for (defence, architecture), figures in rows.items()
    }
    for data, depths in TRAIL_TABLE_3.items():
        for depth, figures in depths.items():
            network = Network(data, f"SEW-ResNet{depth}", pooling="average")  # type: ignore[arg-type]
            found[network] = dict(zip(columns, figures, strict=True))
    return found


def standing(percent: float) -> list[bool]:
    count = round(percent * IMAGES / 100)
    return [True] * count + [False] * (IMAGES - count)


@pytest.mark.parametrize("name", ["p1-table1", "p1-table2", "p2-table1", "p2-table2", "p2-table3"])
def test_the_papers_figures_bear_out_their_claims(name):
    paper = name[:2]
    figures = {"p1-table1": published_1, "p1-table2": published_2}.get(name, published_trail)()
    strongest = "APGD10" if paper == "p1" else "PGD7"
    results = {}
    for need in merged(named(name).needs("full")):
        known = {c: standing(v) for c, v in figures.get(need.network, {"clean": 90.0}).items()}
        if strongest in known:  # for the suite quick, which no paper has
            known[WORST] = known[strongest]
        results[need.network] = [Found(known["clean"], {look.label: known for look in need.looks}, {})]
    exhibit = named(name).exhibit(results, SETTING)
    assert len(exhibit.claims) >= 4
    assert {claim.text: claim.verdict for claim in exhibit.claims} == {c.text: "holds" for c in exhibit.claims}
    for block in exhibit.blocks:
        for row in block.rows:  # type: ignore[union-attr]
            for cell in row.cells:
                assert cell.published is None or cell.ours == pytest.approx(cell.published, abs=0.005)
