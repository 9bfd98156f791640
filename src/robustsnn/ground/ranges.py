"""Which numbers an option takes, said once, in its annotation: `steps: Steps`, `h: Annotated[float, Within(above=0)]`.

The resolver, help and the reference page read it there; Python and type checkers see a plain number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Within:
    """The numbers that an option takes.

    Args:
        least, most: the ends, which are allowed.
        above, below: the ends, which are not.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a number is allowed; NaN is not."""
        return not (
            (self.least is not None and not value >= self.least)
            or (self.most is not None and not value <= self.most)
            or (self.above is not None and not value > self.above)
            or (self.below is not None and not value < self.below)
        )

    def __str__(self) -> str:
        """Behind "a number": "from 1 to 4096", "above 0 and at most 1", "of at least 0"."""
        if self.least is not None and self.most is not None:
            return f"from {self.least} to {self.most}"
        words = {"of at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{word} {end}" for word, end in words.items() if end is not None)


Seed = Annotated[int, Within(least=0, most=(1 << 63) - 1)]
"""Of random numbers."""
Count = Annotated[int, Within(least=1, most=(1 << 31) - 1)]
"""How many."""
Steps = Annotated[int, Within(least=1, most=4096)]
"""T, time steps; more than any paper simulates."""
Positive = Annotated[float, Within(above=0)]
NotNegative = Annotated[float, Within(least=0)]
Moderate = Annotated[float, Within(above=0, most=1000)]
"""A step, a width or a temperature of an objective; far beyond it a loss is infinite, or nothing is learned."""
Share = Annotated[float, Within(above=0, most=1)]
Factor = Annotated[float, Within(above=0, most=1000)]
"""On the channels of a network."""
Radius = Annotated[float | str, Within(least=0, most=255)]
"""A size of a perturbation, as 0.03 or 8/255."""
