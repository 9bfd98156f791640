"""A layer of spiking neurons, forward and backward to the input: against a copy, and against SpikingJelly.

Compilation happens before and is reported apart. Nothing is timed unless all give the same spikes and gradients first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from robustsnn.bench import spikingjelly
from robustsnn.bench.options import Options
from robustsnn.bench.spikingjelly import Layer
from robustsnn.bench.timing import first_call, paired, spread, titled
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.neurons import IF, LIF, STBP, Arctan, compilation, fire
from robustsnn.neurons.fused import COMPILE_FROM, Mode, compiler_available

Found: TypeAlias = tuple[Tensor, Tensor]
"""Spikes and the gradient to the input."""

RULE = STBP(Arctan(2.0))
NEURONS = {"IF": IF(), "LIF": LIF(tau=0.5), "LIF-decayed-input": LIF(tau=0.5, decay_input=True)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OURS, COPY = "ours", "copy of the same bytes"
_MOVED = 5
"""Tensors that must move: forward reads I and writes s, backward reads I and dL/ds and writes dL/dI."""


def currents(size: tuple[int, ...], seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Input currents and upstream gradients.

    Currents are multiples of 1/64 below 4: exact in bfloat16, and so are all potentials in float32. Everybody must
    therefore give equal spikes in spite of a different order of operations.
    """
    draws = torch.Generator().manual_seed(seed)
    current = torch.randn(size, generator=draws).mul(64).round().div(64).clamp(-3.5, 3.5)
    upstream = torch.randn(size, generator=draws)
    return current.to(device), upstream.to(device)


def ours(neuron: LIF) -> Layer:
    """The library's own layer."""
    return lambda current: fire(current, len(current), neuron, RULE)


def passes(layer: Layer, current: Tensor, upstream: Tensor, mode: Mode = "auto") -> Callable[[], Found]:
    """Forward and backward of a layer as one call."""

    def run() -> Found:
        with compilation(mode):
            leaf = current.detach().requires_grad_()
            spikes = layer(leaf)
            (gradient,) = torch.autograd.grad(spikes, leaf, upstream)
            return spikes.detach(), gradient

    return run


def check(what: str, found: Found, reference: Found, dtype: torch.dtype, *, own_membrane: bool = False) -> float:
    """Share of equal spikes; UserError unless spikes are equal and gradients close.

    With `own_membrane` potentials were rounded to `dtype` at each step; then only float32 must agree.
    """
    equal = (found[0].float() == reference[0].float()).double().mean().item()
    if own_membrane and dtype != torch.float32:
        return equal
    if equal < 1:
        raise UserError(f"{what}: {1 - equal:.2g} of the spikes differ from the reference; not timed")
    rtol, atol = (1e-4, 1e-5) if dtype == torch.float32 else (1e-2, 1e-3)
    if not torch.allclose(found[1].float(), reference[1].float(), rtol=rtol, atol=atol):
        raise UserError(f"{what}: gradients differ from the reference; not timed")
    return equal


def measure(options: Options, device: torch.device, progress: Progress = silent) -> dict[str, Any]:
    """Every neuron in every shape, T and precision."""
    cases = [
        (name, (steps, *shape), label)
        for shape in options.layers
        for steps in options.numbers("neuron_steps")
        for name in options.several("neurons")
        for label in options.several("precisions")
    ]
    found = {}
    for i, (name, size, label) in enumerate(cases):
        title = f"{name} {label} T={size[0]} {'x'.join(map(str, size[1:]))}"
        tell = titled(part(progress, i, 1, len(cases)), title)
        found[title] = layer(NEURONS[name], DTYPES[label], size, options, device, tell, title)
    return found


def layer(
    neuron: LIF,
    dtype: torch.dtype,
    size: tuple[int, ...],
    options: Options,
    device: torch.device,
    progress: Progress = silent,
    title: str = "layer",
) -> dict[str, Any]:
    """All figures of one neuron in one size and precision: by way, time, first call, ratios, bandwidth."""
    torch._dynamo.reset()
    exact, slopes = currents(size, options.seed, device)
    current, upstream = exact.to(dtype), slopes.to(dtype)
    compiled = options.compiled and compiler_available(device.type)
    theirs = spikingjelly.layers(neuron, dtype, device, compiled=compiled)
    works: dict[str, Callable[[], Any]] = {OURS: passes(ours(neuron), current, upstream)}
    large = math.prod(size) >= COMPILE_FROM and compiler_available(device.type)
    if large:  # then ours is the compiled form, else the eager one
        works["ours, eager"] = passes(ours(neuron), current, upstream, "never")
    elif compiled:
        works["ours, compiled"] = passes(ours(neuron), current, upstream, "always")
    works |= {way: passes(their, current, upstream) for way, their in theirs.items()}
    # Who sees the same numbers in float32 decides: SpikingJelly if it is there, else our own step-by-step code.
    float32 = spikingjelly.layers(neuron, torch.float32, device).get(spikingjelly.MODULE, ours(neuron))
    reference = passes(float32, exact, upstream.float(), "never")()
    # Nothing is kept that was compiled before: the first call costs what it costs in a new installation.
    with torch.compiler.config.patch(force_disable_caches=True):  # type: ignore[attr-defined]
        first, equal = {}, {}
        for way, work in works.items():
            progress(0, 1, f"{way}, first call")
            own = way in theirs and "function" not in way
            first[way], made = first_call(work)
            equal[way] = check(f"{title}, {way}", made, reference, dtype, own_membrane=own)
        source = torch.ones(current.numel() * _MOVED // 2, dtype=dtype, device=device)
        target = torch.empty_like(source)
        works[COPY] = lambda: target.copy_(source)
        # Each follows itself, so that none pays for memory that another has given back.
        times = paired(works, options.neuron_rounds, device, settle=2, least=2e-3, progress=progress)
    moved = _MOVED * math.prod(size) * dtype.itemsize / 1e9
    return {
        "ours_is": "compiled" if large else "eager",
        "preemptions_per_round": times.preemptions,
        "ways": {
            way: {
                "ms": times.ms(way),
                "over_ours": times.over(way, OURS),
                "bytes_gb_per_s": times.per_second(way, moved),
                "of_copy_bandwidth": spread(times.ratios(COPY, way)),
                **({"spikes_equal": equal[way], "first_call_s": first[way]} if way in equal else {}),
            }
            for way in works
        },
    }
