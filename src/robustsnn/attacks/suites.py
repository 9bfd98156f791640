"""Suites: named sets of attacks that are reported together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.corners import CornerSearch
from robustsnn.attacks.grey import EIGHT_BITS
from robustsnn.attacks.rays import RayS
from robustsnn.attacks.square import Square
from robustsnn.attacks.threat import Threat
from robustsnn.attacks.transfer import Transfer
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.losses import LEAST_CLASSES


@dataclass(frozen=True)
class Suite:
    """A name and its columns, each a name and the attacks whose worst case it is; all share one threat.

    Within a column each attack sees the samples that the ones before have left standing. The next column
    starts anew with all of them, so that each column is a complete figure; with `survivors_only` it goes on
    with what stands, which gives the same worst case at less cost.
    """

    name: str
    columns: tuple[tuple[str, tuple[Attacker, ...]], ...]
    survivors_only: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
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

    @property
    def passes(self) -> int:
        """The most passes that an image costs which survives all attacks, see `Attacker.passes`."""
        return sum(attack.passes for _, attack in self.members())

    def members(self) -> list[tuple[str, Attacker]]:
        """(column, attack) in the order of execution."""
        return [(column, attack) for column, attacks in self.columns for attack in attacks]

    def merged(self) -> Suite:
        """All attacks in one column: the worst case alone, at less cost."""
        attacks = [attack for _, column in self.columns for attack in column]
        if not self.survivors_only:  # else they are in the best order already
            attacks.sort(key=lambda attack: getattr(attack, "steps", 0))
        return Suite(f"{self.name}-merged", (("worst case", tuple(attacks)),), survivors_only=True)

    def map(self, change: Callable[[Attacker], Attacker | None]) -> Suite:
        """Each attack changed, or left out where the change is None; what becomes equal is kept once."""
        columns, seen = [], set()
        for column, attacks in self.columns:
            kept = []
            for attack in attacks:
                changed = change(attack)
                if changed is not None and repr(changed) not in seen:
                    seen.add(repr(changed))
                    kept.append(changed)
            columns += [(column, tuple(kept))] if kept else []
        return replace(self, columns=tuple(columns))

    def without_rules(self) -> Suite:
        """For a model without neuron layers: its own autograd is the only gradient rule there is."""

        def own(attack: Any) -> Attacker:
            rules = {name: None for name in ("rule", "mix") if getattr(attack, name, None) is not None}
            return replace(attack, **rules) if rules else attack

        return self.map(own)

    def without_smoothing(self) -> Suite:
        """For a model whose encoder rounds nothing: attacks that smooth it would be those that do not."""
        return self.map(lambda attack: attack if getattr(attack, "smoothing", None) is None else None)

    def without_decisions(self) -> Suite:
        """For a model whose margins say more than its decisions: searches by decisions alone are left out."""
        return self.map(lambda attack: None if isinstance(attack, RayS) else attack)

    def for_classes(self, classes: int) -> Suite:
        """With the margin in place of losses that are not defined for so few classes."""

        def possible(attack: Any) -> Attacker:
            if isinstance(attack, Transfer):
                return replace(attack, attack=possible(attack.attack))
            least, other = LEAST_CLASSES.get(getattr(attack, "loss", None), (2, None))  # type: ignore[call-overload]
            return replace(attack, loss=other) if classes < least else attack

        return self.map(possible)

    def with_draws(self, draws: int) -> Suite:
        """For a model that draws random numbers: gradients and queries are means over so many draws.

        An attack that says draws > 1 itself keeps its number; one in a `Transfer` is changed as any other. Square,
        RayS and the search over corners make 1/draws of their queries (at least one), so that their forward passes
        stay what they were. Those of the other attacks are multiplied, except that `SparseFlips.queries` bounds passes.
        """

        def averaged(attack: Any) -> Attacker:
            if isinstance(attack, Transfer):
                return replace(attack, attack=averaged(attack.attack))  # type: ignore[arg-type]
            if getattr(attack, "draws", None) != 1:
                return attack
            if isinstance(attack, CornerSearch | Square | RayS):
                attack = replace(attack, queries=max(1, attack.queries // draws))
            return replace(attack, draws=draws)

        return self.map(averaged)

    def encoded(self) -> Suite:
        """The same attacks on the encoder's output instead of the image; named NAME-encoded."""

        def moved(attack: Any) -> Attacker:
            if isinstance(attack, Transfer):
                raise UserError(f"suite {self.name!r}: images of a source cannot be shown to the encoded space")
            return replace(attack, threat=replace(attack.threat, space="encoded"))

        return replace(self.map(moved), name=f"{self.name}-encoded")

    def on_grid(self) -> Suite:
        """The same attacks on the grey levels of 8 bits alone; named NAME-8bit."""

        def moved(attack: Any) -> Attacker:
            if isinstance(attack, Transfer):
                return replace(attack, attack=moved(attack.attack))  # type: ignore[arg-type]
            if attack.threat.norm != "Linf":
                raise UserError(f"suite {self.name!r}: grey levels are defined for Linf, not for {attack.threat.norm}")
            return replace(attack, threat=replace(attack.threat, levels=EIGHT_BITS))

        return replace(self.map(moved), name=f"{self.name}-8bit")


def black_box(columns: Sequence[tuple[str, tuple[Attacker, ...]]], sources: Sequence[Any]) -> list[Any]:
    """The gradient attacks of some columns, crafted on each source: columns named BB ... and the worst over sources."""
    return [
        (f"BB {name}", tuple(Transfer(source, a) for source in sources for a in attacks if isinstance(a, Attack)))
        for name, attacks in columns
    ]
