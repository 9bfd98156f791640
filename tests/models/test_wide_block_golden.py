"""The wide block against reference vectors of a released implementation, in train mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from robustsnn.models import WideBlock
from robustsnn.neurons import IF

GOLDEN = Path(__file__).parents[1] / "data_golden" / "wide_block_reference.npz"
# Our parameter -> theirs.
NAMES = {
    "mix": "convex.comb",
    "norm1.0.weight": "bn1.weight",
    "norm1.0.bias": "bn1.bias",
    "conv1.0.weight": "conv1.weight",
    "conv1.1.weight": "bn2.weight",
    "conv1.1.bias": "bn2.bias",
    "conv2.0.weight": "conv2.weight",
    "shortcut.0.weight": "convShortcut.weight",
}


@pytest.mark.parametrize(("case", "channels", "stride"), [("identity", 8, 1), ("project", 4, 2)])
def test_outputs_and_all_gradients(case, channels, stride):
    with np.load(GOLDEN) as stored:
        golden = {key: torch.from_numpy(stored[key]) for key in stored.files if key.startswith(case)}
    block = WideBlock(channels, 8, stride, IF(), 8, None)
    parameters = dict(block.named_parameters())
    assert {f"{case}_param_{NAMES[name]}" for name in parameters} == {key for key in golden if "_param_" in key}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(golden[f"{case}_param_{NAMES[name]}"])

    x = golden[f"{case}_in"].requires_grad_()
    y = block(x)
    torch.testing.assert_close(y, golden[f"{case}_out"], rtol=1e-5, atol=1e-5)
    y.backward(golden[f"{case}_gout"])
    torch.testing.assert_close(x.grad, golden[f"{case}_gin"], rtol=1e-4, atol=2e-5)
    for name, parameter in parameters.items():
        expected = golden[f"{case}_gparam_{NAMES[name]}"]
        scale = max(1, expected.abs().max().item())
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-5 * scale)
