"""The weighted addition of two tensors, in one kernel or in plain operations."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.models import Mix
from robustsnn.models.mixing import _alike, _Mix
from robustsnn.neurons import compilation


def made(seed, dtype=torch.float32):
    draws = torch.Generator().manual_seed(seed)
    branch, shortcut, upstream = (
        torch.randn((2, 3, 4, 2, 5), generator=draws).permute(0, 1, 4, 2, 3).to(dtype) for _ in range(3)
    )
    return branch, shortcut, torch.rand(2, generator=draws), upstream


def gradients(way, branch, shortcut, weights, upstream):
    leaves = [
        tensor.clone(memory_format=torch.preserve_format).requires_grad_() for tensor in (branch, shortcut, weights)
    ]
    out = way(*leaves)
    return out.detach(), torch.autograd.grad(out, leaves, upstream)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_it_is_the_sum_and_has_its_gradients(seed, contiguous_upstream):
    branch, shortcut, weights, upstream = made(seed)
    if contiguous_upstream:
        upstream = upstream.contiguous()
    found, of = gradients(_Mix.apply, branch, shortcut, weights, upstream)
    wanted, expected = gradients(lambda b, s, c: c[0] * s + c[1] * b, branch, shortcut, weights, upstream)
    assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert found.stride() == branch.stride()
    for a, b in zip(of, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_its_second_derivative():
    branch, shortcut, weights, upstream = made(0)
    found = []
    for way in (_Mix.apply, lambda b, s, c: c[0] * s + c[1] * b):
        leaves = [tensor.clone().requires_grad_() for tensor in (branch, shortcut, weights)]
        first = torch.autograd.grad(way(*leaves), leaves, upstream, create_graph=True)
        found.append(torch.autograd.grad(sum(t.square().sum() for t in first), leaves))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found, strict=True))


def test_bfloat16_is_rounded_once():
    branch, shortcut, weights, _ = made(1, torch.bfloat16)
    exact = (weights[0] * shortcut.float() + weights[1] * branch.float()).to(torch.bfloat16)
    assert torch.equal(_Mix.apply(branch, shortcut, weights), exact)


def test_what_does_not_fit_is_added_plainly():
    branch, shortcut, weights, _ = made(2)
    assert _alike(branch, shortcut)
    assert not _alike(branch, shortcut[:1])
    assert not _alike(branch, shortcut.contiguous())
    assert not _alike(branch, shortcut.bfloat16())
    assert not _alike(branch.double(), shortcut.double())
    with compilation("always"):
        assert torch.equal(Mix()(branch, shortcut[:1], weights), weights[0] * shortcut[:1] + weights[1] * branch)
