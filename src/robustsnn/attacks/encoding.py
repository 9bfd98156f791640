"""A network of spikes in a box of images as a mixed-integer linear program.

Its unknowns are the pixels, one binary per breakpoint
that the current of a first neuron can cross (see `stages.cells`), and one binary per spike of the later layers that
bounds leave open. With u the potential, m <= u <= M its bounds, s the spike and d the tolerance,

    u >= theta - d - (theta - d - m) (1 - s)          a spike needs u >= theta - d
    u <= theta + d + (M - theta - d) s                silence needs u <= theta + d
    V = u - theta s                                   soft reset
    V <= u,  V >= u - M s,  m' (1 - s) <= V <= M' (1 - s)     hard reset: V = u (1 - s), m' = min(m, 0)

and, one program for each other class j, z_j - z_y >= -d. (Mixed-integer verification of networks of rectifiers: Tjeng
et al., ICLR 2019; here potentials are linear in the spikes, and the first layer, under direct coding, in the pixels.)
"""

from __future__ import annotations

import numpy as np

from robustsnn.attacks.program import Expression, Program, total
from robustsnn.attacks.stages import Array, Reach, Stage, cells, reach
from robustsnn.neurons import LIF


class Encoding:
    """The program of all images between `low` and `high`, and what to ask of it; d is the tolerance."""

    def __init__(self, network: list[Stage], steps: int, low: Array, high: Array, tolerance: float) -> None:
        self._d, self._steps, self._box = tolerance, steps, (low, high)
        self._first, self._last = network[0], network[-1]
        assert self._first.neuron is not None  # stages are neurons and one readout
        self._cells = cells(self._first.neuron, steps)
        reached = reach(network, steps, low, high, tolerance)
        self._reach = reached[0]
        self.program = Program()
        self._pixels = [self.program.variable(*bounds) for bounds in zip(low, high, strict=True)]
        self._crossed: list[dict[int, Expression]] = []  # per first neuron: breakpoint -> its binary
        self._spikes = self._first_layer()
        for stage, bounds in zip(network[1:-1], reached[1:], strict=True):
            assert stage.neuron is not None
            inputs = [self._currents(stage, t) for t in range(self._steps)]
            rows = [[at[i] for at in inputs] for i in range(len(stage.bias))]
            self._spikes = [self._neuron(stage.neuron, row, bounds, i) for i, row in enumerate(rows)]
        self._least, self._most = reached[-1].least, reached[-1].most

    def _first_layer(self) -> list[list[Expression]]:
        """Ordered binaries: the j-th is 1 where the current is at or above the j-th breakpoint."""
        found = []
        breaks, trains, reached = self._cells.breaks, self._cells.trains, self._reach
        assert reached.first is not None
        assert reached.last is not None
        for i, (weights, bias) in enumerate(zip(self._first.weight, self._first.bias, strict=True)):
            current = total([(w, pixel) for w, pixel in zip(weights, self._pixels, strict=True)])
            current = Expression(bias, current.terms)
            crossed: dict[int, Expression] = {}
            for j in range(reached.first[i], reached.last[i]):
                above = crossed[j] = self.program.binary()
                self._threshold(current, above, breaks[j], reached.low[i, 0], reached.high[i, 0])
                if j - 1 in crossed:
                    self.program.at_most(0.0, (1, above), (-1, crossed[j - 1]))
            self._crossed.append(crossed)
            start = trains[reached.first[i]]
            changes = [(trains[j + 1] - trains[j], above) for j, above in crossed.items()]
            found.append(
                [
                    total([(1, Expression(s)), *((change[t], above) for change, above in changes)])
                    for t, s in enumerate(start)
                ]
            )
        return found

    def _threshold(self, value: Expression, above: Expression, at: float, low: float, high: float) -> None:
        """`above` is 1 only if value >= at - d, and 0 only if value <= at + d."""
        under, over = min(low - at + self._d, 0.0), max(high - at - self._d, 0.0)
        self.program.at_least(at - self._d + under, (1, value), (under, above))
        self.program.at_most(at + self._d, (1, value), (-over, above))

    def _currents(self, stage: Stage, t: int) -> list[Expression]:
        return [
            total(
                [(1, Expression(bias)), *((w, spikes[t]) for w, spikes in zip(weights, self._spikes, strict=True) if w)]
            )
            for weights, bias in zip(stage.weight, stage.bias, strict=True)
        ]

    def _neuron(self, neuron: LIF, currents: list[Expression], bounds: Reach, i: int) -> list[Expression]:
        """The train of neuron i."""
        spikes, kept = [], Expression()
        for t, current in enumerate(currents):
            low, high = bounds.low[i, t], bounds.high[i, t]
            potential = total([(neuron.tau, kept), (neuron.gain, current)])
            if bounds.least[i, t] == bounds.most[i, t]:
                spike = Expression(float(bounds.most[i, t]))
            else:
                spike = self.program.binary()
                self._threshold(potential, spike, neuron.theta, low, high)
            spikes.append(spike)
            if t == len(currents) - 1:
                break
            if neuron.reset == "soft":
                kept = total([(1, potential), (-neuron.theta, spike)])
            elif not spike.terms:
                kept = total([(1 - spike.constant, potential)])
            else:
                kept = self._hard_reset(potential, spike, low, high, neuron.theta)
        return spikes

    def _hard_reset(
        self, potential: Expression, spike: Expression, low: float, high: float, theta: float
    ) -> Expression:
        """V = u (1 - s); where s = 1, u is positive."""
        least, most = min(low, 0.0), min(high, theta + self._d)
        kept = self.program.variable(least, most)
        self.program.at_most(most, (1, kept), (most, spike))
        self.program.at_least(least, (1, kept), (least, spike))
        self.program.at_most(0.0, (1, kept), (-1, potential))
        self.program.at_least(0.0, (1, kept), (-1, potential), (high, spike))
        return kept

    def rivals(self, y: int) -> list[int]:
        """The other classes that the bounds of the last spikes leave possible, the likeliest first."""
        highest = {}
        for j in range(len(self._last.bias)):
            gap = (self._last.weight[j] - self._last.weight[y])[:, None]
            rate = np.maximum(gap * self._least, gap * self._most).sum() / self._steps
            highest[j] = self._last.bias[j] - self._last.bias[y] + rate
        return sorted((j for j in highest if j != y and highest[j] >= -self._d), key=lambda j: -highest[j])

    def margin(self, rival: int, y: int) -> Expression:
        """z_rival - z_y + d."""
        gap = (self._last.weight[rival] - self._last.weight[y]) / self._steps
        bias = self._last.bias[rival] - self._last.bias[y] + self._d
        rates = ((w, spike) for w, train in zip(gap, self._spikes, strict=True) for spike in train)
        return total([(1, Expression(bias)), *rates])

    def _cell(self, i: int, values: Array) -> int:
        """The cell that a solution puts the current of first neuron i in."""
        assert self._reach.first is not None
        above = [values[variable] > 0.5 for binary in self._crossed[i].values() for variable in binary.terms]
        return int(self._reach.first[i]) + sum(above)

    def middle(self, values: Array) -> tuple[float, Array]:
        """Slack and pixels of the image whose first currents lie farthest within the cells of a solution.

        The slack is the distance to the nearest border of a cell, at most 1; negative where no image has these trains.
        """
        program = Program()
        pixels = [program.variable(*bounds) for bounds in zip(*self._box, strict=True)]
        slack = program.variable(-1.0, 1.0)
        for i, crossed in enumerate(self._crossed):
            cell = self._cell(i, values)
            current = total([*zip(self._first.weight[i], pixels, strict=True)])
            if cell - 1 in crossed:
                program.at_least(self._cells.breaks[cell - 1] - self._first.bias[i], (1, current), (-1, slack))
            if cell in crossed:
                program.at_most(self._cells.breaks[cell] - self._first.bias[i], (1, current), (1, slack))
        found = program.solve(60.0, maximise=slack).values
        if found is None:
            raise RuntimeError("a linear program that has a solution was not solved")
        return float(found[-1]), found[: len(pixels)]

    def cut_off(self, values: Array) -> None:
        """Forbid the trains that the first layer has in a solution: some current must lie in another cell."""
        changes = []
        for i, crossed in enumerate(self._crossed):
            cell = self._cell(i, values)
            if cell - 1 in crossed:
                changes += [(1, Expression(1.0)), (-1, crossed[cell - 1])]
            if cell in crossed:
                changes.append((1, crossed[cell]))
        self.program.at_least(1.0, *changes)
