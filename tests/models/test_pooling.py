"""Pooling: its value, where its gradient goes, and that what goes in comes out."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.models import HybridPool, pool, pooling

KINDS = [("max", None), ("average", None), ("hybrid", None), ("hybrid", 0.25), ("none", None)]


def spikes(height, width, rate, seed, batch=2):
    draws = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, 3, height, width, generator=draws) < rate).double()


def backward(layer, x, seed=0):
    """Output, upstream of small whole numbers (so that sums are exact), input gradient."""
    x = x.clone().requires_grad_()
    y = layer(x)
    upstream = torch.randint(-8, 9, y.shape, generator=torch.Generator().manual_seed(seed)).double()
    (gradient,) = torch.autograd.grad(y, x, upstream, retain_graph=True)
    return y.detach(), upstream, gradient


def windows(height, width, kernel, stride, padding):
    """Each output's (row, column) and the pixels of its window that are in the image, in reading order."""
    rows, columns = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
    for p, q in itertools.product(range(rows), range(columns)):
        inside = [
            (i, j)
            for i in range(p * stride - padding, p * stride - padding + kernel)
            for j in range(q * stride - padding, q * stride - padding + kernel)
            if 0 <= i < height and 0 <= j < width
        ]
        yield (p, q), inside


sizes = st.tuples(st.integers(2, 7), st.integers(2, 7))
shapes = st.sampled_from([(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 1, 0)])


@settings(deadline=None, max_examples=30)
@given(sizes, shapes, st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 99), st.booleans())
def test_a_tie_of_spikes_sends_the_whole_gradient_to_the_first_maximum(size, shape, rate, seed, channels_last):
    x = spikes(*size, rate, seed)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    y, upstream, gradient = backward(pool("max", *shape), x, seed)
    expected, tied = torch.zeros_like(x), 0
    for (p, q), inside in windows(*size, *shape):
        for b, c in itertools.product(range(len(x)), range(3)):
            values = [x[b, c, i, j].item() for i, j in inside]
            assert y[b, c, p, q] == max(values)
            i, j = inside[values.index(max(values))]
            expected[b, c, i, j] += upstream[b, c, p, q]
            tied += values.count(max(values)) > 1
    assert torch.equal(gradient, expected)
    assert tied > 0 or rate not in (0.0, 1.0)


def test_a_window_without_spikes_hands_its_gradient_to_its_first_pixel():
    _, upstream, gradient = backward(pool("max", 2), torch.zeros(1, 1, 4, 4).double())
    assert torch.equal(gradient[0, 0, ::2, ::2], upstream[0, 0])
    assert gradient.count_nonzero() == upstream.count_nonzero() > 0


@settings(deadline=None, max_examples=30)
@given(sizes, shapes, st.integers(0, 99))
def test_average_pooling_divides_by_the_pixels_of_the_window(size, shape, seed):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed)).double()
    y, upstream, gradient = backward(pool("average", *shape), x, seed)
    expected = torch.zeros_like(x)
    for (p, q), inside in windows(*size, *shape):
        values = torch.stack([x[..., i, j] for i, j in inside])
        torch.testing.assert_close(y[..., p, q], values.mean(0))
        for i, j in inside:
            expected[..., i, j] += upstream[..., p, q] / len(inside)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("shape", [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_counted_padding_dims_the_border(shape):
    """A constant comes out smaller by the share of each window that is padding, and so does the gradient go in."""
    kernel, _, padding = shape
    x = torch.ones(1, 1, 6, 8).double()
    y, upstream, gradient = backward(pool("average-with-padding", *shape), x)
    expected = torch.zeros_like(x)
    for (p, q), inside in windows(6, 8, *shape):
        assert y[0, 0, p, q] == pytest.approx(len(inside) / kernel**2)
        for i, j in inside:
            expected[0, 0, i, j] += upstream[0, 0, p, q] / kernel**2
    torch.testing.assert_close(gradient, expected)
    assert (y < 1).any() == (padding > 0)


@pytest.mark.parametrize(("kind", "share"), KINDS)
@pytest.mark.parametrize("shape", [(3, 2, 1), (2, 2, 0), (3, 1, 1)])
def test_the_gradient_that_goes_in_comes_out(kind, share, shape):
    layer = pool(kind, *shape, share=share).double()
    _, upstream, gradient = backward(layer, spikes(6, 8, 0.3, 1))
    torch.testing.assert_close(gradient.sum((2, 3)), upstream.sum((2, 3)))
    assert upstream.sum((2, 3)).abs().min() > 0
    constant = torch.full((1, 3, 6, 8), 0.7).double()
    assert torch.allclose(layer(constant), torch.tensor(0.7).double())


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 1), st.integers(0, 99))
def test_the_hybrid_is_the_convex_mixture_in_value_and_gradient(share, seed):
    x = spikes(5, 6, 0.4, seed)
    maximum, average, hybrid = (
        backward(layer, x, seed)
        for layer in (pool("max", 3, 2, 1), pool("average", 3, 2, 1), pool("hybrid", 3, 2, 1, share=share))
    )
    for i in (0, 2):
        torch.testing.assert_close(hybrid[i], share * maximum[i] + (1 - share) * average[i])
    low, high = torch.minimum(maximum[0], average[0]), torch.maximum(maximum[0], average[0])
    assert bool(((hybrid[0] >= low - 1e-12) & (hybrid[0] <= high + 1e-12)).all())


def test_a_learned_share_starts_at_one_half_and_can_reach_both_ends():
    x = spikes(6, 6, 0.4, 3)
    layer = pool("hybrid", 3, 2, 1).double()
    assert isinstance(layer, HybridPool)
    assert [name for name, _ in layer.named_parameters()] == ["logit"]
    assert layer.share == 0.5
    maximum, average = pool("max", 3, 2, 1)(x), pool("average", 3, 2, 1)(x)
    (slope,) = torch.autograd.grad(layer(x).sum(), layer.logit)
    torch.testing.assert_close(slope, (maximum - average).sum() / 4)  # sigmoid'(0)
    for logit, end in ((50.0, maximum), (-50.0, average)):
        nn.init.constant_(layer.logit, logit)
        torch.testing.assert_close(layer(x), end)
    assert not list(pool("hybrid", 2, share=0.25).parameters())


def test_no_pooling_changes_nothing():
    x = spikes(3, 5, 0.5, 0)
    assert pool("none", 3, 2, 1)(x) is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "median"}, "'median': allowed are max, average, average-with-padding, hybrid, none"),
        ({"kind": "Max"}, "'Max': allowed"),
        ({"kind": "hybrid", "share": 1.5}, "share=1.5.*0 to 1"),
        ({"kind": "hybrid", "share": float("nan")}, "share=nan"),
        ({"kind": "hybrid", "share": "half"}, "share='half'"),
        ({"kind": "max", "share": 0.5}, "no effect on pooling='max'"),
        ({"kind": "none", "share": 0.5}, "no effect on pooling='none'"),
    ],
)
def test_pooling_that_does_not_exist_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        pool(kernel=2, **arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_halving_as_compiled_on_a_gpu_is_the_average_of_spikes_to_the_bit(dtype):
    x = (torch.rand(3, 6, 4, 5) < 0.4).to(dtype).requires_grad_()
    halved, upstream = pooling._AvgPool2D.apply(x).permute(0, 3, 1, 2), torch.randn(3, 5, 3, 2).to(dtype)
    expected = nn.AvgPool2d(2)(x.permute(0, 3, 1, 2))
    assert torch.equal(halved, expected)
    assert torch.equal(*(torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for y in (halved, expected)))
    # Linear: its gradient can be differentiated again, and what that finds is the average.
    again = upstream.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(halved, x, again, create_graph=True)
    (second,) = torch.autograd.grad(gradient, again, x.detach())
    torch.testing.assert_close(second, halved.detach())


def test_halving_is_torchs_on_a_cpu(monkeypatch):
    used = []
    monkeypatch.setattr(pooling, "compiles", lambda size, device: True)
    monkeypatch.setattr(pooling._AvgPool2D, "apply", used.append)
    x = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert torch.equal(pooling.Halving()(x), nn.AvgPool2d(2)(x))
    assert used == []
    assert str(pooling.Halving()) == str(nn.AvgPool2d(2))
