"""That this torch has the private names that the analysis reads, and that they stand in one file.

Seen with torch 2.11, 2.13 and 2.14. A version that lacks one fails here with its name, and not in the
middle of somebody's trail.
"""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import robustsnn
from robustsnn.studies.trail.graph import stem
from robustsnn.studies.trail.private import SAVED, next_number, number, saved

X = torch.rand(2, 3, 4, 4, requires_grad=True)
NODES = {
    "Convolution": lambda: F.conv2d(X, torch.rand(5, 3, 2, 2), stride=2, padding=1),
    "MaxPool2DWithIndices": lambda: F.max_pool2d(X, 2, 1, 1),
    "MaxPool3DWithIndices": lambda: F.max_pool3d(X, 2, padding=1),
    "NativeBatchNorm": lambda: nn.BatchNorm2d(3).eval()(X),
    "Addmm": lambda: F.linear(X[:, 0, 0], torch.rand(2, 4), torch.rand(2)),
    "Mm": lambda: X[0, 0] @ torch.rand(4, 2),
    "Bmm": lambda: torch.bmm(X[0], torch.rand(3, 4, 2)),
    "Mul": lambda: X * torch.rand(4, 4, requires_grad=True),
}


@pytest.mark.parametrize("kind", SAVED)
def test_this_torch_has_what_is_read_of_a_node(kind):
    node = NODES[kind]().grad_fn
    assert stem(node) == kind, f"torch {torch.__version__} calls {kind} {stem(node)}"
    for name in SAVED[kind]:
        assert hasattr(node, f"_saved_{name}"), f"torch {torch.__version__} saves no {name} of {kind}"
    if kind == "Convolution":
        assert [list(saved(node, name)) for name in ("stride", "padding", "dilation")] == [[2, 2], [1, 1], [1, 1]]
        assert (saved(node, "weight").shape, saved(node, "transposed"), saved(node, "groups")) == (
            (5, 3, 2, 2),
            False,
            1,
        )
    if kind.startswith("MaxPool"):
        assert set(saved(node, "kernel_size")) == {2}


def test_this_torch_numbers_nodes_in_the_order_of_their_making():
    before = next_number()
    first = X * 2
    between = next_number()
    second = first + 1
    assert before <= number(first.grad_fn) < between <= number(second.grad_fn) < next_number()
    leaf = second.grad_fn.next_functions[0][0].next_functions[0][0]
    assert number(leaf) > next_number()


def test_private_names_of_the_graph_stand_in_one_file():
    package = Path(robustsnn.__file__).parent
    found = {p.name for p in package.rglob("*.py") if re.search(r"_saved_|_sequence_nr", p.read_text("utf-8"))}
    assert found == {"private.py"}
