"""Suites: named sets of attacks that are reported together.

A column of a suite is a tuple of attacks whose per-sample worst case is one figure of a table; within a
column each attack sees the samples that the ones before have left standing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from robustsnn.attacks.attack import Attack, Attacker
from robustsnn.attacks.presets import apgd, fgsm, pgd, rfgsm
from robustsnn.attacks.threat import Threat
from robustsnn.errors import UserError
from robustsnn.neurons import RGA, STBP, Arctan, GradientRule, Sigmoid, Triangle
from robustsnn.units import fraction

PAPER_RULES: tuple[GradientRule, ...] = (
    STBP(Triangle(1.0)),
    STBP(Sigmoid(4.0)),
    STBP(Arctan(2.0)),
    RGA(),
)
"""The ensemble of the sparsity-regularisation paper, app. D: three surrogates and the rate gradient."""


@dataclass(frozen=True)
class Suite:
    """A name and its columns, each a name and the attacks whose worst case it is; all share one threat."""

    name: str
    columns: tuple[tuple[str, tuple[Attacker, ...]], ...]

    def __post_init__(self) -> None:
        attacks = [attack for _, column in self.columns for attack in column]
        if not self.columns or not all(column for _, column in self.columns):
            raise UserError(f"suite {self.name!r}: at least one column is needed, each with at least one attack")
        if any(attack.threat != attacks[0].threat for attack in attacks):
            raise UserError(f"suite {self.name!r}: all its attacks must share one threat, since it is reported once")
        if len({repr(attack) for attack in attacks}) < len(attacks):
            raise UserError(f"suite {self.name!r}: it holds the same attack twice; results are named by the attack")

    @property
    def threat(self) -> Threat:
        return self.columns[0][1][0].threat

    def members(self) -> list[tuple[str, Attacker]]:
        """(column, attack) in the order of execution."""
        return [(column, attack) for column, attacks in self.columns for attack in attacks]

    def merged(self) -> Suite:
        """All attacks in one column, cheapest first: the worst case alone, at less cost."""
        attacks = [attack for _, column in self.columns for attack in column]
        attacks.sort(key=lambda attack: getattr(attack, "steps", 0))
        return Suite(f"{self.name}-merged", (("worst case", tuple(attacks)),))

    def without_rules(self) -> Suite:
        """For a model without neuron layers: its own autograd is the only gradient rule there is."""
        columns = []
        for column, attacks in self.columns:
            plain = [replace(a, rule=None) if isinstance(a, Attack) else a for a in attacks]
            columns.append((column, tuple(dict.fromkeys(plain))))
        return Suite(self.name, tuple(columns))


def paper_sr(eps: float | str, *, iterations: tuple[int, ...] = (10, 30, 50)) -> Suite:
    """The white-box columns of tables 1 and 2 of the sparsity-regularisation paper.

    FGSM, RFGSM (in one step; the paper does not say which form it used, see `rfgsm`), PGD with each number of
    iterations and APGD10, each the worst case over the four gradient
    rules of `PAPER_RULES`. PGD's step is 0.01 at the paper's eps of 8/255 and scales with eps.
    """
    eps = fraction(eps)
    alpha = 0.01 * eps / (8 / 255)
    rules = PAPER_RULES
    columns: list[tuple[str, tuple[Attacker, ...]]] = [
        ("FGSM", tuple(fgsm(eps, rule=rule) for rule in rules)),
        ("RFGSM", tuple(rfgsm(eps, rule=rule) for rule in rules)),
    ]
    columns += [(f"PGD{n}", tuple(pgd(eps, n, alpha=alpha, rule=rule) for rule in rules)) for n in iterations]
    columns.append(("APGD10", tuple(apgd(eps, 10, rule=rule) for rule in rules)))
    name = "paper-sr" if iterations == (10, 30, 50) else f"paper-sr-{max(iterations)}"
    return Suite(name, tuple(columns))


def paper_sr_10(eps: float | str) -> Suite:
    """`paper_sr` with PGD10 as its longest PGD: a fifth of the cost."""
    return paper_sr(eps, iterations=(10,))
