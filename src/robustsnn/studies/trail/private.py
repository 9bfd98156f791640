"""Names that torch keeps to itself: what a node of the autograd graph saved, and in which order nodes were made.

Nothing public says either. They stand here alone, and a test says which versions of torch have them.
"""

from __future__ import annotations

from typing import Any

import torch

_GEOMETRY = ("kernel_size", "stride", "padding", "dilation")
SAVED = {
    "Convolution": ("weight", "stride", "padding", "dilation", "transposed", "output_padding", "groups"),
    "MaxPool2DWithIndices": _GEOMETRY,
    "MaxPool3DWithIndices": _GEOMETRY,
    "NativeBatchNorm": ("training",),
    "Addmm": ("mat1", "mat2"),
    "Mm": ("self", "mat2"),
    "Bmm": ("self", "mat2"),
    "Mul": ("self", "other"),
}
"""What is read of the nodes of each kind."""


def saved(node: Any, name: str) -> Any:
    """What a node saved under this name of its operation's arguments; only inside a hook of its backward pass."""
    return getattr(node, f"_saved_{name}")


def number(node: Any) -> int:
    """Nodes that were made later have larger numbers; those that accumulate into leaves the largest of all."""
    return node._sequence_nr()


def next_number() -> int:
    """The number that the next node gets."""
    return torch.autograd._get_sequence_nr()  # pyright: ignore[reportPrivateImportUsage]
