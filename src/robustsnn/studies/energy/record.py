"""What `analysis/energy.json` holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robustsnn.records.typed import plain, read_record, refuse
from robustsnn.studies.shared.tally import Tally

Kind = Literal["spikes", "counts", "real"]


@dataclass(frozen=True)
class Activity:
    """One neuron layer over n samples; a rate is a share of neurons and steps at which there was a spike.

    Args:
        neurons: per sample.
        rate: per sample, over neurons and steps.
        rates: at each step, mean over samples and neurons.
        silent: per sample, share of neurons that do not fire at any step.
        dead: neurons that fired for no sample at all.
    """

    name: str
    neurons: int
    rate: Tally
    rates: tuple[float, ...]
    silent: Tally
    dead: int


@dataclass(frozen=True)
class Operations:
    """One convolution or linear layer, per image.

    Args:
        kind: of its input in eval mode. "spikes": 0 or one value c > 0. "counts": whole multiples of the smallest
            value (added spikes, averages of them), each unit one accumulate per output that it reaches. "real":
            anything else, which needs multiplications.
        macs: multiply-accumulates of one dense run, padding left out.
        macs_padded: the same with multiplications by padded zeros, as counters of FLOPs have it.
        runs: how often the library runs it per image.
        repeated: how often hardware does that gets the input anew at each step: T for a constant input that the
            library computes once, else `runs`.
        synops: synaptic operations per image, the sum over arriving spikes of the outputs that each reaches; None for
            a real input.
        density: share of input entries that are not 0.
    """

    name: str
    kind: Kind
    macs: int
    macs_padded: int
    runs: int
    repeated: int
    synops: Tally | None
    density: float


@dataclass(frozen=True)
class Energy:
    """Activity, operations and energy per image, over n images.

    Args:
        steps: T.
        mac, ac: joule of a multiply-accumulate and of an accumulate.
        layers: convolutions and linear layers, in the order in which they first ran.
        activity: neuron layers, likewise.
        synops: synaptic operations per image of all layers driven by spikes.
        joule: per image, with layers that have a constant real input multiplied anew at each of T steps.
        joule_once: the same with those multiplied once, as this library does. Papers do either.
        ann_joule: of a network of the same layers with real activations, each run once.
    """

    n: int
    steps: int
    mac: float
    ac: float
    layers: tuple[Operations, ...]
    activity: tuple[Activity, ...]
    synops: Tally
    joule: Tally
    joule_once: Tally
    ann_joule: float

    @property
    def rate(self) -> float | None:
        """Share of all neurons and steps at which there was a spike; None without neuron layers."""
        neurons = sum(layer.neurons for layer in self.activity)
        return sum(layer.rate.mean * layer.neurons for layer in self.activity) / neurons if neurons else None

    @property
    def saving(self) -> float | None:
        """ann_joule / joule: above 1 the spikes save energy, under this model of it. None if nothing was spent."""
        return self.ann_joule / self.joule.mean if self.joule.mean else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return plain({"schema": 1, **vars(self), "rate": self.rate, "saving": self.saving})


def read(path: Path) -> Energy:
    """What `to_dict` wrote. UserError, with the entry, where it makes no sense."""
    found = read_record(Energy, path)
    tallies = [found.synops, found.joule, found.joule_once]
    tallies += [layer.synops for layer in found.layers if layer.synops is not None]
    tallies += [tally for layer in found.activity for tally in (layer.rate, layer.silent)]
    for tally in tallies:
        if tally.n != found.n:
            raise refuse(f"{path}: a tally", tally, f"one of {found.n} images")
    return found
