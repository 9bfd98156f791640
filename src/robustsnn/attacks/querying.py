"""What attacks by queries share."""

from __future__ import annotations

from typing import ClassVar

from robustsnn.attacks.attempt import at_least, shown
from robustsnn.attacks.calling import Called


class Querying(Called):
    """Dataclasses with the fields `queries` (points per sample) and `draws`.

    `draws` are forward passes per query, for models that draw random numbers: the margin is their mean, and a sample is
    broken only where all of them misclassify it. One more query judges the clean image; a sample pays for no more
    once it is broken.
    """

    queries: int
    draws: int
    black_box: ClassVar[bool] = True

    def check(self, **others: int) -> None:
        """UserError where there are too few queries, draws, or of another field less than it says."""
        at_least(self, queries=1, draws=1, **others)

    @property
    def passes(self) -> int:
        """One a query, the one for the clean image included, times the draws."""
        return self.draws * (self.queries + 1)

    def __repr__(self) -> str:
        return shown(self)
