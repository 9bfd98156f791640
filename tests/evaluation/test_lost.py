"""Directions without a gradient are found in any orthonormal basis of the blocks, and only those."""

import pytest
import torch

from robustsnn.evaluation.lost import _blocks, _cosines, _directions, _frequencies


def test_cosines_are_orthonormal():
    for n in (1, 7, 8, 32):
        torch.testing.assert_close(_cosines(n) @ _cosines(n).T, torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(3, 16, 24), (4, 2, 8, 16)], ids=["images", "frames"])
@pytest.mark.parametrize("missing", [0, 1, 40])
def test_directions_that_no_gradient_has_a_part_in(shape, missing):
    x = torch.randn(200, *shape)
    d = shape[-3] * 64
    lacking = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0][:, :missing]
    blocks = _blocks(x).double()
    gradient = _unblocked((blocks - blocks @ lacking @ lacking.T).float(), shape)
    ((_, among, back),) = _directions([gradient])
    assert int(among.flatten(0, -2)[0].sum()) == missing
    step = back(torch.where(among, torch.randn(among.shape), 0))
    assert step.shape == x.shape
    inside = _blocks(step).double()
    torch.testing.assert_close(inside @ lacking @ lacking.T, inside, atol=1e-4, rtol=1e-4)


def _unblocked(blocks, shape):
    """The inverse of `_blocks`, pixel by pixel."""
    image = torch.zeros(len(blocks), *shape)
    for i in range(shape[-2] // 8):
        for j in range(shape[-1] // 8):
            part = blocks[..., i, j, :].unflatten(-1, (shape[-3], 8, 8))
            image[..., 8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = part
    return image


def test_frequencies_that_no_gradient_has_are_lost_and_the_way_back_is_the_inverse():
    x = torch.randn(5, 2, 9, 12)
    ((_, _, back),) = _frequencies([x])
    rows, columns = _cosines(9).float(), _cosines(12).float()
    spectrum = rows @ x @ columns.T
    torch.testing.assert_close(back(spectrum), x)
    spectrum[..., :3, :3] = 0
    ((_, among, _),) = _frequencies([back(spectrum)])
    assert among[..., :3, :3].all()
    assert among.float().mean() < 0.1
