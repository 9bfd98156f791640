"""Tables 1, 2 and 4 of the sparsity-regularisation paper."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from robustsnn.recipes.cells import CLEAN, more, together
from robustsnn.recipes.recipe import WORST, Look, Need, Recipe, Results, Scale, Setting
from robustsnn.records.exhibit import Cell, Claim, Exhibit, Row, Table, Verdict
from robustsnn_papers import measures
from robustsnn_papers.common import CLEAN_CELL, QUICK, eps_words, exhibit, quick, row
from robustsnn_papers.measures import REGIMES
from robustsnn_papers.networks import Data, Network
from robustsnn_papers.published import (
    BLACK,
    SR_PAPER,
    SR_TABLE_1,
    SR_TABLE_2,
    SR_TABLE_2_COLUMNS,
    SR_TABLE_4,
    WHITE,
)

WHITE_BOX = Look("paper-sr", 8)
_DATA: tuple[Data, ...] = ("CIFAR-10", "CIFAR-100")
_UNITS = {"vanilla": 3, "AT": 13, "RAT": 7, "SR": 7, "SR*": 17}


def _first(network: Network) -> Look:
    """The black box of table 1: crafted on the vanilla network of the same architecture and data."""
    return Look("paper-sr", 8, Network(network.data, network.architecture))


def _networks_1() -> dict[Network, tuple[float, ...]]:
    return {
        Network(data, architecture, defence): figures  # type: ignore[arg-type]
        for (data, architecture), rows in SR_TABLE_1.items()
        for defence, figures in rows.items()
    }


def _table_1(results: Results, setting: Setting) -> Exhibit:
    networks = _networks_1()
    rows = []
    for network, figures in networks.items():
        cells = [CLEAN_CELL, *((c, WHITE_BOX) for c in WHITE), *((c, _first(network)) for c in BLACK), quick()]
        rows.append(row(results, network, setting, cells, [*figures, None]))
    columns = ("clean", *WHITE, *BLACK, QUICK)
    pairs = [(Network(n.data, n.architecture, "SR*"), n) for n in networks if n.defence in ("RAT", "AT")]
    claims = (
        more(
            results,
            "SR* is more robust than RAT and AT under white-box PGD50 on every network and data set.",
            pairs,
            ["PGD50"],
            WHITE_BOX,
        ),
        more(results, "SR* is more robust than RAT and AT under white-box APGD10.", pairs, ["APGD10"], WHITE_BOX),
        more(
            results,
            "SR* is less accurate than AT on clean images.",
            [(b, a) for a, b in pairs if b.defence == "AT"],
            [CLEAN],
        ),
        _black_box(results, pairs),
        more(
            results,
            "Beyond the paper: SR* is more robust than RAT and AT under the suite quick.",
            pairs,
            [WORST],
            quick()[1],
        ),
    )
    said = (
        "White box: per image the worst of four gradient rules (triangle 1, sigmoid 4, arctan 2, RGA). Black box: the "
        "same, crafted on the vanilla network of the same architecture and data; the paper does not name its source.",
        "The column 'ours: quick' is the worst case of this library's suite quick at the same radius.",
    )
    title = f"SR* against adversarial training and RAT, accuracy under {eps_words(8, setting)}"
    return exhibit(
        setting,
        "p1-table1",
        title,
        f"Table 1 of {SR_PAPER}",
        (Table(title, columns, tuple(rows), head="network"),),
        claims,
        said,
    )


def _black_box(results: Results, pairs: Sequence[tuple[Network, Network]]) -> Claim:
    """For each architecture and data set, which have a source each."""
    text = "SR* is more robust than RAT and AT in black-box PGD50 on every network and data set."
    parts = [more(results, text, [(a, b)], ["BB PGD50"], _first(a)) for a, b in pairs]
    said = [f"{a.data} rows: {part.because}" for (a, _), part in zip(pairs, parts, strict=True)]
    return Claim(text, together([part.verdict for part in parts]), " ".join(said))


def _needs_1(scale: Scale) -> list[Need]:
    return [Need(network, (WHITE_BOX, _first(network), quick()[1])) for network in _networks_1()]


def _table_2(results: Results, setting: Setting) -> Exhibit:
    rows: list[Row] = []
    cells = [CLEAN_CELL, *((column, WHITE_BOX) for column in SR_TABLE_2_COLUMNS), quick()]
    for data in _DATA:
        for defence, figures in SR_TABLE_2[data].items():
            rows.append(row(results, Network(data, "WRN-16", defence), setting, cells, [*figures, None]))  # type: ignore[arg-type]
    pairs = [
        (Network(data, "WRN-16", a), Network(data, "WRN-16", b))  # type: ignore[arg-type]
        for data in _DATA
        for a, b in (("SR", "vanilla"), ("SR*", "AT"))
    ]
    text = "SR makes the network more robust, alone and on top of AT"
    claims = (
        *(
            more(results, f"{text}, under {column}.", pairs, [column], WHITE_BOX)
            for column in ("FGSM", "PGD50", "APGD10")
        ),
        more(results, "SR costs clean accuracy.", [(b, a) for a, b in pairs], [CLEAN]),
        more(results, f"Beyond the paper: {text}, under the suite quick.", pairs, [WORST], quick()[1]),
    )
    title = f"What SR and AT contribute, WRN-16, accuracy under {eps_words(8, setting)}"
    table = Table(title, ("clean", *SR_TABLE_2_COLUMNS, QUICK), tuple(rows), head="training")
    return exhibit(setting, "p1-table2", title, f"Table 2 of {SR_PAPER}", (table,), claims, ())


def _needs_2(scale: Scale) -> list[Need]:
    return [Need(Network(data, "WRN-16", d), (WHITE_BOX, quick()[1])) for data in _DATA for d in SR_TABLE_2[data]]  # type: ignore[arg-type]


_EVERY_TURN = "Decided where all turns agree."


def _cheaper(a: Sequence[float], b: Sequence[float]) -> Verdict:
    """Whether a takes less time than b, turn by turn."""
    less = [x < y for x, y in zip(a, b, strict=True)]
    return "holds" if all(less) else "undecided" if any(less) else "does not hold"


_COSTED = Network("CIFAR-10", "VGG-11")


def _table_4(results: Results, setting: Setting) -> Exhibit:
    costs = [found.measures["cost"] for found in results[_COSTED]]
    steps = {name: [s for cost in costs for s in cost["seconds_per_epoch"][name]] for name in REGIMES}

    ratio = {name: median(a / b for a, b in zip(steps[name], steps["vanilla"], strict=True)) for name in REGIMES}
    rows = [
        Row(
            name,
            (
                Cell(median(steps[name]), n=len(steps[name]), published=SR_TABLE_4[name]),
                Cell(ratio[name], n=len(steps[name]), published=SR_TABLE_4[name] / SR_TABLE_4["vanilla"]),
                Cell(_UNITS[name] / _UNITS["vanilla"]),
            ),
        )
        for name in REGIMES
    ]
    columns = ("seconds per epoch", "times vanilla", "floor, times vanilla")
    ordered, paper = sorted(REGIMES, key=ratio.__getitem__), sorted(REGIMES, key=SR_TABLE_4.__getitem__)
    claims = (
        Claim(
            f"From cheap to dear: {', '.join(paper)}.",
            together([_cheaper(steps[a], steps[b]) for a, b in pairwise(paper)]),
            f"Here: {', '.join(ordered)}, by the median ratio of {len(steps['vanilla'])} turns. {_EVERY_TURN}",
        ),
        Claim(
            "SR costs less than half of AT with PGD5.",
            _cheaper(steps["SR"], [seconds / 2 for seconds in steps["AT"]]),
            f"{ratio['SR']:.2f} and {ratio['AT']:.2f} times vanilla. {_EVERY_TURN}",
        ),
    )
    said = (
        "The regimes take turns on the same batches, whose time is scaled to an epoch; shown are medians over turns.",
        "Floor: passes that cannot be saved; forward, backward to the input, backward to the weights cost one each.",
    )
    title = "Cost of a training step of each regime, VGG-11"
    table = Table(title, columns, tuple(rows), unit="", decimals=2, head="regime")
    return exhibit(setting, "p1-table4", title, f"Table 4 of {SR_PAPER}", (table,), claims, said)


TABLE_1 = Recipe("p1-table1", _needs_1, _table_1)
TABLE_2 = Recipe("p1-table2", _needs_2, _table_2)
TABLE_4 = Recipe("p1-table4", lambda scale: [Need(_COSTED, (), (measures.cost,))], _table_4)
