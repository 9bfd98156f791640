"""A candidate for GPUs: the neuron layer as two hand-written Triton kernels, against the library's compiled ones.

    python benchmarks/triton_neuron.py --json OUT

With CUDA: checks spikes (equal to `LIF.spikes`) and gradients, then times forward and backward of one layer as a
caller sees them ("called") and without the time of launching ("on the device", replayed CUDA graphs), ours compiled,
this candidate and a copy of the bytes that must move taking turns. Without CUDA: checks alone, of small layers, under
Triton's interpreter. The policy: a Triton kernel enters the library if it beats the compiled one on a GPU, not before.

Covered: IF and LIF with hard reset, attached; STBP with Triangle or Arctan; `[T, M]` or `[1, M]` currents in float32
or bfloat16 with a float32 membrane. Nothing is contracted to fused multiply-adds: a potential that is theta exactly
fires, and tau V + I rounded once instead of twice is another potential. Needs `pip install triton` (torch for CUDA
brings it).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read where a kernel is defined

try:
    import triton
    import triton.language as tl
except ImportError:
    sys.exit("triton_neuron.py: Triton is missing; pip install triton")

from robustsnn.bench.machine import context, prepared
from robustsnn.bench.show import heading, text
from robustsnn.bench.timing import paired, spread
from robustsnn.ground.files import write_json
from robustsnn.neurons import IF, LIF, STBP, Arctan, Triangle, compilation, fire

SHAPES = ((8, 16, 128, 16, 16), (8, 64, 512, 8, 8), (16, 16, 128, 16, 16))
NEURONS = {"IF": IF(), "LIF": LIF(tau=0.9, theta=0.7), "LIF-decayed-input": LIF(tau=0.7, decay_input=True)}
RULES = {
    "triangle": STBP(Triangle(1.0)),
    "narrow triangle": STBP(Triangle(0.3)),
    "arctan": STBP(Arctan(2.0)),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BLOCKS = (256, 512, 1024)  # neurons per program of four warps; the best one depends on T and on the GPU
MOVED = 5  # forward reads I and writes s, backward reads I and dL/ds and writes dL/dI
# Of gradients, relative to the largest; the interpreter rounds to bfloat16 toward zero, a GPU to the nearest.
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 4e-3 if torch.cuda.is_available() else 8e-3}


Fire = Callable[[Tensor, int, LIF, STBP], Tensor]
Found = tuple[Tensor, Tensor]


@triton.jit
def charged(current, voltage, at, mask, size, t: tl.constexpr, constant: tl.constexpr, tau: tl.constexpr, gain: tl.constexpr):  # fmt: skip  # noqa: E501
    """u[t] = tau V[t-1] + k I[t]; factors of one are left out, as in `LIF.run`."""
    row = 0 if constant else t
    charge = tl.load(current + row * size + at, mask=mask, other=0.0).to(tl.float32)
    if gain != 1.0:
        charge = charge * gain
    if t > 0:
        if tau != 1.0:
            voltage = voltage * tau
        charge = voltage + charge
    return charge


@triton.jit
def slope_of(u, triangle: tl.constexpr, scale: tl.constexpr, peak: tl.constexpr):
    """g(u): max(0, 1 - |u| / scale) / scale of `Triangle(scale)`, or peak / (1 + (scale u)^2) of `Arctan`."""
    if triangle:
        width = tl.full(u.shape, scale, tl.float32)
        g = tl.abs(u)
        if scale != 1.0:
            g = tl.div_rn(g, width)
        g = tl.maximum(1.0 - g, 0.0)
        if scale != 1.0:
            g = tl.div_rn(g, width)
    else:
        z = u * scale
        g = tl.div_rn(tl.full(u.shape, peak, tl.float32), 1.0 + z * z)
    return g


@triton.jit
def forward_kernel(
    current, spikes, size, steps: tl.constexpr, constant: tl.constexpr, tau: tl.constexpr, gain: tl.constexpr,
    theta: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Spikes `[T, M]` of currents `[T or 1, M]`; each program has `block` neurons."""
    at = tl.program_id(0) * block + tl.arange(0, block)
    mask = at < size
    voltage = tl.zeros((block,), tl.float32)
    for t in tl.static_range(steps):
        potential = charged(current, voltage, at, mask, size, t, constant, tau, gain)
        fires = potential >= theta
        tl.store(spikes + t * size + at, tl.where(fires, 1.0, 0.0).to(spikes.dtype.element_ty), mask=mask)
        voltage = tl.where(fires, 0.0, potential)


@triton.jit
def backward_kernel(
    current, upstream, gradient, size, steps: tl.constexpr, constant: tl.constexpr, tau: tl.constexpr,
    gain: tl.constexpr, theta: tl.constexpr, triangle: tl.constexpr, peak: tl.constexpr, scale: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """dL/dI `[T or 1, M]` from dL/ds `[T, M]`; the T potentials are recomputed and stay in registers."""
    at = tl.program_id(0) * block + tl.arange(0, block)
    mask = at < size
    voltage = tl.zeros((block,), tl.float32)
    potentials = ()
    for t in tl.static_range(steps):
        potential = charged(current, voltage, at, mask, size, t, constant, tau, gain)
        potentials = potentials + (potential,)  # noqa: RUF005
        voltage = tl.where(potential >= theta, 0.0, potential)
    carried = tl.zeros((block,), tl.float32)
    total = tl.zeros((block,), tl.float32)
    for i in tl.static_range(steps):
        potential = potentials[steps - 1 - i]
        slope = slope_of(potential - theta, triangle, scale, peak)
        through = tl.load(upstream + (steps - 1 - i) * size + at, mask=mask, other=0.0).to(tl.float32) * slope
        if i > 0:
            # dV/du of the hard reset: (1 - s) - u g
            through = through + carried * (tl.where(potential >= theta, 0.0, 1.0) - potential * slope)
        carried = through * tau
        if constant:
            total = total + through * gain
        else:
            tl.store(gradient + (steps - 1 - i) * size + at, (through * gain).to(gradient.dtype.element_ty), mask=mask)
    if constant:
        tl.store(gradient + at, total.to(gradient.dtype.element_ty), mask=mask)


class TritonFire(torch.autograd.Function):
    """`neurons.fire` on dense currents `[T or 1, ...]`, by the two kernels."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, steps: int, neuron: LIF, rule: STBP, block: int) -> Tensor:
        size = current[0].numel()
        if not current.is_contiguous() or steps * size >= 2**31:
            raise ValueError("currents must be contiguous, with less than 2^31 spikes")
        if neuron.reset != "hard" or neuron.detach_reset or not isinstance(rule.surrogate, Triangle | Arctan):
            raise ValueError(f"{neuron} with {rule}: the kernels know hard attached resets, Triangle and Arctan")
        spikes = current.new_empty((steps, *current.shape[1:]))
        ctx.save_for_backward(current)
        ctx.dynamics = {"steps": steps, "constant": current.shape[0] == 1 < steps, "tau": neuron.tau}
        ctx.dynamics |= {"gain": neuron.gain, "theta": neuron.theta, "block": block, "enable_fp_fusion": False}
        ctx.surrogate = rule.surrogate
        forward_kernel[(triton.cdiv(size, block),)](current, spikes, size, **ctx.dynamics)
        return spikes

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (current,), surrogate = ctx.saved_tensors, ctx.surrogate
        upstream, gradient, size = upstreams[0].contiguous(), torch.empty_like(current), current[0].numel()
        if isinstance(surrogate, Triangle):
            shape = {"triangle": True, "peak": 1 / surrogate.width, "scale": surrogate.width}
        else:
            shape = {"triangle": False, "peak": surrogate.sharpness / 2, "scale": torch.pi * surrogate.sharpness / 2}
        grid = (triton.cdiv(size, ctx.dynamics["block"]),)
        backward_kernel[grid](current, upstream, gradient, size, **ctx.dynamics, **shape)
        return gradient, None, None, None, None


def candidate(block: int) -> Fire:
    """A layer that is called as `neurons.fire`."""
    return lambda current, steps, neuron, rule: TritonFire.apply(current, steps, neuron, rule, block)  # type: ignore


def both_passes(layer: Fire, current: Tensor, upstream: Tensor, neuron: LIF, rule: STBP) -> Found:
    """Spikes and the gradient to the current."""
    leaf = current.detach().requires_grad_()
    spikes = layer(leaf, len(upstream), neuron, rule)
    return spikes.detach(), torch.autograd.grad(spikes, leaf, upstream)[0]


def inputs(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, *, constant: bool = False) -> Found:
    """Currents and upstream gradients; half of the currents are multiples of 1/8, whose potentials meet theta."""
    draws = torch.Generator().manual_seed(0)
    current, upstream = torch.randn(shape, generator=draws), torch.randn(shape, generator=draws)
    current = torch.where(torch.rand(shape, generator=draws) < 0.5, current, current.mul(8).round().div(8))
    return (current[:1] if constant else current).to(device, dtype).contiguous(), upstream.to(device, dtype)


def check(neuron: LIF, rule: STBP, current: Tensor, upstream: Tensor, block: int) -> float:
    """Largest difference of gradients over the largest gradient; exits unless spikes are equal and it is small.

    The reference is the eager code; in bfloat16 that of the same values in float32.
    """
    with compilation("never"):
        expected = both_passes(fire, current.float(), upstream.float(), neuron, rule)
    spikes, gradient = both_passes(candidate(block), current, upstream, neuron, rule)
    wrong = int((spikes.float() != expected[0]).sum())
    apart = float((gradient.float() - expected[1]).abs().max() / expected[1].abs().max())
    if wrong or not apart <= TOLERANCE[current.dtype]:
        sys.exit(f"{neuron}, {rule.label}, {current.dtype}: {wrong} spikes differ, gradients by {apart:.1e}")
    return apart


def check_all(device: torch.device) -> dict[str, float]:
    """Every neuron, rule, precision and T, with constant and other currents, in a size no block divides."""
    found: dict[str, float] = {}
    for dtype in DTYPES.values():
        for name, neuron in NEURONS.items():
            for label, rule in RULES.items():
                for steps in (1, 8, 17):
                    for constant in (False, True):
                        pair = inputs((steps, 3, 431), dtype, device, constant=constant)
                        key = f"{name}, {label}, {dtype}".replace("torch.", "")
                        found[key] = max(found.get(key, 0.0), check(neuron, rule, *pair, BLOCKS[0]))
    return found


def measure(
    neuron: LIF, dtype: torch.dtype, shape: tuple[int, ...], rounds: int, device: torch.device
) -> dict[str, Any]:
    """Both clocks of one layer: as called, and replayed on the device."""
    rule = RULES["triangle"]
    current, upstream = inputs(shape, dtype, device)
    gradients = max(check(neuron, rule, current, upstream, block) for block in BLOCKS)
    source = torch.ones(MOVED * current.numel() // 2, dtype=dtype, device=device)
    target = torch.empty_like(source)

    def ours() -> Found:
        with compilation("always"):
            return both_passes(fire, current, upstream, neuron, rule)

    works: dict[str, Callable[[], object]] = {
        "compiled": ours,
        "copy": lambda: target.copy_(source),
    }
    for block in BLOCKS:
        works[f"triton {block}"] = partial(both_passes, candidate(block), current, upstream, neuron, rule)
    # The compiler may contract tau V + I; the candidate may not.
    differ = int((ours()[0] != both_passes(candidate(BLOCKS[0]), current, upstream, neuron, rule)[0]).sum())
    times = paired(works, rounds, device, settle=2, least=5e-3)
    replayed: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            replayed[name].append(triton.testing.do_bench_cudagraph(work, rep=20, return_mode="median"))
    gigabytes = MOVED * current.numel() * current.element_size() / 1e9

    def over(name: str, other: str) -> dict[str, float]:
        return spread([a / b for a, b in zip(replayed[name], replayed[other], strict=True)])

    return {
        "gradients_apart": gradients,
        "spikes_of_compiled_that_differ": differ,
        "called": {name: {"ms": times.ms(name), "compiled_over_this": times.over("compiled", name)} for name in works},
        "on_the_device": {
            name: {
                "ms": spread(taken),
                "gb_per_s": spread([gigabytes / (ms / 1e3) for ms in taken]),
                "compiled_over_this": over("compiled", name),
                "copy_over_this": over("copy", name),
            }
            for name, taken in replayed.items()
        },
    }


def show(title: str, found: dict[str, Any]) -> None:
    """A line per way, the same figures as in the JSON."""
    print(f"{title}; {found['spikes_of_compiled_that_differ']} spikes of the compiled differ from the eager code's")
    for name, there in found["on_the_device"].items():
        called = text(found["called"][name]["compiled_over_this"])
        print(
            f"  {name:12} {text(there['ms'])} ms on the device; of copy bandwidth {text(there['copy_over_this'])}; "
            f"compiled / this {text(there['compiled_over_this'])}, called {called}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"argument --rounds: {options.rounds} given, at least 1 is needed")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with prepared(None):
        command = shlex.join(["python", "benchmarks/triton_neuron.py", *sys.argv[1:]])
        document = {**context(device, command), "triton": triton.__version__, "rounds": options.rounds}
        print(f"{heading(document)}, triton {triton.__version__}", flush=True)
        document["checked"] = check_all(device)
        print(
            f"spikes equal to the eager code's for all {len(document['checked'])} of neuron, rule and precision; "
            f"largest difference of gradients, over the largest gradient:"
        )
        for label in DTYPES:
            largest = max(apart for name, apart in document["checked"].items() if name.endswith(label))
            print(f"  {label}: {largest:.1e}")
        document["results"] = {}
        if device.type == "cpu":
            print("Checked in Triton's interpreter: there is no GPU here, and nothing was timed.")
        else:
            for name in ("IF", "LIF"):
                for shape in SHAPES:
                    for label, dtype in DTYPES.items():
                        title = f"{name} {label} {'x'.join(map(str, shape))}"
                        found = measure(NEURONS[name], dtype, shape, options.rounds, device)
                        document["results"][title] = found
                        show(title, found)
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    main()
