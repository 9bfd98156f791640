"""How sparse the gradient of a network's answer is at the pixels: norms, measures of sparsity, distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.judge import device_of
from robustsnn.ground.door import check_list, check_number, said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.types import Loss
from robustsnn.ground.widest import wide
from robustsnn.neurons import GradientRule, gradient_rule
from robustsnn.studies.gradients.record import Gradients, Magnitudes, Near, Normalised, Spread
from robustsnn.studies.shared import norms
from robustsnn.studies.shared.checks import check_asked
from robustsnn.studies.shared.medians import kept, mean
from robustsnn.studies.shared.passes import name_of
from robustsnn.studies.shared.response import Response, probability

DECADES = (-12, 2)
PER_DECADE = 4
_MEASURES = {"l0": norms.l0, "l1": norms.l1, "l2": norms.l2, "gini": norms.gini, "hoyer": norms.hoyer}


def gradients(
    model: nn.Module,
    data: Data,
    *,
    loss: Loss = probability,
    rules: Mapping[str, GradientRule | None] | None = None,
    tolerances: Sequence[float] = (1e-3, 1e-2),
    bins: int = 81,
    keep: int = 6,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress = silent,
) -> Gradients:
    """Measure grad_x f of every image under every gradient rule, in eval mode; f is `loss` of the logits.

    l0 counts entries that are not exactly zero, for which spiking networks give occasion; l1 is what sparsity
    regularisation lowers in its place. Both change with scale or with rounding, so that `near`, the Gini index and
    Hoyer's sparsity, which do not depend on scale, are given too. The last two are undefined for a gradient of zeros
    and are means over the others. Source: figures 3 and 5 of the sparsity-regularisation paper. Its figure 3 does not
    say how the distribution is normalised: here once by the largest entry of each sample, and once not at all, on
    logarithmic bins.

    One forward and one backward pass per image and rule. A network that draws random numbers is run one sample at a
    time, with a realisation that derives from `seed` and the position of the sample. The model and torch's global
    generators are left as they were, and what is counted does not depend on `batch_size`.

    Args:
        data: labelled images, or (x, y).
        loss: default f_y, the probability of the true class.
        rules: gradient rules by label; default {"own": None}, each layer's own.
        tolerances: in [0, 1), of the share of entries near zero.
        bins: of the histogram on [-1, 1]; an odd number has one around zero.
        keep: of so many first images the gradients are kept for `heatmaps`.

    Raises UserError for wrong options or labels, and if there is no finite gradient at the pixels.
    """
    rules = {"own": None} if rules is None else rules
    _check(rules, tolerances)
    least = {"bins": (bins, 1), "keep": (keep, 0), "batch_size": (batch_size, 1)}
    check_asked(model, seed, progress, loss=loss, rules=rules.values(), **least)
    x, y = labelled(data)
    device = device_of(model, x)
    found = {label: _Collected(tolerances, bins) for label in rules}
    shown: dict[str, list[Tensor]] = {label: [] for label in rules}
    values: list[Tensor] = []
    with frozen(model):
        f = Response.of(model, loss, seed, x)
        size = 1 if f.alone else batch_size
        for at in range(0, len(x), size):
            xb, yb = x[at : at + size].to(device), y[at : at + size].to(device)
            value = None
            for label, rule in rules.items():
                with gradient_rule(model, rule):
                    value, gradient = f.gradient(xb, yb, at)
                found[label].add(gradient.flatten(1))
                shown[label].append(gradient[: max(0, keep - at)].cpu())
            assert value is not None  # there is a rule
            values.append(value[: max(0, keep - at)].cpu())
            progress(min(at + size, len(x)), len(x), "gradients")
    arrays = {
        "image": x[:keep].cpu().numpy(),
        "label": y[:keep].cpu().numpy(),
        "value": torch.cat(values).numpy(),
        "rule": np.array(list(rules)),
        "gradient": np.stack([torch.cat(parts).numpy() for parts in shown.values()]),
    }
    spreads = tuple(found[label].spread(label, name_of(rule), x[0].numel()) for label, rule in rules.items())
    return Gradients(len(x), x[0].numel(), name_of(loss), spreads, arrays)


def _check(rules: Any, tolerances: Any) -> None:
    if not isinstance(rules, Mapping) or not rules:
        raise UserError(f"rules={said_of(rules)}: give labels with rules, at least one, or None for the network's own")
    check_list("tolerances", tolerances, "shares")
    for tolerance in tolerances:
        check_number("tolerances", tolerance)
        if not 0 <= tolerance < 1:
            raise UserError(f"tolerances={list(tolerances)}: shares of the largest entry are in [0, 1)")


class _Collected:
    """Batch by batch what makes a `Spread`."""

    def __init__(self, tolerances: Sequence[float], bins: int) -> None:
        self.tolerances, self.bins = tolerances, bins
        self.measures: dict[str, list[Tensor]] = {name: [] for name in _MEASURES}
        self.near: list[Tensor] = []
        self.normalised = np.zeros(bins, np.int64)
        self.magnitudes = np.zeros((2, (DECADES[1] - DECADES[0]) * PER_DECADE), np.int64)

    def add(self, rows: Tensor) -> None:
        """The gradients of a batch, `[n, entries]`."""
        for name, measure in _MEASURES.items():
            self.measures[name].append(measure(rows).cpu())
        near = torch.empty(len(self.tolerances), len(rows), dtype=torch.float64)
        for i, tolerance in enumerate(self.tolerances):
            near[i] = norms.near_zero(rows, tolerance).cpu()
        self.near.append(near)
        alive = rows[rows.abs().amax(1) > 0]
        if len(alive):
            self.normalised += _counts((norms.scaled(alive) + 1) / 2, self.bins)
        for side, entries in enumerate((-rows[rows < 0], rows[rows > 0])):
            place = (wide(entries).log10() - DECADES[0]) / (DECADES[1] - DECADES[0])
            self.magnitudes[side] += _counts(place, self.magnitudes.shape[1])

    def spread(self, label: str, rule: str, entries: int) -> Spread:
        """All of it."""
        measures = {name: torch.cat(parts).numpy() for name, parts in self.measures.items()}
        shares = zip(self.tolerances, torch.cat(self.near, 1).numpy(), strict=True)
        decades = np.linspace(*DECADES, self.magnitudes.shape[1] + 1)
        return Spread(
            label,
            rule,
            zero=int((measures["l0"] == 0).sum()),
            **{name: mean(values) for name, values in measures.items()},
            sparsity=mean(1 - measures["l0"] / entries),
            near=tuple(Near(**vars(mean(values)), tolerance=tolerance) for tolerance, values in shares),
            normalised=Normalised(tuple(np.linspace(-1, 1, self.bins + 1).tolist()), tuple(self.normalised.tolist())),
            magnitudes=Magnitudes(tuple(decades.tolist()), *map(tuple, self.magnitudes.tolist())),
            samples=kept(measures),
        )


def _counts(place: Tensor, bins: int) -> NDArray[np.int64]:
    """How many of these numbers lie in each of the equal bins of [0, 1]; those beyond are in the end bins."""
    index = (place * bins).floor().clamp(0, bins - 1).long()
    return torch.bincount(index.flatten(), minlength=bins).cpu().numpy()
