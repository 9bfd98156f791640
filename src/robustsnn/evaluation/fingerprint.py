"""What an evaluation depends on, as digests: weights, code, data and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.provenance import versions


def model_digest(model: nn.Module) -> str:
    """Of structure, parameters, buffers, plain attributes, and the code of classes that are not torch's or ours."""
    digest = hashlib.sha256(str(model).encode())
    for name, module in model.named_modules():
        plain = {k: exact(v) for k, v in vars(module).items() if k != "training" and not k.startswith("_")}
        digest.update(repr((name, sorted(plain.items()))).encode())
        if type(module).__module__.split(".")[0] not in ("torch", "robustsnn"):
            digest.update(repr(exact(type(module).forward)).encode())
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(name.encode())
        _feed(digest, tensor)
    return digest.hexdigest()


def _feed(digest: Any, tensor: Tensor) -> None:
    digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def exact(value: Any) -> Any:
    """A value by its type and content, for the fingerprint; a repr may round, and may name an address."""
    if isinstance(value, nn.Module):
        return model_digest(value)
    if isinstance(value, torch.Tensor):
        digest = hashlib.sha256()
        _feed(digest, value)
        return digest.hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__qualname__, *(exact(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple | list):
        return tuple(exact(item) for item in value)
    if isinstance(value, dict):
        return "dict", *((exact(key), exact(item)) for key, item in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, FunctionType):
        code, cells = value.__code__, [cell.cell_contents for cell in value.__closure__ or ()]
        constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
        bound = (value.__defaults__ or (), tuple(cells))
        return value.__qualname__, code.co_code.hex(), repr(constants), code.co_names, exact(bound)
    if isinstance(value, partial):
        return "partial", exact(value.func), exact(value.args), exact(tuple(sorted(value.keywords.items())))
    named = getattr(value, "__qualname__", None)
    return named or (repr(value) if " at 0x" not in repr(value) else type(value).__qualname__)


def fingerprint(model: str, marks: Sequence[Tensor], identity: object) -> str:
    """Digest of all that outcomes depend on: the model by its `model_digest`, tensors, settings and versions."""
    packages = {name: versions()[name] for name in ("robustsnn", "torch")}
    digest = hashlib.sha256(repr((model, identity, packages)).encode())
    for tensor in marks:
        _feed(digest, tensor)
    return digest.hexdigest()
