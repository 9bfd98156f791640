"""Phase and latency codes against reference vectors and integer arithmetic."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.encoders import BPDA, Latency, Phase, Rate

GOLDEN = np.load(Path(__file__).parents[1] / "data_golden" / "encoders_spikingjelly.npz")
GREYS = torch.arange(256).view(1, 1, 16, 16)


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def test_phase_is_the_reference():
    x, spikes = golden("phase_input"), golden("phase_K8_T10")
    assert spikes.shape == (10, 1, 1, 16, 16)
    assert torch.equal(Phase(10, 8, weighted=False)(x), spikes)
    omega = torch.tensor([2.0 ** -(1 + t % 8) for t in range(10)]).view(-1, 1, 1, 1, 1)
    assert torch.equal(Phase()(x), omega * spikes)


def test_latency_is_the_reference():
    assert torch.equal(Latency(10)(golden("latency_input")), golden("latency_T10"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grey_levels_of_8_bits_have_the_digits_of_their_integer(dtype):
    x = (GREYS.float() / 255).to(dtype)
    assert torch.equal(Phase(10, 8, weighted=False)(x), golden("phase_K8_T10").to(dtype))
    assert torch.equal(Phase(8)(x).sum(0), GREYS.to(dtype) / 256)
    # Nor do they change for the rounding errors of a few operations on pixels.
    for nearby in (x - 3e-7, x + 3e-7):
        assert torch.equal(Phase(10, 8)(nearby)[:, :, :, 1:], Phase(10, 8)(x)[:, :, :, 1:])


@pytest.mark.parametrize("period", [1, 3, 8, 11, 16])
def test_digits_of_any_length_by_integers(period):
    x = GREYS.float() / 255
    level = (GREYS * 2**period // 255).clamp(max=2**period - 1)
    spikes = Phase(period + 2, period, weighted=False)(x)
    for t in range(period + 2):
        assert torch.equal(spikes[t], (level >> (period - 1 - t % period) & 1).float())


@given(st.floats(0, 1, width=32), st.integers(1, 16))
@settings(deadline=None)
def test_a_period_adds_up_to_the_pixel_rounded_down(pixel, period):
    total = Phase(period, period)(torch.full((1, 1, 1, 1), pixel, dtype=torch.float64)).sum().item()
    assert total * 2**period == min(int(pixel * 2**period), 2**period - 1)


@pytest.mark.parametrize("period", [1, 2, 8])
@pytest.mark.parametrize("weighted", [True, False])
def test_slopes_are_those_of_the_least_squares_lines(period, weighted):
    # The midpoints of all cells are the uniform distribution, as far as the digits can tell.
    x = ((torch.arange(2**period, dtype=torch.float64) + 0.5) / 2**period).view(-1, 1, 1, 1).requires_grad_()
    encoder = Phase(period, period, weighted)
    code = encoder(x)
    centred = x.detach().flatten() - 0.5
    fitted = code.detach().flatten(1) @ centred / (centred @ centred)
    slopes = torch.stack([torch.autograd.grad(step.sum(), x, retain_graph=True)[0].flatten() for step in code])
    torch.testing.assert_close(slopes, fitted[:, None].expand_as(slopes), rtol=1e-12, atol=1e-12)


def test_another_rule_by_composition():
    x = torch.rand(2, 1, 4, 4, requires_grad=True)
    plain = BPDA(Phase(10), lambda x: x.expand(10, *x.shape))
    assert torch.equal(plain(x), Phase(10)(x))
    (gradient,) = torch.autograd.grad(plain(x).sum(), x)
    assert torch.equal(gradient, torch.full_like(x, 10))


@pytest.mark.parametrize("steps", [2, 3, 8, 10, 33])
def test_spike_times_by_integers(steps):
    code = Latency(steps)(GREYS.float() / 255)
    assert torch.equal(code.sum(0), torch.ones(1, 1, 16, 16))
    # round(a / 255) = floor((2 a + 255) / 510): 2 a is never an odd multiple of 255.
    assert torch.equal(code.argmax(0), (2 * (steps - 1) * (255 - GREYS) + 255) // 510)


@pytest.mark.parametrize("steps", [2, 10])
def test_latency_is_differentiated_as_the_line_between_two_steps(steps):
    u = torch.tensor([0.0, 0.3, 0.5, 0.7]) + (steps - 2)
    x = (1 - u.double() / (steps - 1)).view(1, 1, 1, 4).requires_grad_()
    code = Latency(steps)(x)
    slopes = torch.stack([torch.autograd.grad(step.sum(), x, retain_graph=True)[0].flatten() for step in code])
    expected = torch.zeros(steps, 4, dtype=torch.float64)
    expected[-2], expected[-1] = steps - 1, 1 - steps
    assert torch.equal(slopes, expected)


@pytest.mark.parametrize("steps", [1, 2, 5, 8, 100])
def test_even_spikes_by_integers(steps):
    code = Rate(steps)(GREYS.float() / 255)
    counts = (2 * steps * GREYS + 255) // 510
    assert set(code.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(code.sum(0), counts.float())
    # Evenly: in no stretch of steps does the number of spikes differ from its share by one or more.
    partial = torch.cat([torch.zeros(1, 1, 1, 16, 16), code.cumsum(0)])
    ahead = partial - torch.arange(steps + 1).view(-1, 1, 1, 1, 1) * counts / steps
    assert (ahead.amax(0) - ahead.amin(0)).max() < 1
