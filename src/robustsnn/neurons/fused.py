"""One autograd function for a layer of neurons over all T steps, eager or compiled.

Forward and backward each act on a flat `[T, M]` view in memory order, so that any layout (also
channels_last) is read and written without a copy. Only the input current is saved for the backward
pass: potentials and spikes are recomputed from it, which costs less than storing them, and no
step-by-step autograd graph exists.

A second derivative (`create_graph=True`) is the exception: then the rule's gradient is itself computed step by
step under autograd, eagerly, with the same values.

The same source runs eagerly or through `torch.compile` (one compilation per neuron, rule, dtype and T, and
another for a constant current, not one per layer size). A call of a compiled kernel costs some 40 microseconds of
Python, which layers on a fast GPU feel, so what a layer does is in few of them. Compiling takes seconds, so it is
chosen by a rule that depends on nothing but the shape: layers with at least `COMPILE_FROM` elements over all steps
are compiled, smaller ones run eagerly. Equal runs therefore take equal paths, and a resumed training stays
bit-identical.
"""

from __future__ import annotations

import functools
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.rules import GradientRule
from robustsnn.neurons.surrogate import Surrogate

COMPILE_FROM = 1 << 21
Mode = Literal["auto", "always", "never", "forward"]
_mode: Mode = "auto"
_failed = False  # a compiler that failed once is not asked again
_kernels: dict[Any, Callable[..., Any]] = {}
"""What was compiled: by kernel, values, device, threads, and of each tensor the type and which sizes are 0 or 1."""


@contextmanager
def compilation(mode: Mode) -> Iterator[None]:
    """Compile the neuron kernels "always", "never" or by size ("auto", the default) inside the block.

    "forward" compiles forward passes alone, which all rules share: for a suite of many rules, each used briefly.
    """
    global _mode
    previous, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = previous


Function = TypeVar("Function", bound=Callable[..., Any])


def many_rules(function: Function) -> Function:
    """For a function of a model that differentiates it by many rules, each briefly: on a GPU "auto" means "forward".

    There, compiling a rule takes seconds for each of its kernels, and a suite has forty.
    """

    @functools.wraps(function)
    def inside(model: nn.Module, *arguments: Any, **options: Any) -> Any:
        on_gpu = isinstance(model, nn.Module) and any(weight.is_cuda for weight in model.parameters())
        with compilation("forward" if on_gpu and _mode == "auto" else _mode):
            return function(model, *arguments, **options)

    return inside  # type: ignore[return-value]


@functools.cache
def compiler_available(device: str) -> bool:
    """Whether `torch.compile` can be expected to work for this device type ("cpu", "cuda")."""
    if device == "cpu":
        return any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    from torch.utils import _triton

    return device == "cuda" and bool(_triton.has_triton())


def _spikes(neuron: LIF, steps: int, current: Tensor) -> Tensor:
    return neuron.spikes(current, steps)


def _through(rule: GradientRule, neuron: LIF, steps: int, upstream: Tensor, current: Tensor) -> Tensor:
    """`steps` is that of upstream: each T is a kernel of its own."""
    return rule.input_gradient(upstream, current, neuron)


def compiles(size: int, device: torch.device) -> bool:
    """Whether a layer of so many elements over all steps runs compiled there: mode, size and machine say so."""
    wanted = _mode in ("always", "forward") or (_mode == "auto" and size >= COMPILE_FROM)
    return wanted and not _failed and compiler_available(device.type)


def _compile(kernel: Callable[..., Any], values: tuple[Any, ...], constant: bool) -> Callable[..., Any]:
    """`kernel(*values, ...)` compiled; `constant` says that its current is one for all steps."""

    def bound(*tensors: Tensor) -> Any:
        return kernel(*values, *tensors)

    # The compiler keeps what it compiled by code object, and looks through all of it at every call: one for each.
    bound.__code__ = bound.__code__.replace(co_name=kernel.__name__)
    # It writes a value that is used several times out at each use, unless that reads or computes much. With a current
    # that is read once, each potential is three times as long as the one before: minutes at T = 8. So count sooner.
    options: dict[str, Any] | None = {"realize_opcount_threshold": 20} if constant else None
    return torch.compile(bound, dynamic=True, fullgraph=True, options=options)


def run(size: int, kernel: Callable[..., Any], values: tuple[Any, ...], *tensors: Tensor) -> Any:
    """`kernel(*values, *tensors)`; compiled, where `compiles` says so, once for each kernel and (hashable) values."""
    device = tensors[0].device
    if not compiles(size, device) or (_mode == "forward" and any(isinstance(value, GradientRule) for value in values)):
        return kernel(*values, *tensors)
    # Whether a tensor needs a gradient, is a parameter or a view of another, and autocast, would each be a kernel more.
    tensors = tuple(x.data for x in tensors)
    autocast = torch.is_autocast_enabled(device.type)
    torch.set_autocast_enabled(device.type, False)
    # All that makes another kernel: so nothing is compiled again under a key, and a key does not fill up.
    kinds = ((x.dtype, x.is_inference(), *(min(n, 2) for n in x.shape)) for x in tensors)
    key = kernel, values, device, torch.get_num_threads(), *kinds
    try:
        if key in _kernels:
            return _kernels[key](*tensors)
        from torch._dynamo import config

        compiled = _compile(kernel, values, any(x.ndim > 1 and x.shape[0] == 1 for x in tensors))
        with config.patch(specialize_float=True):  # tau and theta are constants of the kernel, not tensors
            made = compiled(*tensors)
        _kernels[key] = compiled
        return made
    except Exception as error:
        if not _is_of_the_compiler(error):
            raise
        _give_up(key, kernel, values, error)
        return kernel(*values, *tensors)
    finally:
        torch.set_autocast_enabled(device.type, autocast)


def _is_of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return isinstance(error, TorchDynamoException | FailOnRecompileLimitHit)


def _give_up(key: Any, kernel: Callable[..., Any], values: tuple[Any, ...], error: Exception) -> None:
    """From here on run eagerly: all kernels if the compiler does not work, or this one if it cannot be compiled."""
    global _failed
    from torch._dynamo.exc import BackendCompilerFailed

    reason = " ".join(str(error).split())[:200]
    if isinstance(error, BackendCompilerFailed):
        _failed = True
        what = "neurons run eagerly from here on, compiling them failed"
    else:
        _kernels[key] = functools.partial(kernel, *values)
        what = f"{' of '.join([kernel.__name__, *map(repr, values[:1])])} runs eagerly, it cannot be compiled"
    warnings.warn(f"{what}: {reason}", stacklevel=3)


def _rows(x: Tensor, order: list[int]) -> Tensor:
    """`[T, ...]` as `[T, M]`, the trailing dimensions in the given order; a view where that is dense."""
    return x.permute(0, *order).reshape(x.shape[0], -1)


def surrogate_of(rule: GradientRule) -> Surrogate:
    """The surrogate by which a rule differentiates the step: of `STBP` and `HART`, whose gradients so have derivatives.

    UserError for rules whose slope is none of the potential alone (PDSG, ASSG) or which have none (RGA, BPTR).
    """
    surrogate = getattr(rule, "surrogate", None)
    if not rule.elementwise or surrogate is None:
        raise UserError(
            f"neurons with the rule {rule!r} have neither second derivatives (create_graph=True) nor a gradient of "
            f"their potentials, for want of a fixed surrogate; use STBP or HART"
        )
    return surrogate


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, steps: int, neuron: LIF, rule: GradientRule) -> Tensor:
        # Slowest dimension first: the order in which the elements lie in memory.
        order = sorted(range(1, current.ndim), key=lambda d: (-current.stride(d), d))
        rows = _rows(current, order)
        size = steps * rows[0].numel()
        spikes = run(size, _spikes, (neuron, steps), rows)
        # The input itself and not its rows: only that is known to autograd when it differentiates twice.
        ctx.save_for_backward(current)
        ctx.neuron, ctx.rule, ctx.order = neuron, rule, order
        return _Fire.restore(spikes, current.shape[1:], order)

    @staticmethod
    def restore(rows: Tensor, shape: torch.Size, order: list[int]) -> Tensor:
        """The inverse of `_rows`."""
        permuted = rows.view(rows.shape[0], *(shape[d - 1] for d in order))
        inverse = [order.index(d) + 1 for d in range(1, len(order) + 1)]
        return permuted.permute(0, *inverse)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (current,) = ctx.saved_tensors
        neuron, rule = ctx.neuron, ctx.rule
        if torch.is_grad_enabled():  # under create_graph=True alone
            smooth = neuron.differentiable(surrogate_of(rule))
            return rule.input_gradient(upstreams[0], current, smooth), None, None, None
        if not rule.elementwise:
            return rule.input_gradient(upstreams[0], current, neuron), None, None, None
        above, below = _rows(upstreams[0], ctx.order), _rows(current, ctx.order)
        gradient = run(above.numel(), _through, (rule, neuron, len(above)), above, below)
        return _Fire.restore(gradient, current.shape[1:], ctx.order), None, None, None


def fire(current: Tensor, steps: int, neuron: LIF, rule: GradientRule) -> Tensor:
    """Spikes `[steps, ...]` of a layer of neurons, differentiable by `rule`.

    Args:
        current: input current, `[steps, ...]`, or `[1, ...]` for one current shown at every step.
        steps: T.
        neuron: the dynamics.
        rule: the gradient rule of the backward pass. Under `create_graph=True` its result can be differentiated
            again, with the step's derivative in it the surrogate's slope once more; UserError for rules
            without a fixed surrogate.

    Returns spikes in the dtype and memory order of `current`.
    """
    if current.shape[0] not in (1, steps):
        raise ValueError(f"current has {current.shape[0]} time steps, expected {steps} (or 1, constant in time)")
    return _Fire.apply(current, steps, neuron, rule)  # type: ignore[no-any-return]
