"""What the measurement of signal and noise holds, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustsnn.records.typed import plain
from robustsnn.statistics.jackknife import Estimate, jackknife


@dataclass(frozen=True)
class Ratio:
    """signal = ||E g||^2, noise = E ||g - E g||^2 in one norm, over n samples, and their quotient.

    Of n samples of pure noise the quotient is not 0 but, in the l2 norm, about 1/(n - 1); `snr.corrected` is
    without that. `without` are the quotients without sample 1 .. n.
    """

    signal: float
    noise: float
    snr: Estimate
    without: tuple[float | None, ...] = ()

    @staticmethod
    def of(signals: Sequence[float], noises: Sequence[float]) -> Ratio:
        """From signal and noise without sample 1 .. n, and last of all samples."""
        quotients = [s / e if e > 1e-12 * s else None for s, e in zip(signals, noises, strict=True)]
        *without, value = quotients
        return Ratio(signals[-1], noises[-1], jackknife(value, without), tuple(without))

    def to_dict(self) -> dict[str, Any]:
        """Without the quotients of parts."""
        return {"signal": self.signal, "noise": self.noise, "snr": self.snr}


@dataclass(frozen=True)
class Gradient:
    """The gradient at one weight tensor, or at all together ("network"): the ratio in l2 and in the sup norm."""

    name: str
    entries: int
    l2: Ratio
    sup: Ratio


@dataclass(frozen=True)
class AtSteps:
    """All gradients of a network that runs for so many steps."""

    steps: int
    network: Gradient
    tensors: tuple[Gradient, ...]


@dataclass(frozen=True)
class Pair:
    """What theorem 4.2 says of two consecutive T: sup SNR at `after` >= sup SNR at `before`.

    Args:
        difference: sup SNR after - before, of the same samples; its interval tells whether the samples decide.
        held: difference.value >= 0; None where it is undefined.
        tensors_held, tensors: in how many weight tensors it held, of those where it is defined.
    """

    before: int
    after: int
    difference: Estimate
    held: bool | None
    tensors_held: int
    tensors: int


@dataclass(frozen=True)
class SignalToNoise:
    """Signal-to-noise ratios by the number of steps, and theorem 4.2 pair by pair."""

    n: int
    loss: str
    rule: str
    trained_anew: bool
    at: tuple[AtSteps, ...]
    pairs: tuple[Pair, ...]

    @property
    def held(self) -> bool | None:
        """Whether sup SNR fell nowhere; None where a pair is undefined, or there is none."""
        verdicts = [pair.held for pair in self.pairs]
        return None if not verdicts or None in verdicts else all(verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return plain({"schema": 1, **vars(self), "held": self.held})
