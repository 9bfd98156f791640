"""What `analysis/trail.json` holds, operation by operation; trails of parts of a data set can be merged."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from robustsnn.ground.errors import UserError
from robustsnn.records.typed import Positive, plain
from robustsnn.studies.shared.tally import Side, Tally


@dataclass(frozen=True)
class Spiking:
    """Neurons of a layer over all samples, and its added zeros by what their neuron did in the T steps.

    `silent` and `saturated` of `neurons` never fired, or at every step; `in_silent`, `in_saturated` and
    `in_others` are the zeros that the layer added.
    """

    neurons: int
    silent: int
    saturated: int
    in_silent: int
    in_saturated: int
    in_others: int

    def __add__(self, other: Spiking) -> Spiking:
        return Spiking(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def name_of(path: str, kind: str, number: int) -> str:
    """What an operation is called: "body.3.0 convolution"; the second of its kind in a module has a 2 behind it."""
    return " ".join([path or "model", kind, *([str(number + 1)] if number else [])])


Statistics: TypeAlias = Literal["running", "batch"]
"""What batch norms normalise by: as in eval mode, or as in training."""
SCHEMA = 2
ORIGINS = ("passed", "architectural", "natural", "other")


@dataclass(frozen=True)
class Operation:
    """One operation of the network: the gradient that reached its output, and what it made of it.

    The zeros at its input were `passed` on, or added by cause: `architectural`, `natural`, `other`; the four
    add up to `input.zeros`. All four are None where it is not known which entries are connected.

    `path` is the module in which it ran, `number` counts operations of one kind within one call of it. What
    ran in several calls (a layer called at each time step) is one operation.
    """

    path: str
    kind: str
    number: int
    output: Side
    input: Side
    passed: Tally | None
    architectural: Tally | None
    natural: Tally | None
    other: Tally | None
    spiking: Spiking | None = None

    @property
    def name(self) -> str:
        """For people: "body.3.0 convolution"."""
        return name_of(self.path, self.kind, self.number)

    def __post_init__(self) -> None:
        parts = [getattr(self, origin) for origin in ORIGINS]
        if None not in parts and sum(part.total for part in parts) != self.input.zeros.total:
            raise ValueError(f"{self.name}: zeros of {', '.join(ORIGINS)} do not add up to those at its input")

    def share(self, origin: str) -> float | None:
        """Of the entries at its input, those that are zero for that reason; None where it is not known."""
        tally = getattr(self, origin)
        return None if tally is None else tally.mean / self.input.entries

    @property
    def added(self) -> int | None:
        """Zeros at its input that were not there before, over all samples."""
        added = (self.architectural, self.natural, self.other)
        return None if None in added else int(sum(tally.total for tally in added if tally is not None))

    def __add__(self, other: Operation) -> Operation:
        if self.name != other.name:
            raise UserError(f"{self.name} in one trail is {other.name} in the other: these are different networks")
        parts = {}
        for origin in ORIGINS:
            mine, theirs = getattr(self, origin), getattr(other, origin)
            parts[origin] = None if mine is None or theirs is None else mine + theirs
        spiking = None if self.spiking is None or other.spiking is None else self.spiking + other.spiking
        sides = {"output": self.output + other.output, "input": self.input + other.input}
        return replace(self, **sides, **parts, spiking=spiking)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; means of zeros are shares of the entries at the input."""
        parts = {origin: getattr(self, origin) for origin in ORIGINS}
        shown = {key: tally and tally.to_dict(self.input.entries) for key, tally in parts.items()}
        return {"name": self.name, **vars(self), **shown}


@dataclass(frozen=True)
class Weight:
    """The gradient of the loss of one sample with respect to one weight tensor, over `zeros.n` samples.

    Per sample: `zeros` of its `entries` are exactly zero, and its l2 norm. In the gradient of a sum over samples
    zeros would be rare whatever the network, since one sample suffices to fill an entry.
    """

    name: str
    entries: Positive
    zeros: Tally
    l2: Tally

    def __post_init__(self) -> None:
        if not 0 <= self.zeros.total <= self.zeros.n * self.entries:
            raise ValueError(f"{self.name}: {self.zeros.total} zeros of {self.entries} entries")

    @property
    def sparsity(self) -> float:
        """Mean over samples of the share of entries that are exactly zero."""
        return self.zeros.mean / self.entries

    def __add__(self, other: Weight) -> Weight:
        if (self.name, self.entries) != (other.name, other.entries):
            raise UserError(f"weight {self.name} of one trail is {other.name} in the other: different networks")
        return Weight(self.name, self.entries, self.zeros + other.zeros, self.l2 + other.l2)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the mean of zeros is a share."""
        return {"name": self.name, "entries": self.entries, "zeros": self.zeros.to_dict(self.entries), "l2": self.l2}


@dataclass(frozen=True)
class Trail:
    """The gradient of a loss, followed from the loss through every operation to the pixels, over n samples.

    `operations` are in forward order, the loss last. `input` is the gradient at the pixels. `loss`, `attack`
    and `rule` say what was differentiated, where and how ("" is a clean image, and each layer's own rule), and
    `statistics` what batch norms normalised by, see `trail`.
    `weights` are those that the loss depends on, each over the samples that it names.
    """

    n: Positive
    loss: str
    attack: str
    rule: str
    operations: tuple[Operation, ...]
    input: Side
    weights: tuple[Weight, ...]
    statistics: Statistics = "running"

    def kinds(self) -> dict[str, tuple[float, float | None]]:
        """Per kind of operation the mean over its operations of (sparsity, share that it added itself).

        The second is None where it is unknown for any of them.
        """
        groups: dict[str, list[Operation]] = {}
        for operation in self.operations:
            groups.setdefault(operation.kind, []).append(operation)
        found = {}
        for kind, members in groups.items():
            added = [None if o.added is None else o.added / (o.input.entries * self.n) for o in members]
            known = [share for share in added if share is not None]
            mean = sum(o.input.sparsity for o in members) / len(members)
            found[kind] = (mean, sum(known) / len(known) if len(known) == len(added) else None)
        return found

    @property
    def weight_sparsity(self) -> float | None:
        """Share of zeros of the gradient at all weights together, sample by sample; None without weights."""
        entries = sum(weight.entries for weight in self.weights)
        return sum(weight.zeros.mean for weight in self.weights) / entries if entries else None

    def with_weights(self, more: tuple[Weight, ...]) -> Trail:
        """The weights of these and of more samples; where one has none, those of the other."""
        if not (self.weights and more):
            return replace(self, weights=self.weights or more)
        if len(self.weights) != len(more):
            raise UserError(f"gradients at {len(self.weights)} and at {len(more)} weights: different networks")
        return replace(self, weights=tuple(mine + other for mine, other in zip(self.weights, more, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """The content of `analysis/trail.json`."""
        return plain({"schema": SCHEMA, **vars(self)})


def merge(a: Trail, b: Trail) -> Trail:
    """The trail of both sets of samples. Zeros add up exactly, norms within rounding.

    Weights are those of the samples for which the parts have them. UserError unless both trails are of the same
    network, loss, attack, rule and statistics.
    """
    for name in ("loss", "attack", "rule", "statistics"):
        if getattr(a, name) != getattr(b, name):
            raise UserError(f"trails of {name} {getattr(a, name)!r} and {getattr(b, name)!r} cannot be merged")
    if len(a.operations) != len(b.operations):
        raise UserError(f"trails of {len(a.operations)} and {len(b.operations)} operations: different networks")
    return replace(
        a.with_weights(b.weights),
        n=a.n + b.n,
        operations=tuple(mine + other for mine, other in zip(a.operations, b.operations, strict=True)),
        input=a.input + b.input,
    )
