"""Mixed-integer linear programs, written down row by row and solved by HiGHS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Expression:
    """constant + sum_i terms[i] v_i, over the variables of a program."""

    constant: float = 0.0
    terms: dict[int, float] = field(default_factory=dict)


def total(parts: Iterable[tuple[float, Expression]]) -> Expression:
    """The sum of factors times expressions."""
    constant, terms = 0.0, {}
    for factor, part in parts:
        constant += factor * part.constant
        for variable, weight in part.terms.items():
            terms[variable] = terms.get(variable, 0.0) + factor * weight
    return Expression(constant, terms)


@dataclass(frozen=True)
class Answer:
    """`values` of all variables, or None where there are none; `closed`: the solver is sure of that."""

    values: NDArray[np.float64] | None
    closed: bool


class Program:
    """Variables within bounds, some of them 0 or 1, and rows low <= expression <= high."""

    def __init__(self) -> None:
        self._low: list[float] = []
        self._high: list[float] = []
        self._binary: list[int] = []
        self._rows: list[tuple[Expression, float, float]] = []

    def variable(self, low: float, high: float) -> Expression:
        return self._new(low, high, 0)

    def binary(self) -> Expression:
        return self._new(0.0, 1.0, 1)

    @property
    def binaries(self) -> int:
        return sum(self._binary)

    def _new(self, low: float, high: float, binary: int) -> Expression:
        self._low.append(low)
        self._high.append(high)
        self._binary.append(binary)
        return Expression(0.0, {len(self._low) - 1: 1.0})

    def at_least(self, low: float, *parts: tuple[float, Expression]) -> None:
        """sum of factor * expression >= low."""
        self._rows.append((total(parts), low, np.inf))

    def at_most(self, high: float, *parts: tuple[float, Expression]) -> None:
        """sum of factor * expression <= high."""
        self._rows.append((total(parts), -np.inf, high))

    def solve(self, seconds: float, maximise: Expression | None = None, also: Expression | None = None) -> Answer:
        """Values that keep all rows, and `also` >= 0, or None if there are none or time ran out before."""
        from scipy.optimize import Bounds, LinearConstraint, milp  # here: it takes a while to load
        from scipy.sparse import csr_matrix

        rows = self._rows if also is None else [*self._rows, (also, 0.0, np.inf)]
        entries = [(r, v, w) for r, (row, _, _) in enumerate(rows) for v, w in row.terms.items()]
        at, variables, weights = zip(*entries, strict=True) if entries else ((), (), ())
        matrix = csr_matrix((weights, (at, variables)), shape=(len(rows), len(self._low)), dtype=np.float64)
        constants = np.array([row.constant for row, _, _ in rows])
        low, high = (np.array([row[side] for row in rows]) - constants for side in (1, 2))
        cost = np.zeros(len(self._low))
        for variable, weight in maximise.terms.items() if maximise is not None else ():
            cost[variable] = -weight
        found = milp(
            cost,
            constraints=LinearConstraint(matrix, low, high),  # type: ignore[arg-type]
            bounds=Bounds(np.array(self._low), np.array(self._high)),  # type: ignore[arg-type]
            integrality=np.array(self._binary),
            options={"time_limit": max(seconds, 1e-3)},
        )
        return Answer(found.x, closed=found.status == 2)
