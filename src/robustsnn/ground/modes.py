"""Context managers that put a model into a mode and give it back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError

_CHOSEN: ContextVar[bool] = ContextVar("chosen precision", default=False)
"""Whether the autocast that is on is one of `precision`, and not a habit of the caller's."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, numbers do not depend on the contexts that the caller happens to be in.

    Off: autocast (but that of `precision`), inference mode, the detection of anomalies, products of floats in less than
    float32, and a default dtype or device other than float32 and cpu. Whether gradients are recorded stays as it is.

    On a GPU, torch convolves float32 in TF32 by default, with 10 bits, and by sums in any order: spikes flip, a
    gradient is another one when it is asked for again, and an image's logits depend on its batch. Both are off, too.
    """
    product, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    cudnn = torch.backends.cudnn
    with ExitStack() as stack:
        for flag, value in (("allow_tf32", False), ("deterministic", True), ("benchmark", False)):
            if (before := getattr(cudnn, flag)) != value:
                stack.callback(setattr, cudnn, flag, before)
                setattr(cudnn, flag, value)
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in () if _CHOSEN.get() else ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if product != "highest":
            stack.callback(torch.set_float32_matmul_precision, product)
            torch.set_float32_matmul_precision("highest")
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for all submodules, `undisturbed`; each gets its own mode back at the end, after an exception too."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with undisturbed():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient for any parameter: what an attack needs. All restored at the end."""
    parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with evaluating(model):
        try:
            for parameter, _ in parameters:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter, requires_grad in parameters:
                parameter.requires_grad_(requires_grad)


def statistics(model: nn.Module) -> list[torch.Tensor]:
    """The running statistics of all norms: what training changes beside parameters."""
    return [b for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase) for b in m.buffers()]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch at hand, as in training; their running statistics stay as they are."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, training, tracking in before:
            norm.training, norm.track_running_stats = training, tracking


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float64 stays: where sums and exponentials are taken, of logits for one."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def precision(name: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Convolutions and matrix products in `name`, "float32" or "bfloat16", whatever autocast is on around.

    Parameters, membranes, logits and losses stay in float32 in both.
    """
    if name not in ("float32", "bfloat16"):
        raise UserError(f"precision={name!r}: allowed are 'float32' and 'bfloat16'")
    before = _CHOSEN.set(True)
    try:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=name == "bfloat16"):
            yield
    finally:
        _CHOSEN.reset(before)
