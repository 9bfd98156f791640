"""Appendices G and H of the sparsity-regularisation paper: how SR differs from its relatives, as tables."""

from __future__ import annotations

from itertools import pairwise

from robustsnn.recipes.cells import CLEAN, more
from robustsnn.recipes.recipe import Need, Recipe, Results, Scale, Setting
from robustsnn.records.exhibit import Claim, Exhibit, Table
from robustsnn_papers.common import CLEAN_CELL, PGD10, QUICK, eps_words, exhibit, quick, row
from robustsnn_papers.networks import STEPS, Defence, Network
from robustsnn_papers.published import SR_PAPER

_RIVALS: tuple[Defence, ...] = ("GR", "clean pairing", "adversarial pairing", "TRADES")
_COLUMNS = [CLEAN_CELL, ("PGD10", PGD10), quick()]


def _steps(scale: Scale) -> dict[Defence, list[Network]]:
    """SR and one-step AT, each by growing step; SR of the usual h is that of the tables."""
    first, *others = STEPS[scale]
    usual = Network("CIFAR-10", "WRN-16", "SR")
    return {
        "SR": [usual, *(Network("CIFAR-10", "WRN-16", "SR", step=step) for step in others)],
        "one-step AT": [Network("CIFAR-10", "WRN-16", "one-step AT", step=step) for step in (first, *others)],
    }


def _table(networks: list[Network], results: Results, setting: Setting, title: str) -> Table:
    rows = tuple(row(results, network, setting, _COLUMNS, [None] * len(_COLUMNS)) for network in networks)
    return Table(title, (CLEAN, "PGD10", QUICK), rows, head="training")


def _claims(results: Results, *said: tuple[str, list[tuple[Network, Network]]]) -> tuple[Claim, ...]:
    """That the first of each pair withstands more, by PGD10 and then by the worst case."""
    attacked = [(column, look) for column, look in _COLUMNS if look is not None]
    return tuple(
        more(results, f"{text} ({column}).", pairs, [column], look) for column, look in attacked for text, pairs in said
    )


def _appendix_g(results: Results, setting: Setting) -> Exhibit:
    steps = _steps(setting.scale)
    growing = {name: list(pairwise(networks)) for name, networks in steps.items()}
    larger = [(b, a) for a, b in growing["one-step AT"]]
    claims = _claims(
        results,
        ("SR: as h increases, robustness decreases", growing["SR"]),
        ("One-step adversarial training: as its radius increases, robustness increases", larger),
    )
    title = f"h of SR against the radius of one-step adversarial training, WRN-16, {eps_words(8, setting)}"
    said = (
        "The paper says this in words, and has no figures of it. Radii are in units of pixels from 0 to 1, as h is.",
        "One-step adversarial training begins at a uniform point of its ball.",
    )
    table = _table([network for networks in steps.values() for network in networks], results, setting, title)
    return exhibit(setting, "p1-appg", title, f"Appendix G of {SR_PAPER}", (table,), claims, said)


def _compared() -> list[Network]:
    return [Network("CIFAR-10", "WRN-16", defence) for defence in ("vanilla", "SR", *_RIVALS, "SR*")]


def _appendix_h(results: Results, setting: Setting) -> Exhibit:
    networks = _compared()
    by_defence = {network.defence: network for network in networks}
    without = [(by_defence["SR"], by_defence[name]) for name in ("GR", "clean pairing")]
    with_attack = [(by_defence["SR*"], by_defence[name]) for name in ("adversarial pairing", "TRADES")]
    claims = _claims(
        results,
        ("SR withstands more than GR and clean logit pairing", without),
        ("SR* withstands more than adversarial logit pairing and TRADES", with_attack),
    )
    title = f"SR against its relatives, WRN-16, accuracy under {eps_words(8, setting)}"
    said = (
        "The paper says how the objectives differ, and compares no figures; that SR withstands more is our question. "
        "It gives no weights of the others: at digits scale each was chosen on validation images, at other scales not.",
    )
    table = _table(networks, results, setting, title)
    return exhibit(setting, "p1-apph", title, f"Appendix H of {SR_PAPER}", (table,), claims, said)


def _needs(networks: list[Network]) -> list[Need]:
    return [Need(network, (PGD10, quick()[1])) for network in networks]


APPENDIX_G = Recipe(
    "p1-appg", lambda scale: _needs([n for networks in _steps(scale).values() for n in networks]), _appendix_g
)
APPENDIX_H = Recipe("p1-apph", lambda scale: _needs(_compared()), _appendix_h)
