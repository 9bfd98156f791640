"""What several recipes share: how columns are named, what differs from the papers, how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.ground.provenance import versions
from robustsnn.ground.units import fraction
from robustsnn.recipes.cells import CLEAN, accuracy
from robustsnn.recipes.recipe import WORST, Look, Results, Setting
from robustsnn.records.exhibit import Block, Claim, Exhibit, Row
from robustsnn_papers.networks import STAND_IN, Data, Network, radius
from robustsnn_papers.published import PAPERS
from robustsnn_papers.readings import WORDS

QUICK = "ours: quick"
"""Column of the worst case under the suite `quick`, which no paper has."""


def data_name(data: Data, setting: Setting) -> str:
    """How a data set is called in rows: at digits scale with what stands for it."""
    return f"{STAND_IN[data]} (for {data})" if setting.scale == "digits" else data


def row(
    results: Results,
    network: Network,
    setting: Setting,
    cells: Sequence[tuple[str, Look | None]],
    published: Sequence[float | None],
) -> Row:
    """Accuracies of a network: of (column, look) pairs, with the published figures beside them."""
    found = results[network]
    made = [accuracy(found, column, look, told) for (column, look), told in zip(cells, published, strict=True)]
    return Row(network.name(), tuple(made), data_name(network.data, setting))


def quick(eps: int = 8) -> tuple[str, Look]:
    """The worst case under `quick`."""
    return WORST, Look("quick", eps)


PGD10 = Look("paper-sr-10", 8)
"""The SR paper's attacks, of which the iterative ones take ten steps."""
CLEAN_CELL: tuple[str, Look | None] = (CLEAN, None)


def notes(setting: Setting, *more: str) -> tuple[str, ...]:
    """What differs from the papers in all exhibits of this scale."""
    seeds = len(setting.seeds)
    found = [] if setting.reading in (None, "ours") else [WORDS[setting.reading]]
    if setting.scale == "digits":
        found.append(
            "Digits scale: 8x8 digits stand for CIFAR-10, digits of which half are turned (20 classes) for CIFAR-100, "
            "and digits before a simulated event camera for CIFAR10-DVS; small networks, few epochs, radii 5 times the "
            "paper's. It shows whether the method behaves as the paper says on a small problem; nothing about CIFAR."
        )
    if setting.scale == "cpu":
        found.append(
            "Cpu scale: the papers' data, radii and objectives; small networks, T = 4 where the papers have 8 or 10 "
            "(the phase code keeps its 10), 24,000 training images, 12 to 20 epochs, lambda of its own."
        )
    found.append(
        "One seed: intervals are exact binomial 95 % ones over test images, differences are paired by image, and how "
        "much another seed would change is not in them."
        if seeds == 1
        else f"{seeds} seeds: intervals are 95 % t-intervals over seeds, differences are paired by seed."
    )
    return (*found, *more)


def made(setting: Setting) -> tuple[tuple[str, str], ...]:
    """Command, seeds and versions."""
    return (
        ("command", setting.command),
        ("scale", setting.scale),
        *((("as", setting.reading),) if setting.reading else ()),
        ("seeds", ", ".join(map(str, setting.seeds))),
        ("test images attacked", "all" if setting.limit is None else f"the first {setting.limit}"),
        *((name, str(version)) for name, version in versions().items()),
    )


def exhibit(
    setting: Setting,
    name: str,
    title: str,
    source: str,
    blocks: tuple[Block, ...],
    claims: tuple[Claim, ...],
    said: tuple[str, ...],
) -> Exhibit:
    """An exhibit of these blocks, claims and notes of its own, see `Exhibit`."""
    facts = (("paper", PAPERS[name[:2]]), *made(setting))
    return Exhibit(name, title, source, setting.scale, blocks, claims, notes(setting, *said), facts)


def eps_words(eps: int, setting: Setting) -> str:
    """As in 'Linf 40/255'."""
    return f"Linf {radius(eps, setting.scale)}"


def eps_value(eps: int, setting: Setting) -> float:
    """The radius as a number."""
    return fraction(radius(eps, setting.scale))
