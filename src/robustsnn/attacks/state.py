"""What a step rule remembers: any tree of tensors, one row per sample."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from robustsnn.ground.errors import UserError


def select(state: Any, at: Tensor, count: int) -> Any:
    """The state of the samples at these positions of a batch of `count`, in containers of the same kinds.

    A tree is a tensor `[count, ...]`, a tensor or number without dimensions that all samples share, or a tuple (also a
    named one), list, dict or dataclass of trees. UserError for anything else: rows of another sample, or of all of
    them, would let an attack go on with a wrong memory and nobody would be told.
    """
    match state:
        case Tensor(ndim=0) | int() | float() | str() | None:
            return state
        case Tensor():
            if len(state) != count:
                raise UserError(
                    f"a step rule keeps a tensor of shape {list(state.shape)} in its state, in a batch of {count} "
                    f"samples: its first dimension must be the batch"
                )
            return state[at]
        case tuple() | list():
            parts = [select(part, at, count) for part in state]
            return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
        case dict():
            chosen = copy(state)
            chosen.update({name: select(part, at, count) for name, part in state.items()})
            return chosen
        case _ if is_dataclass(state) and not isinstance(state, type):
            chosen = copy(state)
            for f in fields(state):
                # Also where the dataclass is frozen; `replace` would need every field to be an argument.
                object.__setattr__(chosen, f.name, select(getattr(state, f.name), at, count))
            return chosen
    raise UserError(
        f"a step rule keeps a {type(state).__name__} in its state, of which the rows of a sample are not known; use "
        f"tensors, and tuples, lists, dicts or dataclasses of them"
    )
