"""Tables 1 to 3 of the gradient-sparsity-trail paper."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.recipes.cells import CLEAN, more
from robustsnn.recipes.recipe import WORST, Look, Need, Recipe, Results, Scale, Setting
from robustsnn.records.exhibit import Claim, Exhibit, Row, Table
from robustsnn_papers.common import CLEAN_CELL, QUICK, eps_words, exhibit, quick, row
from robustsnn_papers.networks import Data, Network
from robustsnn_papers.published import TRAIL_PAPER, TRAIL_TABLE_3, TRAIL_TABLES_1_2

PIXELS = Look("paper-trail", 8)
CODE = Look("paper-trail-encoded", 8)
TRAIN_MODE = Look("paper-trail-train-mode-encoded", 8)
DATA: tuple[Data, ...] = ("CIFAR-10", "CIFAR-100", "CIFAR10-DVS")
DEPTHS = ("18", "34", "50")
_COLUMNS = ("FGSM", "PGD7", "clean", "FGSM on the code", "PGD7 on the code", "PGD7 on the code, train mode", QUICK)
_SAID = (
    "PGD7: 7 steps of 0.01 at the paper's 8/255, scaled with eps, by the network's own gradient. 'On the code': the "
    "encoder's output is perturbed instead of the image, as the paper's released code does, which crafts in train mode "
    "too. With the direct code and with event frames both spaces are nearly the same.",
    "The column 'ours: quick' is the worst case of this library's suite quick on pixels at the same radius. A network "
    "whose encoder rounds hides its gradient from PGD7, not from this suite.",
)


def _looks() -> tuple[Look, ...]:
    return (PIXELS, CODE, TRAIN_MODE, quick()[1])


def _row(results: Results, network: Network, setting: Setting, published: tuple[float, float, float]) -> Row:
    cells = [
        ("FGSM", PIXELS),
        ("PGD7", PIXELS),
        CLEAN_CELL,
        ("FGSM", CODE),
        ("PGD7", CODE),
        ("PGD7", TRAIN_MODE),
        quick(),
    ]
    return row(results, network, setting, cells, [*published, None, None, None, None])


def _networks(tables: Sequence[Data]) -> dict[Network, tuple[float, float, float]]:
    return {
        Network(data, architecture, defence): figures  # type: ignore[arg-type]
        for data in tables
        for (defence, architecture), figures in TRAIL_TABLES_1_2[data].items()
    }


def _sew_against(results: Results, pairs: Sequence[tuple[Network, Network]], what: str) -> tuple[Claim, ...]:
    """That the first network of each pair, undefended, withstands more than the second, and knows less."""
    text, beyond = f"{what} under PGD7", f"Beyond the paper: {what[0].lower()}{what[1:]}"
    # On events the published figures say so of one RAT network, and the contrary of the other.
    clean = [(b, a) for a, b in pairs if a.data != "CIFAR10-DVS"]
    but = "" if len(clean) == len(pairs) else " (but for events)"
    return (
        more(results, f"{text} (on pixels, as the paper writes).", pairs, ["PGD7"], PIXELS),
        more(results, f"{text} (on the code in train mode, as its code does).", pairs, ["PGD7"], TRAIN_MODE),
        more(results, f"{beyond} under the suite quick.", pairs, [WORST], quick()[1]),
        more(results, f"They pay with clean accuracy{but}.", clean, [CLEAN]),
    )


def _table_1(results: Results, setting: Setting) -> Exhibit:
    networks = _networks(["CIFAR-100"])
    rows = tuple(_row(results, network, setting, figures) for network, figures in networks.items())
    defended = [network for network in networks if network.defence != "vanilla"]
    pairs = [(Network("CIFAR-100", f"SEW-ResNet{d}"), other) for d in DEPTHS for other in defended]
    deep = [(Network("CIFAR-100", f"SEW-ResNet{d}"), Network("CIFAR-100", f"Spiking-ResNet{d}")) for d in DEPTHS]
    claims = (
        *_sew_against(
            results, pairs, "Undefended SEW-ResNets of all depths are more robust than all defended networks"
        ),
        more(
            results,
            "SEW-ResNets are more robust under PGD7 than Spiking-ResNets of the same depth.",
            deep,
            ["PGD7"],
            PIXELS,
        ),
    )
    title = f"Undefended SEW- and Spiking-ResNets against defences, accuracy under {eps_words(8, setting)}"
    table = Table(title, _COLUMNS, rows, head="network")
    said = (*_SAID, "'discretised' rounds the pixels alone; the published row has a Poisson rate code too.")
    return exhibit(setting, "p2-table1", title, f"Table 1 of {TRAIL_PAPER}", (table,), claims, said)


def _second() -> dict[Network, tuple[float, float, float]]:
    return {n: f for n, f in _networks(DATA).items() if n.defence == "RAT" or n.architecture.startswith("SEW")}


def _table_2(results: Results, setting: Setting) -> Exhibit:
    rows = tuple(_row(results, network, setting, figures) for network, figures in _second().items())
    title = f"Undefended SEW-ResNets against SNN-RAT on three data sets, accuracy under {eps_words(8, setting)}"
    table = Table(title, _COLUMNS, rows, head="network")
    pairs = [(Network(d, "SEW-ResNet18"), Network(d, a, "RAT")) for d in DATA for a in ("VGG-11", "WRN-16")]
    claims = _sew_against(results, pairs, "An undefended SEW-ResNet18 is more robust than SNN-RAT on every data set")
    return exhibit(setting, "p2-table2", title, f"Table 2 of {TRAIL_PAPER}", (table,), claims, _SAID)


def _average(data: Data, depth: str) -> Network:
    return Network(data, f"SEW-ResNet{depth}", pooling="average")


def _table_3(results: Results, setting: Setting) -> Exhibit:
    rows = []
    for data in DATA:
        for depth, figures in TRAIL_TABLE_3[data].items():
            rows.append(_row(results, _average(data, depth), setting, figures))
            twin = Network(data, f"SEW-ResNet{depth}")
            published = TRAIL_TABLES_1_2[data]["vanilla", f"SEW-ResNet{depth}"]
            rows.append(_row(results, twin, setting, published))
    pairs = [(Network(data, f"SEW-ResNet{d}"), _average(data, d)) for data in DATA for d in DEPTHS]
    claims = (
        more(
            results,
            "Average pooling instead of max pooling makes a SEW-ResNet less robust to PGD7.",
            pairs,
            ["PGD7"],
            PIXELS,
        ),
        more(results, "It does so on the code in train mode, as its code does.", pairs, ["PGD7"], TRAIN_MODE),
        more(results, "Average pooling makes it more accurate on clean images.", [(b, a) for a, b in pairs], [CLEAN]),
        more(results, "Beyond the paper: it makes it less robust under the suite quick.", pairs, [WORST], quick()[1]),
    )
    title = f"Average against max pooling in SEW-ResNets, accuracy under {eps_words(8, setting)}"
    return exhibit(
        setting,
        "p2-table3",
        title,
        f"Table 3 of {TRAIL_PAPER}",
        (Table(title, _COLUMNS, tuple(rows), head="network"),),
        claims,
        (*_SAID, "Rows without a remark have max pooling; their published figures are those of tables 1 and 2."),
    )


def _needs_3(scale: Scale) -> list[Need]:
    return [
        Need(n, _looks()) for data in DATA for d in DEPTHS for n in (_average(data, d), Network(data, f"SEW-ResNet{d}"))
    ]


TABLE_1 = Recipe(
    "p2-table1",
    lambda scale: [Need(n, _looks()) for n in _networks(["CIFAR-100"])],
    _table_1,
)
TABLE_2 = Recipe(
    "p2-table2",
    lambda scale: [Need(n, _looks()) for n in _second()],
    _table_2,
)
TABLE_3 = Recipe("p2-table3", _needs_3, _table_3)
