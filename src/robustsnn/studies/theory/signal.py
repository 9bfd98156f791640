"""Signal and noise of the weight gradient, by the number of time steps (theorem 4.2 of the sparsity-trail paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from robustsnn.data.given import Data
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import seeded
from robustsnn.ground.types import Loss
from robustsnn.ground.widest import wide
from robustsnn.losses import cross_entropy
from robustsnn.neurons import GradientRule
from robustsnn.statistics.jackknife import Estimate, jackknife
from robustsnn.studies.shared.passes import differentiating, first_samples, gradients_at, name_of
from robustsnn.studies.shared.timesteps import running_for, steps_of
from robustsnn.studies.theory.signal_values import AtSteps, Gradient, Pair, Ratio, SignalToNoise

_BLOCK = 1 << 14
"""Entries of the gradient at once where all pairs of samples are compared."""


def signal_to_noise(
    model: nn.Module | Mapping[int, nn.Module],
    data: Data | Mapping[int, Data],
    *,
    steps: Sequence[int] = (1, 2, 4, 8),
    loss: Loss = cross_entropy,
    rule: GradientRule | None = None,
    samples: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> SignalToNoise:
    """Signal-to-noise ratio of the per-sample weight gradient g, for each number of time steps T.

        SNR = ||E_x g||_2^2 / E_x ||g - E_x g||_2^2,    sup SNR the same with sup norms

    at all parameters together and at each, in eval mode. Theorem 4.2 claims that sup SNR does not fall as T grows.
    With one model this is the trained network run for T steps (`running_for`); with a mapping {T: model}, networks
    trained for T each. Intervals are jackknifed over samples and need no random numbers; `seed` is for networks
    that draw. The model is left as it was.

    Cost: `samples` passes forward and backward, one sample each, per T (3 samples sum(steps) / T of the model forward
    units), and samples^2 comparisons of a gradient. Memory: `samples` gradients of the whole network, in float32.

    Args:
        model: a network, or {T: network}; `steps` is then not used.
        data: labelled images, or (x, y); event frames of as many steps as each network has, as {T: data}.
        steps: the numbers of steps, growing.
        loss: differentiated per sample. The theorem's h(x) g(x) with h one-hot is `true_probability`.
        rule: gradient rule for all neurons; None leaves each layer its own.
        samples: so many first images; at least 3, for a jackknife.

    Raises UserError for fewer than 3 images, steps that do not grow, and networks whose input fixes T.
    """
    anew = isinstance(model, Mapping)
    models = dict(sorted(model.items())) if isinstance(model, Mapping) else dict.fromkeys(steps, model)
    if not models or (not anew and list(steps) != sorted(set(steps))):
        raise UserError(f"steps={list(models)}: at least one number of steps is needed, and each larger than the last")
    if samples < 3:
        raise UserError(f"samples={samples}: at least 3 are needed")
    found: list[AtSteps] = []
    n = 0
    for done, (count, network) in enumerate(models.items()):
        if anew and steps_of(network) != count:
            raise UserError(f"the model given for T={count} runs for {steps_of(network)} steps")
        if isinstance(data, Mapping) and count not in data:
            raise UserError(f"there are no data for T={count}, but for {', '.join(map(str, data))}")
        shown = data[count] if isinstance(data, Mapping) else data
        around: AbstractContextManager[None] = nullcontext() if anew else running_for(network, count)
        with around:
            parts = _gradients(network, shown, count, loss, rule, samples, seed)
        n = len(parts[0][1])
        found.append(_measure(count, parts))
        progress(done + 1, len(models), "gradient signal to noise")
    names = {tuple(tensor.name for tensor in part.tensors) for part in found}
    if len(names) > 1:
        raise UserError("the networks for the numbers of steps have different parameters; give the same architecture")
    pairs = tuple(_pair(before, after) for before, after in pairwise(found))
    return SignalToNoise(n, name_of(loss), name_of(rule), anew, tuple(found), pairs)


def _gradients(
    model: nn.Module, data: Data, steps: int, loss: Loss, rule: GradientRule | None, samples: int, seed: int
) -> list[tuple[str, Tensor]]:
    """(name, [n, entries]) of each parameter that the loss depends on."""
    x, y = first_samples(model, data, samples, 3)
    found: dict[str, Tensor] = {}
    with differentiating(model, rule):
        parameters = dict(model.named_parameters())
        if not parameters:
            raise UserError(f"{type(model).__name__} has no parameters, so there is no weight gradient to look at")
        for i in range(len(x)):
            with seeded(seed, "signal", i):
                try:
                    logits = model(x[i : i + 1])
                except UserError:
                    raise
                except ValueError as error:  # a foreign encoder that hands over another number of steps
                    raise UserError(
                        f"this network cannot run for {steps} steps ({error}); train one for each and give {{T: model}}"
                    ) from None
                parts = gradients_at(logits, y[i : i + 1], loss, list(parameters.values()))
            for name, gradient in zip(parameters, parts, strict=True):
                if gradient is not None:
                    rows = found.setdefault(name, gradient.new_zeros(len(x), gradient.numel(), dtype=torch.float32))
                    rows[i] = gradient.flatten()
    return list(found.items())


def _measure(steps: int, parts: list[tuple[str, Tensor]]) -> AtSteps:
    tensors, whole = [], None
    for name, rows in parts:
        mine = _Pairs.of(rows)
        whole = mine if whole is None else whole.joined(mine)
        tensors.append(mine.gradient(name))
    assert whole is not None  # `gradients_at` needs logits with a gradient, so something has one
    return AtSteps(steps, whole.gradient("network"), tuple(tensors))


@dataclass(frozen=True)
class _Pairs:
    """What all ratios follow from. `products` [n, n]: g_i g_j. Of the means m without sample 1 .. n, and of all:
    `peaks` [n + 1], ||m||_sup; `gaps` [n, n + 1], ||g_j - m||_sup."""

    entries: int
    products: Tensor
    peaks: Tensor
    gaps: Tensor

    @staticmethod
    def of(rows: Tensor) -> _Pairs:
        n = len(rows)
        parts = []
        for block in rows.split(_BLOCK, 1):
            exact = wide(block)
            total = exact.sum(0, keepdim=True)
            means = torch.cat([(total - exact) / (n - 1), total / n]).float()
            gaps = torch.cdist(block.contiguous(), means, p=float("inf"))
            parts.append((exact @ exact.T, means.abs().amax(1), gaps))
        products, peaks, gaps = (torch.stack(group) for group in zip(*parts, strict=True))
        return _Pairs(rows.shape[1], products.sum(0), wide(peaks.amax(0)), wide(gaps.amax(0)))

    def joined(self, other: _Pairs) -> _Pairs:
        entries, products = self.entries + other.entries, self.products + other.products
        return _Pairs(entries, products, torch.maximum(self.peaks, other.peaks), torch.maximum(self.gaps, other.gaps))

    def gradient(self, name: str) -> Gradient:
        n = len(self.products)
        squares, total = self.products.diag(), self.products.sum()
        # Without i:  |S - g_i|^2 = |S|^2 - 2 S g_i + |g_i|^2;  the noise is the mean square minus the signal.
        signals = torch.cat([(total - 2 * self.products.sum(1) + squares) / (n - 1) ** 2, total[None] / n**2])
        means = torch.cat([(squares.sum() - squares) / (n - 1), squares.mean()[None]])
        l2 = Ratio.of(signals.clamp(min=0).tolist(), (means - signals).clamp(min=0).tolist())

        gaps = self.gaps.square()
        everyone = gaps.sum(0)
        own = torch.cat([gaps[:, :n].diag(), gaps.new_zeros(1)])
        counts = torch.cat([gaps.new_full((n,), n - 1), gaps.new_full((1,), n)])
        return Gradient(
            name, self.entries, l2, Ratio.of(self.peaks.square().tolist(), ((everyone - own) / counts).tolist())
        )


def _difference(before: Ratio, after: Ratio) -> Estimate:
    def minus(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a - b

    without = [minus(a, b) for a, b in zip(after.without, before.without, strict=True)]
    return jackknife(minus(after.snr.value, before.snr.value), without)


def _pair(before: AtSteps, after: AtSteps) -> Pair:
    def verdicts() -> Iterator[bool]:
        for mine, theirs in zip(before.tensors, after.tensors, strict=True):
            value = _difference(mine.sup, theirs.sup).value
            if value is not None:
                yield value >= 0

    difference = _difference(before.network.sup, after.network.sup)
    held, each = None if difference.value is None else difference.value >= 0, list(verdicts())
    return Pair(before.steps, after.steps, difference, held, sum(each), len(each))
