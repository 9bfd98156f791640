"""Checks of what people hand in from Python: models, images, labels, numbers. They are made once, at the door.

Nothing is converted behind the caller's back: what does not fit is refused, in one line that says what would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError, exhausted, in_short


def check_model(model: Any) -> None:
    """UserError unless it is a module, which maps images to logits."""
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise UserError(f"the model is the class {model.__name__}; give one of it, {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise UserError(f"the model is a {_kind(model)}; give a torch.nn.Module that maps images [B, ...] to [B, K]")
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        raise UserError("the model was made in inference mode, where nothing can be differentiated; make it outside")


def check_images_of(x: Any, what: str = "images") -> None:
    """UserError unless it is a dense batch of real floats, in float32 or float64."""
    if not isinstance(x, Tensor):
        raise UserError(f"{what} of type {_kind(x)}: give a tensor, torch.as_tensor({what}, dtype=torch.float32)")
    if x.layout != torch.strided or x.is_quantized:
        raise UserError(f"{what} are no dense tensor but {x.layout}; give {what}.to_dense()")
    if x.is_complex():
        raise UserError(f"{what} of dtype {x.dtype}: give real numbers, {what}.real")
    if not x.is_floating_point():
        raise UserError(f"{what} of dtype {x.dtype}: give floats in [0, 1] (uint8 images: x / 255)")
    if x.dtype in (torch.float16, torch.bfloat16):
        raise UserError(f"{what} of dtype {x.dtype}: attacks are made and judged in float32; give {what}.float()")
    if x.ndim < 2:
        raise UserError(f"{what} of shape {list(x.shape)}: give a batch [B, C, H, W]; one image is a batch, x[None]")
    if x.is_meta or not x.shape[1:].numel():
        said = "without data (device meta)" if x.is_meta else f"of shape {list(x.shape)}, without a pixel"
        raise UserError(f"{what} {said}: give a tensor with values")


def check_labels(y: Any, n: int, what: str = "labels") -> None:
    """UserError unless it is a dense int64 tensor `[n]` of numbers from 0."""
    if not isinstance(y, Tensor):
        raise UserError(f"{what} of type {_kind(y)}: give a tensor, torch.as_tensor({what})")
    if y.layout != torch.strided or y.dtype != torch.int64 or tuple(y.shape) != (n,):
        said = f"{what} of shape {tuple(y.shape)}, {y.dtype}: needed is int64 [{n}], one per image"
        hot = y.ndim == 2 and y.shape[1] > 1
        how = f"{what}.argmax(1)" if hot else f"{what}.flatten().long()" if y.ndim != 1 else f"{what}.long()"
        raise UserError(f"{said}; give {how}" if y.numel() == n or (hot and len(y) == n) else said)
    if y.is_meta:
        raise UserError(f"{what} without data (device meta): give a tensor with values")


def check_meets(model: nn.Module, x: Tensor, y: Tensor | None = None) -> None:
    """UserError unless images (and labels) are where the model is."""
    weight = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), None)
    if weight is not None and weight.device != x.device:
        raise UserError(f"images on {x.device}, a model on {weight.device}: give x.to({str(weight.device)!r})")
    if y is not None and y.device != x.device:
        raise UserError(f"images on {x.device}, labels on {y.device}: give both on one device")


def check_place() -> None:
    """UserError inside a transform of torch.func, where no attack can differentiate."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # type: ignore[attr-defined] # nothing public tells
        raise UserError(
            "an attack inside a transform of torch.func (vmap, grad, ...): call it outside, on a whole batch"
        )


def plain(x: Tensor) -> Tensor:
    """A tensor of no graph, which autograd may use outside inference mode too."""
    with torch.inference_mode(False):
        return x.clone() if x.is_inference() else x.detach()


def check_whole(name: str, value: Any, least: int = 1, most: int = (1 << 63) - 1, of: str = "") -> None:
    """UserError unless a value is a whole number from `least` to `most`; `of` follows its name in the error."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        span = "" if most >= 1 << 31 and isinstance(value, int) and value < least else f" and at most {most}"
        raise UserError(f"{name}={said_of(value)}{of}: a whole number of at least {least}{span} is needed")


def check_seed(value: Any, name: str = "seed") -> None:
    """UserError unless a value is a seed, a whole number from 0."""
    check_whole(name, value, least=0)


def check_number(name: str, value: Any, above: float = -math.inf, most: float = 1e300) -> None:
    """UserError unless a value is a finite number above another, and at most a third."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= most:
        span = f" above {above:g}" if above > -math.inf else ""
        span += f" and at most {most:g}" if most < 1e300 else ""
        raise UserError(f"{name}={said_of(value)}: a finite number{span} is needed")


def check_among(name: str, value: Any, allowed: Collection[Any]) -> None:
    """UserError unless a value is one of some words."""
    if not isinstance(value, str) or value not in allowed:
        raise UserError(f"{name}={said_of(value)}: allowed are {', '.join(map(repr, allowed))}")


def check_kind(name: str, value: Any, kind: type, example: str) -> None:
    """UserError unless a value is of a kind; the example shows one."""
    if isinstance(value, type) or not isinstance(value, kind):
        raise UserError(f"{name}={said_of(value)}: a {kind.__name__} is needed, such as {example}")


def check_callable(name: str, value: Any, example: str) -> None:
    """UserError unless a value can be called; the example shows one."""
    if not callable(value) or isinstance(value, type):
        raise UserError(f"{name}={said_of(value)}: a function is needed, such as {example}")


def check_progress(value: Any) -> None:
    """UserError unless it can be told (units done, units in all, what is going on)."""
    check_callable("progress", value, "lambda done, total, text: print(text)")


_OF_THE_IMAGES = ("shape", "size", "channels", "dimension", "type", "same device")
"""Words of errors that images of another kind raise."""


def ask(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """model(x); UserError where it is made for images of another shape or precision (some cast what they get)."""
    try:
        return model(x)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        if exhausted(error) or not any(word in said for word in _OF_THE_IMAGES):
            raise
        kind = str(x.dtype).removeprefix("torch.")
        raise UserError(
            f"{type(model).__name__} fails on images of shape {list(x.shape)}, {kind} ({said[:200]}); give those that "
            f"it is made for{', x.float()' if x.dtype == torch.float64 else ''}"
        ) from error


def check_list(name: str, value: Any, of: str) -> None:
    """UserError unless a value is a list or tuple."""
    if not isinstance(value, list | tuple):
        raise UserError(f"{name}={said_of(value)}: a list of {of} is needed, [] for none")


def check_rising(name: str, values: Any) -> None:
    """UserError unless it is a list or tuple of finite numbers above 0, at least one, each larger than the last."""
    check_list(name, values, "numbers")
    for value in values:
        check_number(name, value, above=0)
    if not values or list(values) != sorted(set(values)):
        raise UserError(f"{name}={said_of(values)}: give numbers above 0, at least one, each larger than the last")


def check_generator(value: Any) -> None:
    """UserError unless a value is what random numbers come from: a torch.Generator, or None."""
    if value is not None and not isinstance(value, torch.Generator):
        how = "torch.Generator().manual_seed(0), or None"
        raise UserError(f"generator={said_of(value)}: give a {how}")


def _kind(value: Any) -> str:
    return "NoneType (None)" if value is None else type(value).__name__


def said_of(value: Any) -> str:
    """A value as a message has it; of a tensor its shape, of a model its class."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    return in_short(value)
