"""A suite that is a list: attacks of ours by object or name, and other people's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robustsnn.attacks import Foreign, Suite, Threat
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.presets import ball
from robustsnn.ground.errors import UserError
from robustsnn.runs.build import attacker


def listed(members: Sequence[Any], norm: str = "Linf") -> Callable[[float], Suite]:
    """The suite "listed" of these attacks, each a column: attacks, their names, or callables of another library.

    A callable is taken as a `Foreign` of that norm. Attacks have radii of their own, which must be that of the suite.
    """
    if not members:
        raise UserError("suite=[]: give at least one attack")

    def built(eps: float) -> Suite:
        columns: dict[str, tuple[Attacker, ...]] = {}
        for member in members:
            made = _member(member, ball(norm, eps))  # type: ignore[arg-type]
            if made.threat.eps != eps:
                asked = f"where eps={eps:g} is asked for"
                raise UserError(f"{made.label} stays in {made.threat!r}, {asked}; give both one eps")
            columns[made.label] = (*columns.get(made.label, ()), made)
        return Suite("listed", tuple(columns.items()))

    return built


def _member(member: Any, threat: Threat) -> Attacker:
    if isinstance(member, str):
        return attacker(member, threat.eps)
    if hasattr(member, "run") and hasattr(member, "threat"):
        return member  # type: ignore[no-any-return]
    return Foreign(member, threat)  # type: ignore[return-value]
