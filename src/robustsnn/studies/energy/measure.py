"""Operations and energy of one inference, counted at the spikes that images cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.judge import device_of, repeats
from robustsnn.ground.door import check_number
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import seeded
from robustsnn.neurons import Neurons
from robustsnn.studies.energy.activity import Spikes, tally
from robustsnn.studies.energy.operations import Counter
from robustsnn.studies.energy.record import Energy
from robustsnn.studies.shared.checks import check_asked
from robustsnn.studies.shared.fanout import weighted_layers
from robustsnn.studies.shared.passes import draws_numbers
from robustsnn.studies.shared.timesteps import steps_of

MAC = 4.6e-12
"""Joule of a 32-bit floating-point multiplication and addition in 45 nm CMOS, 3.7 + 0.9 pJ. Horowitz, ISSCC 2014."""
AC = 0.9e-12
"""Joule of a 32-bit floating-point addition in 45 nm CMOS. Horowitz, ISSCC 2014."""


def energy(
    model: nn.Module,
    data: Data,
    *,
    mac: float = MAC,
    ac: float = AC,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress = silent,
) -> Energy:
    """Firing rates, synaptic operations and an estimate of the energy of one inference, in eval mode.

        joule = sum over layers with real input of MACs * runs * mac  +  sum over the others of SynOps * ac

    A synaptic operation is one spike at one of the outputs that it is connected to; see `Operations` for what counts
    as spikes. Counted are convolutions and linear layers that run as modules. Not counted are norms (they fold into
    the layer before), biases, poolings, neurons, memory traffic, and products that are no such module (attention).

    Counts per sample do not depend on `batch_size`; layers may see `[B, ...]`, `[T B, ...]` or `[T, B, ...]`, or be
    called once per step (with `[B, T, ...]` totals are right, intervals are not). A network that draws random
    numbers is run one sample at a time. The model is left as it was.

    Cost: 1 forward pass per image, and about half of one for counting; 8 more to see whether the network draws.

    Args:
        model: any network of images to logits.
        data: labelled images, or (x, y).
        mac, ac: joule per operation; 45 nm CMOS by default.
        batch_size: images at once.

    Raises UserError for energies that are not positive, and without images or without weight layers.
    """
    check_asked(model, seed, progress, batch_size=(batch_size, 1))
    check_number("mac", mac, above=0)
    check_number("ac", ac, above=0)
    mac, ac = float(mac), float(ac)
    x, _ = labelled(data)
    device = device_of(model, x)
    with evaluating(model), torch.no_grad():
        alone = not all(repeats(model, x[:2].to(device))) or draws_numbers(model, x[:1].to(device))
        size = 1 if alone else batch_size
        with _watching(model) as (counters, spikes, start):
            for at in range(0, len(x), size):
                batch = x[at : at + size].to(device)
                start(len(batch))
                with seeded(seed, "energy", at):
                    model(batch)
                progress(min(at + size, len(x)), len(x), "activity and energy")
    if not counters:
        raise UserError(f"{type(model).__name__} runs no convolution or linear layer, so there is nothing to count")
    return _energy(len(x), steps_of(model), counters, spikes, mac, ac)


def _energy(
    n: int, steps: int, counters: dict[str, Counter], spikes: dict[str, Spikes], mac: float, ac: float
) -> Energy:
    layers = tuple(counter.operations(name, steps) for name, counter in counters.items())
    sums = [found for counter in counters.values() if (found := counter.synops()) is not None]
    synops = torch.stack(sums).sum(0) if sums else torch.zeros(n, dtype=torch.float64)
    real = [layer for layer in layers if layer.kind == "real"]
    repeated, once = (sum(layer.macs * runs for layer, runs in pairs) for pairs in (
        [(layer, layer.repeated) for layer in real], [(layer, layer.runs) for layer in real]
    ))  # fmt: skip
    return Energy(
        n,
        steps,
        mac,
        ac,
        layers,
        tuple(found.activity(name) for name, found in spikes.items()),
        tally(synops),
        tally(synops * ac + repeated * mac),
        tally(synops * ac + once * mac),
        sum(layer.macs for layer in layers) * mac,
    )


@contextmanager
def _watching(model: nn.Module) -> Iterator[tuple[dict[str, Counter], dict[str, Spikes], Any]]:
    """Counts of what runs inside the block; the third value must be called with the size of each batch."""
    counters: dict[str, Counter] = {}
    spikes: dict[str, Spikes] = {}
    batch = 0
    called: dict[str, int] = {}
    fired = False

    def start(size: int) -> None:
        nonlocal batch, fired
        batch, fired = size, False
        called.clear()

    def see(name: str) -> Any:
        def hook(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> None:
            nonlocal fired
            number = called[name] = called.get(name, 0) + 1
            if isinstance(layer, Neurons):
                fired = True
                label = name if number == 1 else f"{name} {number}"
                spikes.setdefault(label, Spikes()).add(output)
            else:
                counters.setdefault(name, Counter(layer)).add(arguments[0], output, batch, number == 1, fired)

        return hook

    watched = weighted_layers(model) | {n: m for n, m in model.named_modules() if isinstance(m, Neurons)}
    handles = [layer.register_forward_hook(see(name)) for name, layer in watched.items()]
    try:
        yield counters, spikes, start
    finally:
        for handle in handles:
            handle.remove()
