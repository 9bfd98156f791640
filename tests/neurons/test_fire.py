"""`fire` against theory and against a neuron written step by step, differentiated through time by autograd."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_neurons import NORMALISED, currents, neurons, stepwise, surrogates
from torch import Tensor

from robustsnn.ground.errors import UserError
from robustsnn.neurons import IF, LIF, RGA, STBP, Sigmoid, Triangle, fire


def both(current: Tensor, upstream: Tensor, neuron: LIF, surrogate: Any) -> list[tuple[Tensor, Tensor]]:
    """(spikes, gradient) by `fire`, then by the reference."""
    results = []
    for run in (
        lambda x: fire(x, len(upstream), neuron, STBP(surrogate)),
        lambda x: stepwise(x, len(upstream), neuron, lambda _, v: surrogate.slope(v)),
    ):
        leaf = current.clone().requires_grad_()
        spikes = run(leaf)
        (gradient,) = torch.autograd.grad(spikes, leaf, upstream)
        results.append((spikes.detach(), gradient))
    return results


@st.composite
def drives(draw):
    """A neuron, a surrogate and steps with shape and seed of random currents."""
    shape = draw(st.lists(st.integers(1, 4), min_size=0, max_size=4))
    return draw(neurons()), draw(surrogates()), draw(st.integers(1, 7)), tuple(shape), draw(st.integers(0, 2**20))


@settings(deadline=None, max_examples=120)
@given(drive=drives())
def test_fire_equals_the_stepwise_neuron_in_float64(drive):
    neuron, surrogate, steps, shape, seed = drive
    (spikes, gradient), (expected_spikes, expected) = both(
        *currents(neuron, steps, shape, seed, torch.float64), neuron, surrogate
    )
    assert torch.equal(spikes, expected_spikes)
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13 * max(1, expected.abs().max().item()))


@settings(deadline=None, max_examples=60)
@given(drive=drives())
def test_fire_equals_the_stepwise_neuron_in_float32(drive):
    neuron, surrogate, steps, shape, seed = drive
    (spikes, gradient), (expected_spikes, expected) = both(
        *currents(neuron, steps, shape, seed, torch.float32), neuron, surrogate
    )
    assert torch.equal(spikes, expected_spikes)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))


def test_the_reference_tells_reset_leak_gain_and_detaching_apart():
    """The comparisons above can fail: each property of a neuron changes spikes or gradient of these currents."""
    plain = LIF(tau=0.5)
    current, upstream = currents(plain, 6, (50,), 0, torch.float64)
    surrogate = Triangle()
    base = both(current, upstream, plain, surrogate)[0]
    for other in (
        LIF(tau=0.6),
        LIF(tau=0.5, theta=1.1),
        LIF(tau=0.5, decay_input=True),
        LIF(tau=0.5, reset="soft"),
        LIF(tau=0.5, detach_reset=True),
    ):
        spikes, gradient = both(current, upstream, other, surrogate)[1]
        assert torch.equal(spikes, base[0]) == other.detach_reset
        assert not torch.allclose(gradient, base[1])


@settings(deadline=None, max_examples=60)
@given(drive=drives(), rule=st.sampled_from(["stbp", "rga"]))
def test_a_constant_current_equals_the_repeated_one(drive, rule):
    neuron, surrogate, steps, shape, seed = drive
    current, upstream = currents(neuron, steps, shape, seed, torch.float64)
    if rule == "rga":  # off the multiples of theta / 2: RGA jumps there, and a mean of equal numbers is rounded
        current = current + 0.01234567 * neuron.theta / neuron.gain
    rule = STBP(surrogate) if rule == "stbp" else RGA()
    once = current[:1].clone().requires_grad_()
    repeated = current[:1].repeat(steps, *[1] * len(shape)).requires_grad_()
    spikes, expected_spikes = fire(once, steps, neuron, rule), fire(repeated, steps, neuron, rule)
    assert torch.equal(spikes, expected_spikes)
    (gradient,) = torch.autograd.grad(spikes, once, upstream)
    (every,) = torch.autograd.grad(expected_spikes, repeated, upstream)
    assert gradient.shape == once.shape
    scale = max(1, every.abs().max().item())
    torch.testing.assert_close(gradient, every.sum(0, keepdim=True), rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("theta", [1.0, 0.7, 0.1, 3.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_potential_equal_to_the_threshold_fires(theta, dtype):
    at = torch.tensor(theta, dtype=dtype)
    below = torch.nextafter(at, torch.zeros_like(at))
    current = torch.stack([at, below])[None]
    assert fire(current, 1, IF(theta=theta), STBP()).tolist() == [[1, 0]]
    # Reached by integration: half and half.
    halves = torch.stack([at / 2, at / 2])[:, None]
    assert fire(halves, 2, IF(theta=theta), STBP()).tolist() == [[0], [1]]


@given(sixteenths=st.integers(-8, 40), steps=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_if_neurons_count_a_constant_current(sixteenths, steps):
    """Soft reset: min(1, I / theta) spikes per step, rounded down. Hard reset: one in ceil(theta / I) steps."""
    current = torch.full((1, 1), sixteenths / 16)
    soft = fire(current, steps, IF(reset="soft"), STBP())[:, 0].cumsum(0).tolist()
    hard = fire(current, steps, IF(reset="hard"), STBP())[:, 0].tolist()
    if sixteenths <= 0:
        assert soft == hard == [0.0] * steps
        return
    assert soft == [min(t, t * sixteenths // 16) for t in range(1, steps + 1)]
    period = math.ceil(16 / sixteenths)
    assert hard == [float(t % period == 0) for t in range(1, steps + 1)]


@given(tau=st.floats(0.1, 0.95), share=st.floats(1.05, 5))
@settings(deadline=None, max_examples=60)
def test_a_leaky_neuron_fires_when_its_charge_curve_meets_the_threshold(tau, share):
    """With a constant current u[t] = k I (1 - tau^t) / (1 - tau) until the first spike; below the asymptote: never."""
    for decay_input in (False, True):
        neuron = LIF(tau=tau, decay_input=decay_input)
        asymptote = neuron.gain / (1 - tau)
        steps = 100
        silent = fire(torch.full((1, 1), 0.999 / asymptote, dtype=torch.float64), steps, neuron, STBP())
        assert silent.sum() == 0
        current = share / asymptote
        first = math.log(1 - 1 / share) / math.log(tau)
        spikes = fire(torch.full((1, 1), current, dtype=torch.float64), steps, neuron, STBP())
        if abs(first - round(first)) > 1e-6:
            assert spikes[:, 0].argmax().item() + 1 == math.ceil(first)
        potentials = [u.item() for u, _ in neuron.run(torch.full((1, 1), current, dtype=torch.float64), steps)]
        for t in range(math.floor(first)):
            assert potentials[t] == pytest.approx(current * neuron.gain * (1 - tau ** (t + 1)) / (1 - tau), rel=1e-9)


@pytest.mark.parametrize("constant", [4.0, 2.0])
def test_a_time_constant_is_one_over_the_forgotten_share(constant):
    """The convention u += (I - u) / c is tau = 1 - 1/c with a leaked current."""
    current, _ = currents(LIF(), 30, (40,), 3, torch.float64)
    current = current * 3
    voltage, train = torch.zeros(40, dtype=torch.float64), []
    for step in current:
        voltage = voltage + (step - voltage) / constant
        train.append((voltage >= 1).double())
        voltage = voltage * (1 - train[-1])
    spikes = fire(current, 30, LIF(tau=1 - 1 / constant, decay_input=True), STBP())
    assert torch.equal(spikes, torch.stack(train))
    assert 0.05 < spikes.mean() < 0.95


@pytest.mark.parametrize("kind", NORMALISED, ids=lambda kind: kind.__name__)
def test_one_step_of_stbp_is_the_slope_itself(kind):
    surrogate = kind(1.5)
    neuron = LIF(tau=0.75, theta=0.8, decay_input=True)
    current = torch.linspace(-5, 9, 101, dtype=torch.float64)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(fire(current, 1, neuron, STBP(surrogate)).sum(), current)
    torch.testing.assert_close(gradient, 0.25 * surrogate.slope(0.25 * current.detach() - 0.8))


@pytest.mark.parametrize("neuron", [IF(), LIF(tau=0.7), IF(reset="soft")], ids=str)
def test_silent_and_saturated_neurons_have_no_gradient_under_the_triangle(neuron):
    """All potentials at least one width from the threshold: exactly zero, not merely small."""
    draws = torch.Generator().manual_seed(0)
    silent = -3 * torch.rand(5, 100, generator=draws)
    saturated = 2 + torch.rand(5, 100, generator=draws)
    live = torch.rand(5, 100, generator=draws)
    for current, spiking in ((silent, 0), (saturated, 1)):
        current.requires_grad_()
        spikes = fire(current, 5, neuron, STBP(Triangle()))
        (gradient,) = torch.autograd.grad(spikes.sum(), current)
        assert (spikes == spiking).all()
        assert not gradient.any()
    live.requires_grad_()
    (gradient,) = torch.autograd.grad(fire(live, 5, neuron, STBP(Triangle())).sum(), live)
    assert gradient.abs().mean() > 0.1


@settings(deadline=None, max_examples=40)
@given(tau=st.floats(0.05, 1), theta=st.floats(0.2, 3), gamma=st.floats(0.05, 0.3), decay=st.booleans())
def test_the_rate_of_rga_rises_from_zero_to_one_over_two_thresholds(tau, theta, gamma, decay):
    """Slopes integrate to r(2 theta) = 1, whatever the parameters; outside [0, 2 theta] they vanish."""
    neuron = LIF(tau=tau, theta=theta, decay_input=decay and tau < 1)
    mean = torch.linspace(-theta, 3 * theta, 8001, dtype=torch.float64)
    current = (mean / neuron.gain)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(fire(current, 4, neuron, RGA(gamma)).sum() / 4, current)
    slope = gradient[0] / neuron.gain
    assert torch.trapezoid(slope, mean).item() == pytest.approx(1, abs=3e-3)
    assert not slope[(mean < -1e-9) | (mean > 2 * theta + 1e-9)].any()
    knee = (1 - tau) * theta
    assert (slope[(mean > 1e-9) & (mean < knee - 1e-9)] - gamma).abs().max().item() < 1e-12 if knee > 1e-3 else True


def layouts(x: Tensor) -> dict[str, Tensor]:
    """`[T, B, C, H, W]` with the same values in different memory orders."""
    steps, batch, *_ = x.shape
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    wide[..., ::2] = x
    return {
        "contiguous": x.contiguous(),
        "channels_last": x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (steps, batch)),
        "batch_first": x.transpose(0, 1).contiguous().transpose(0, 1),
        "reversed": x.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0),
        "time_last": x.permute(1, 2, 3, 4, 0).contiguous().permute(4, 0, 1, 2, 3),
        "slice": wide[..., ::2],
        "offset": torch.cat([torch.ones(1, *x.shape[1:], dtype=x.dtype), x])[1:],
    }


def trailing_order(x: Tensor) -> list[int]:
    """The dimensions after time from slow to fast in memory."""
    return sorted(range(1, x.ndim), key=lambda d: -x.stride(d))


@pytest.mark.parametrize("rule", [STBP(), STBP(Sigmoid()), RGA()], ids=["triangle", "sigmoid", "rga"])
@pytest.mark.parametrize("constant", [False, True])
def test_memory_layouts_change_nothing_and_stay(rule, constant):
    neuron = LIF(tau=0.8)
    current, upstream = currents(neuron, 3, (2, 4, 5, 6), 7, torch.float32)
    if constant:
        current = current[:1]
    base = None
    combinations = itertools.product(layouts(current).items(), layouts(upstream).items())
    for (name, x), (_, g) in combinations:
        assert torch.equal(x, current)
        x = x.detach().requires_grad_()
        spikes = fire(x, 3, neuron, rule)
        (gradient,) = torch.autograd.grad(spikes, x, g)
        if base is None:
            base = (spikes.detach().clone(), gradient.clone())
        assert torch.equal(spikes, base[0]), name
        # Torch's sigmoid rounds by whether an element falls into a whole vector register.
        assert torch.equal(gradient, base[1]) or rule == STBP(Sigmoid()), name
        torch.testing.assert_close(gradient, base[1], rtol=1e-6, atol=1e-6)
        assert trailing_order(spikes) == trailing_order(gradient) == trailing_order(x)
        if name in ("contiguous", "channels_last") and not constant:
            assert spikes.stride() == gradient.stride() == x.stride()


def test_expanded_currents_and_upstreams_are_read_as_they_are():
    neuron = LIF(tau=0.8)
    current, upstream = currents(neuron, 3, (1, 4, 5), 8, torch.float32)
    results = []
    for copy in (False, True):
        x, g = current.expand(3, 6, 4, 5), upstream[:1, :, :, :1].expand(3, 6, 4, 5)
        if copy:
            x, g = x.contiguous(), g.contiguous()
        x = x.detach().requires_grad_()
        spikes = fire(x, 3, neuron, STBP())
        results.append((spikes.detach(), *torch.autograd.grad(spikes, x, g)))
    for ours, copied in zip(*results, strict=True):
        assert torch.equal(ours, copied)
    x = current.clone().requires_grad_()
    fire(x, 3, neuron, STBP()).sum().backward()  # the gradient of a sum is expanded from one number
    (explicit,) = torch.autograd.grad(fire(x, 3, neuron, STBP()), x, torch.ones_like(x))
    assert x.grad is not None
    assert torch.equal(x.grad, explicit)


@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_only_the_current_is_saved_and_that_without_a_copy(name):
    current, _ = currents(IF(), 4, (2, 3, 4, 4), 0, torch.float32)
    current = layouts(current)[name].requires_grad_()
    spikes = fire(current, 4, IF(), STBP())
    (saved,) = spikes.grad_fn.saved_tensors  # type: ignore[union-attr]
    assert saved.data_ptr() == current.data_ptr()
    assert saved.numel() == current.numel()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1, 1)])
def test_odd_shapes(shape):
    current, upstream = currents(IF(), 3, shape, 0, torch.float32)
    (spikes, gradient), (expected_spikes, expected) = both(current, upstream, IF(), Triangle())
    assert spikes.shape == gradient.shape == (3, *shape)
    assert torch.equal(spikes, expected_spikes)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", [STBP(Sigmoid()), RGA()], ids=["stbp", "rga"])
def test_half_precision_currents_have_float32_membranes(dtype, rule):
    neuron = LIF(tau=0.7)
    current, upstream = currents(neuron, 8, (8000,), 1, torch.float32)
    current, upstream = current.to(dtype), upstream.to(dtype)
    narrow = current.clone().requires_grad_()
    wide = current.float().requires_grad_()
    spikes, expected = fire(narrow, 8, neuron, rule), fire(wide, 8, neuron, rule)
    assert spikes.dtype == dtype
    assert torch.equal(spikes.float(), expected)
    (gradient,) = torch.autograd.grad(spikes, narrow, upstream)
    (wide_gradient,) = torch.autograd.grad(expected, wide, upstream.float())
    assert gradient.dtype == dtype
    assert torch.equal(gradient, wide_gradient.to(dtype))
    assert all(u.dtype == torch.float32 for u, _ in neuron.run(narrow, 8))
    # A membrane in the dtype of the current would fire otherwise.
    assert not torch.equal(stepwise(current, 8, neuron, lambda _, v: Sigmoid().slope(v)).float(), expected)


@pytest.mark.parametrize("rule", [STBP(), RGA()], ids=["stbp", "rga"])
def test_inputs_are_not_modified_and_nothing_is_remembered(rule):
    neuron = LIF(tau=0.6, reset="soft")
    current, upstream = currents(neuron, 4, (30,), 5, torch.float32)
    leaf, before, upstream_before = current.requires_grad_(), current.detach().clone(), upstream.clone()
    runs = []
    for _ in range(2):
        spikes = fire(leaf, 4, neuron, rule)
        kept = spikes.detach().clone()
        runs.append((kept, torch.autograd.grad(spikes, leaf, upstream)[0]))
        assert torch.equal(spikes, kept)
    assert torch.equal(leaf, before)
    assert torch.equal(upstream, upstream_before)
    assert leaf._version == upstream._version == 0
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


def test_detaching_the_reset_leaves_the_forward_pass_alone():
    for reset, tau in itertools.product(("hard", "soft"), (1.0, 0.7)):
        current, _ = currents(IF(), 6, (200,), 2, torch.float32)
        attached, detached = (LIF(tau=tau, reset=reset, detach_reset=flag) for flag in (False, True))
        assert torch.equal(fire(current, 6, attached, STBP()), fire(current, 6, detached, STBP()))


def test_a_current_changed_after_the_forward_pass_is_noticed():
    leaf = torch.rand(3, 4, requires_grad=True)
    current = leaf * 1
    spikes = fire(current, 3, IF(), STBP())
    with torch.no_grad():
        current.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        spikes.sum().backward()


@pytest.mark.parametrize("given_steps", [2, 4, 0])
def test_another_number_of_steps_is_refused(given_steps):
    with pytest.raises(ValueError, match=f"current has {given_steps} time steps, expected 3"):
        fire(torch.zeros(given_steps, 5), 3, IF(), STBP())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 0}, "tau"),
        ({"tau": -0.5}, "tau"),
        ({"tau": 2.0}, "time constant"),
        ({"tau": math.nan}, "tau"),
        ({"theta": 0}, "threshold"),
        ({"theta": -1}, "threshold"),
        ({"theta": math.inf}, "theta=inf"),
        ({"theta": math.nan}, "theta=nan"),
        ({"tau": 1, "decay_input": True}, "ignore its input"),
        ({"reset": "none"}, "'hard', 'soft'"),
    ],
)
def test_impossible_neurons_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        LIF(**arguments)


def test_neurons_and_rules_are_values():
    assert IF(theta=2.0, reset="soft", detach_reset=True) == LIF(tau=1.0, theta=2.0, reset="soft", detach_reset=True)
    assert hash(LIF(tau=0.5)) == hash(LIF(tau=0.5))
    assert LIF(tau=0.5) != LIF(tau=0.5, decay_input=True)
    assert STBP() == STBP(Triangle(1.0)) != STBP(Triangle(2.0))
    assert hash(RGA()) == hash(RGA(0.2))
    assert LIF(tau=0.75, decay_input=True).gain == 0.25
    assert LIF(tau=0.75).gain == 1
