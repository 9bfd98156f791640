"""What an evaluation depends on, as digests: weights, code, data and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from inspect import getattr_static
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.provenance import versions
from robustsnn.models.classifier import former

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)


def model_digest(model: nn.Module, within: frozenset[int] = frozenset()) -> str:
    """Of structure, parameters, buffers, plain attributes, and the code of classes that are not torch's or ours."""
    inner = partial(exact, within=within | {id(model)})
    digest = hashlib.sha256(str(model).encode())
    for name, module in model.named_modules():
        plain = {k: inner(v) for k, v in vars(module).items() if k != "training" and not _passing(module, k)}
        digest.update(repr((name, sorted(plain.items()))).encode())
        if type(module).__module__.split(".")[0] not in ("torch", "robustsnn"):
            digest.update(repr(inner(type(module).forward)).encode())
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(former(name).encode())
        _feed(digest, tensor)
    return digest.hexdigest()


def _passing(module: nn.Module, name: str) -> bool:
    """An attribute that does not say what a module is: private, or the value of a property that was asked for."""
    return name.startswith("_") or isinstance(getattr_static(type(module), name, None), cached_property)


def _feed(digest: Any, tensor: Tensor) -> None:
    digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def exact(value: Any, within: frozenset[int] = frozenset()) -> Any:
    """A value by its type and content, for the fingerprint; a repr may round, and may name an address.

    `within`: the ids of all that it is a part of; an object may lead back to one of them, as a lambda of its model.
    """
    if id(value) in within:
        return "circle"
    inner = partial(exact, within=within | {id(value)})
    if isinstance(value, nn.Module):
        return model_digest(value, within)
    if isinstance(value, torch.Tensor):
        digest = hashlib.sha256()
        _feed(digest, value)
        return digest.hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__qualname__, *(inner(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple | list):
        return tuple(inner(item) for item in value)
    if isinstance(value, dict):
        return "dict", *((inner(key), inner(item)) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, FunctionType):
        code, cells = value.__code__, [cell.cell_contents for cell in value.__closure__ or ()]
        constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
        bound = (value.__defaults__ or (), tuple(cells))
        return value.__qualname__, code.co_code.hex(), repr(constants), code.co_names, inner(bound)
    if isinstance(value, partial):
        return "partial", inner(value.func), inner(value.args), inner(tuple(sorted(value.keywords.items())))
    if isinstance(value, set | frozenset):
        return "set", *sorted(repr(inner(item)) for item in value)
    if isinstance(value, type | BuiltinFunctionType | MethodType):
        return value.__qualname__
    if isinstance(value, ModuleType):  # its repr names a place on this machine
        return value.__name__
    if isinstance(value, _PLAIN):
        return repr(value)
    # Anything else may answer whatever it is asked, and otherwise the next time: its type says that by itself, and its
    # repr if the type defines one that holds no address.
    try:
        said = repr(value) if type(value).__repr__ is not object.__repr__ else ""
    except Exception:  # a lazy object that cannot be resolved here
        said = ""
    return type(value).__qualname__ if not said or " at 0x" in said else said


def fingerprint(model: str, marks: Sequence[Tensor], identity: object) -> str:
    """Digest of all that outcomes depend on: the model by its `model_digest`, tensors, settings and versions."""
    packages = {name: versions()[name] for name in ("robustsnn", "torch")}
    digest = hashlib.sha256(repr((model, identity, packages)).encode())
    for tensor in marks:
        _feed(digest, tensor)
    return digest.hexdigest()
