"""A device that has no float64, on any machine: its tensors wrap tensors of the CPU, and it refuses to make one.

Torch calls it `meta`, the one type of device that is always there; this stands in for `mps`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

DEVICE = "meta"


class Far(Tensor):
    """A tensor there."""

    is_meta = False  # type: ignore[assignment]  # it has data

    @staticmethod
    def __new__(cls, inner: Tensor) -> Far:
        kind: Any = {"strides": inner.stride(), "dtype": inner.dtype, "device": DEVICE}
        return Tensor._make_wrapper_subclass(cls, inner.size(), **kind)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Machine(TorchDispatchMode):
    """A machine with that device, inside the block."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """An operation done on the CPU; its tensors are there if its arguments are, or if it says so."""
    given: list[Far] = []

    def near(value: Any) -> Any:
        if isinstance(value, Far):
            given.append(value)
            return value.inner
        return value

    args, kwargs = tree_map(near, (args, kwargs))
    said = kwargs.get("device")
    there = torch.device(said).type == DEVICE if said is not None else bool(given)
    if said is not None:
        kwargs["device"] = torch.device("cpu")
    made = func(*args, **kwargs)

    def back(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        for one in given:
            if value is one.inner:  # in place
                return one
        if there and value.dtype == torch.float64:
            raise TypeError(f"this device has no float64 ({func})")
        return Far(value) if there else value

    return tree_map(back, made)
