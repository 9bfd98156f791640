"""Compiled neuron kernels equal eager ones, and are used when and only when they should be."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from robustsnn.neurons import ASSG, BPTR, HART, IF, LIF, PDSG, RGA, STBP, Arctan, Triangle, compilation, fire, fused

STEPS = 5

needs_a_compiler = pytest.mark.skipif(not fused.compiler_available("cpu"), reason="no C++ compiler on the path")
# Torch itself warns when its compiler is imported.
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(fused, "_failed", False)
    monkeypatch.setattr(fused, "_kernels", {})


def drive(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return 0.5 + torch.randn(STEPS, size, generator=draws), torch.randn(STEPS, size, generator=draws)


def both_passes(mode: Any, current: Tensor, upstream: Tensor, neuron: LIF, rule: Any) -> tuple[Tensor, Tensor]:
    leaf = current.clone().requires_grad_()
    with compilation(mode):
        spikes = fire(leaf, len(upstream), neuron, rule)
        (gradient,) = torch.autograd.grad(spikes, leaf, upstream)
    return spikes.detach(), gradient


NAMES = {fused._spikes: "forward", fused._through: "backward"}


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every use of a compiled kernel, which runs eagerly here."""
    used: list[str] = []

    def eagerly(kernel: Any, values: Any, constant: bool) -> Any:
        return lambda *tensors: used.append(NAMES[kernel]) or kernel(*values, *tensors)

    monkeypatch.setattr(fused, "_compile", eagerly)
    monkeypatch.setattr(fused, "compiler_available", lambda device: True)
    return used


def instead(monkeypatch: pytest.MonkeyPatch, broken: Any, fail: Any) -> None:
    """Compiled, the kernel `broken` is `fail`; what the others are stays."""
    others = fused._compile
    monkeypatch.setattr(fused, "_compile", lambda kernel, *rest: fail if kernel is broken else others(kernel, *rest))


@needs_a_compiler
@quiet
@pytest.mark.parametrize(
    ("neuron", "rule"),
    [
        (LIF(tau=0.7), STBP(Triangle())),
        (LIF(tau=0.7, decay_input=True, reset="soft"), RGA()),
    ],
    ids=["stbp", "rga"],
)
def test_compiled_equals_eager_bit_for_bit(neuron, rule):
    import torch._dynamo.utils

    def graphs() -> int:
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    before, counts = graphs(), []
    for size in (1003, 64, 5000):
        current, upstream = drive(size, seed=size)
        with warnings.catch_warnings():
            # Falling back to eager would compare eager with eager.
            warnings.filterwarnings("error", message="neurons run eagerly")
            spikes, gradient = both_passes("always", current, upstream, neuron, rule)
        counts.append(graphs() - before)
        expected_spikes, expected = both_passes("never", current, upstream, neuron, rule)
        assert torch.equal(spikes, expected_spikes)
        assert torch.equal(gradient, expected)
        assert gradient.any()
    # One graph for each direction, however large the layer.
    assert counts == [2, 2, 2]


@needs_a_compiler
@quiet
def test_a_constant_current_is_compiled_in_seconds():
    """Written out at each use, the potentials of so many steps would take days."""
    current, upstream = drive(33)
    upstream = upstream.repeat(3, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="neurons run eagerly")
        spikes, gradient = both_passes("always", current[:1], upstream, LIF(tau=0.9), STBP(Arctan()))
    expected_spikes, expected = both_passes("never", current[:1], upstream, LIF(tau=0.9), STBP(Arctan()))
    assert torch.equal(spikes, expected_spikes)
    torch.testing.assert_close(gradient, expected)
    assert gradient.any()


@pytest.mark.slow
@needs_a_compiler
@quiet
def test_a_kernel_has_its_dynamics_as_constants_and_is_looked_up_alone(monkeypatch):
    """One frame each, without Python floats among its inputs; a size of 1 needs another, and is right too.

    Nothing is compiled again for other sizes, under autocast, or for tensors that need a gradient or are views.
    """
    seen: list[Any] = []
    compiling = torch.compile

    def noting(bound: Any, **options: Any) -> Any:
        def backend(graph: Any, inputs: Any) -> Any:
            seen.append([value.dtype for value in inputs if isinstance(value, Tensor)])
            return graph.forward

        return compiling(bound, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", noting)
    for tau in (0.7, 0.8):
        for size in (40, 50, 1):
            current, upstream = drive(size)
            layer = LIF(tau=tau, theta=0.6), STBP(Triangle(0.5))
            found = both_passes("always", current, upstream, *layer)
            with torch.autocast("cpu", dtype=torch.bfloat16), compilation("always"):
                both_passes("always", current, upstream, *layer)
                assert torch.is_autocast_enabled("cpu")
            with compilation("always"):
                fire(torch.cat([current, current])[:STEPS], STEPS, *layer)
                fire(torch.nn.Parameter(current), STEPS, *layer)
            expected = both_passes("never", current, upstream, *layer)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(fused._kernels) == len(seen) == 8  # both directions of two neurons, twice
    for steps in range(2, 9):  # more than the compiler keeps of one piece of code
        current, upstream = (tensor.repeat(3, 1)[:steps] for tensor in drive(30))
        found = both_passes("always", current, upstream, *layer)
        expected = both_passes("never", current, upstream, *layer)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(fused._kernels) == len(seen) == 8 + 2 * 6  # T = 5 is there
    assert {dtype for inputs in seen for dtype in inputs} == {torch.float32}  # a float would be a float64 tensor


@dataclass(frozen=True)
class Asking(STBP):
    """A rule that looks at a number, which no compiled kernel can."""

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        if float(upstream.abs().max()) == 0:
            return torch.zeros_like(current)
        return FACTOR * super().input_gradient(upstream, current, neuron)


FACTOR = 1.0


@dataclass(frozen=True)
class Global(STBP):
    """A rule that depends on more than its fields."""

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        return FACTOR * super().input_gradient(upstream, current, neuron)


@needs_a_compiler
@quiet
def test_a_rule_that_cannot_be_compiled_runs_eagerly_with_one_warning(monkeypatch):
    monkeypatch.setattr(fused, "_compile", functools.partial(uncompiled, fused._compile))
    current, upstream = drive(20)
    expected = both_passes("never", current, upstream, IF(), Asking())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            found = both_passes("always", current, upstream, IF(), Asking())
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    (warning,) = [w for w in caught if "cannot be compiled" in str(w.message)]
    assert "Asking" in str(warning.message)
    assert not fused._failed  # others are compiled all the same


@needs_a_compiler
@quiet
def test_what_a_rule_reads_besides_its_fields_is_watched(monkeypatch):
    monkeypatch.setattr(fused, "_compile", functools.partial(uncompiled, fused._compile))
    current, upstream = drive(20)
    for value in (1.0, 2.0):
        monkeypatch.setitem(globals(), "FACTOR", value)
        _, found = both_passes("always", current, upstream, IF(), Global())
        _, expected = both_passes("never", current, upstream, IF(), Global())
        assert torch.equal(found, expected)


def uncompiled(compiling: Any, *arguments: Any) -> Any:
    """Traced by the compiler's front, and run by torch: milliseconds instead of seconds."""
    real = torch.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda f, *, options, **more: real(f, backend="eager", **more))
        return compiling(*arguments)


@needs_a_compiler
@quiet
@pytest.mark.parametrize("rule", [BPTR(), HART(Arctan())], ids=lambda rule: rule.label)
def test_compiled_rate_rules_equal_eager_ones(monkeypatch, rule):
    """Backward alone: the forward pass is that of all rules, and compiling takes seconds."""
    neuron = LIF(tau=0.6, decay_input=True)
    instead(monkeypatch, fused._spikes, lambda current: neuron.spikes(current, STEPS))
    current, upstream = drive(1003)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="neurons run eagerly")
        _, gradient = both_passes("always", current, upstream, neuron, rule)
    _, expected = both_passes("never", current, upstream, neuron, rule)
    assert torch.equal(gradient, expected)
    assert gradient.any()


def test_contracted_arithmetic_would_be_seen_above():
    """With one rounding instead of two for tau V + I (a fused multiply-add), the gradient has other bits."""
    current, upstream = drive(1003, seed=1003)

    class Contracted(LIF):
        def run(self, current: Tensor, steps: int) -> Any:
            voltage = torch.zeros_like(current[0])
            for t in range(steps):
                factor = torch.tensor(self.tau, dtype=torch.float32).double()
                potential = (factor * voltage.double() + current[t].double()).float()
                spike = (potential >= self.theta).float()
                yield potential, spike
                voltage = potential * (1 - spike)

    _, plain = both_passes("never", current, upstream, LIF(tau=0.7), STBP())
    _, contracted = both_passes("never", current, upstream, Contracted(tau=0.7), STBP())
    torch.testing.assert_close(plain, contracted, rtol=1e-4, atol=1e-5)
    assert not torch.equal(plain, contracted)


def test_auto_compiles_by_size_alone(monkeypatch, entries):
    monkeypatch.setattr(fused, "COMPILE_FROM", STEPS * 10)
    for size, expected in ((9, []), (10, ["forward", "backward"]), (11, ["forward", "backward"])):
        entries.clear()
        both_passes("auto", *drive(size), IF(), STBP())
        assert entries == expected
        entries.clear()
        both_passes("always", *drive(size), IF(), STBP())
        assert entries == ["forward", "backward"]
        entries.clear()
        both_passes("never", *drive(size), IF(), STBP())
        assert entries == []


def test_small_layers_are_never_compiled(monkeypatch):
    """At the threshold as shipped."""

    def refuse(*arguments: Any) -> Any:
        raise AssertionError("compiled")

    monkeypatch.setattr(fused, "_compile", refuse)
    monkeypatch.setattr(fused, "compiler_available", lambda device: True)
    spikes, gradient = both_passes("auto", *drive(10_000), IF(), STBP())
    assert spikes.any()
    assert gradient.any()
    with pytest.raises(AssertionError, match="compiled"):
        both_passes("auto", *drive(fused.COMPILE_FROM // STEPS + 1), IF(), STBP())


def test_without_a_compiler_everything_runs_eagerly(monkeypatch, entries):
    monkeypatch.setattr(fused, "compiler_available", lambda device: False)
    both_passes("always", *drive(10), IF(), STBP())
    assert entries == []


def test_a_compiler_is_looked_for_on_the_path(monkeypatch):
    for found, expected in (("clang++", True), (None, False)):
        monkeypatch.setattr(fused.shutil, "which", lambda name, found=found: name if name == found else None)
        assert fused.compiler_available.__wrapped__("cpu") is expected


def test_the_mode_comes_back(entries):
    before = fused._mode
    with compilation("always"):
        with pytest.raises(KeyError), compilation("never"):  # noqa: PT012
            assert fused._mode == "never"
            raise KeyError
        assert fused._mode == "always"
        with compilation("auto"):
            assert fused._mode == "auto"
        assert fused._mode == "always"
    assert fused._mode == before


@quiet
@pytest.mark.parametrize("broken", NAMES, ids=NAMES.values())
def test_a_failing_compiler_means_eager_with_one_warning(monkeypatch, entries, broken):
    from torch._inductor.exc import InductorError

    def fail(*arguments: Any) -> Any:
        raise InductorError(RuntimeError("no such header"), None)

    instead(monkeypatch, broken, fail)
    neuron, rule = LIF(tau=0.7), STBP()
    current, upstream = drive(20)
    expected_spikes, expected = both_passes("never", current, upstream, neuron, rule)
    with compilation("always"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            leaf = current.clone().requires_grad_()
            spikes = fire(leaf, STEPS, neuron, rule)
            (gradient,) = torch.autograd.grad(spikes, leaf, upstream)
            assert torch.equal(spikes, expected_spikes)
            assert torch.equal(gradient, expected)
    (warning,) = [w for w in caught if "neurons run eagerly" in str(w.message)]
    assert "no such header" in str(warning.message)
    assert entries == ([] if broken is fused._spikes else ["forward"])


@quiet
def test_other_errors_of_a_compiled_kernel_are_not_hidden(monkeypatch, entries):
    def fail(*arguments: Any) -> Any:
        raise MemoryError("full")

    instead(monkeypatch, fused._spikes, fail)
    with pytest.raises(MemoryError, match="full"):
        both_passes("always", *drive(20), IF(), STBP())


@pytest.mark.parametrize("rule", [PDSG(), ASSG(), ASSG().begin()], ids=["pdsg", "assg", "assg-of-a-run"])
def test_rules_that_are_not_elementwise_are_never_compiled(entries, rule):
    """Their forward pass is, being that of every rule."""
    current, upstream = drive(24)
    both_passes("always", current.unflatten(1, (4, 6)), upstream.unflatten(1, (4, 6)), IF(), rule)
    assert entries == ["forward"]
    entries.clear()
    both_passes("always", current, upstream, IF(), BPTR())
    assert entries == ["forward", "backward"]


def test_forward_alone_is_compiled_where_many_rules_follow(entries):
    both_passes("forward", *drive(24), IF(), STBP())
    assert entries == ["forward"]


@pytest.mark.parametrize(
    ("on_gpu", "around", "inside"), [(1, "auto", "forward"), (0, "auto", "auto"), (1, "never", "never")]
)
def test_many_rules_on_a_gpu_are_not_compiled_unless_asked_for(monkeypatch, on_gpu, around, inside):
    class Weight:
        is_cuda = bool(on_gpu)

    model = torch.nn.Identity()
    monkeypatch.setattr(model, "parameters", lambda: iter([Weight()]))
    asked = fused.many_rules(lambda model, more: (fused._mode, more))
    with compilation(around):
        assert asked(model, more=1) == (inside, 1)
