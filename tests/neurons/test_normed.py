"""Batch norm and neurons in one, against one after the other."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn.ground.modes import batch_statistics
from robustsnn.neurons import BPTR, HART, IF, LIF, PDSG, RGA, STBP, Arctan, Neurons, compilation, normed
from robustsnn.neurons import fused as fused_module
from robustsnn.neurons.normed import fire_normed, fusable

NEURONS = [IF(), LIF(tau=0.5), LIF(tau=0.5, decay_input=True), IF(reset="soft"), LIF(tau=0.9, detach_reset=True)]
RULES = [STBP(), STBP(Arctan(2.0)), HART(), RGA(), BPTR(), PDSG()]


def made(neuron, rule, *, constant=False, training=True, dtype=torch.float32, seed=0, steps=4):
    """(norm, neurons, x, upstream): channels last in memory, statistics away from zero and one."""
    draws = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(5).train(training)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(5, generator=draws) + 0.3)
    x = torch.randn((1 if constant else steps, 3, 4, 2, 5), generator=draws).permute(0, 1, 4, 2, 3).to(dtype)
    upstream = torch.randn((steps, 3, 5, 4, 2), generator=draws).to(dtype)
    return norm, Neurons(neuron, steps, rule), x, upstream


def plain(norm, neurons, x):
    return neurons(norm(x.flatten(0, 1)).unflatten(0, x.shape[:2]))


def both(norm, neurons, x, upstream):
    """(spikes, dx, dgamma, dbeta, buffers) of the fused and of the plain way."""
    found = []
    for way in (fire_normed, plain):
        own, leaf = copy.deepcopy(norm), x.clone(memory_format=torch.preserve_format).requires_grad_()
        spikes = way(own, neurons, leaf)
        gradients = torch.autograd.grad(spikes, (leaf, own.weight, own.bias), upstream)
        found.append((spikes.detach(), *gradients, *own.buffers()))
    return found


def close(one, other, tolerance=1e-4):
    scale = other.double().abs().max().clamp_min(1e-3)
    return bool(((one.double() - other.double()).abs().max() / scale) < tolerance)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NEURONS),
    st.sampled_from(RULES),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10),
    st.integers(1, 6),
)
def test_spikes_gradients_and_statistics_are_those_of_norm_and_neurons(neuron, rule, constant, training, seed, steps):
    fused, apart = both(*made(neuron, rule, constant=constant, training=training, seed=seed, steps=steps))
    # The current differs by a rounding, so a potential within one of the threshold may fire on one way alone.
    if torch.equal(fused[0], apart[0]):
        assert all(close(a, b) for a, b in zip(fused[1:4], apart[1:4], strict=True))
    else:
        assert (fused[0] != apart[0]).float().mean() < 0.02
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(fused[4:], apart[4:], strict=True))


def test_statistics_are_those_of_float64_up_to_a_rounding():
    """Far from zero too, where sums of squares cancel; torch's own, summed in float32, are not as near."""
    x = torch.randn((2, 64, 32, 32, 3), generator=torch.Generator().manual_seed(0)).permute(0, 1, 4, 2, 3)
    for shift in (0.0, 30.0):
        mean, var, *_ = normed._of_the_batch(1e-5, normed._images(x + shift), torch.ones(3), torch.zeros(3))
        exact = (x + shift).double()
        assert ((mean - exact.mean((0, 1, 3, 4))).abs() < 3e-7 * (1 + shift)).all()
        assert ((var - exact.var((0, 1, 3, 4), correction=0)).abs() < 2e-6).all()


def test_the_property_above_compares_gradients_nearly_always():
    equal = [torch.equal(*(f[0] for f in both(*made(IF(), STBP(), seed=seed)))) for seed in range(11)]
    assert sum(equal) >= 9


def test_without_gradients_of_the_parameters_that_to_the_input_is_the_same():
    for training, rule in ((True, STBP()), (False, STBP()), (False, PDSG())):
        norm, neurons, x, upstream = made(LIF(0.5), rule, training=training)
        (_, wanted, *_), _ = both(norm, neurons, x, upstream)
        norm.requires_grad_(False)
        leaf = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(fire_normed(norm, neurons, leaf), leaf, upstream)
        assert close(found, wanted, 1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_a_second_derivative_is_that_of_norm_and_neurons(training):
    norm, neurons, x, upstream = made(IF(), STBP(Arctan(2.0)), training=training)
    found = []
    for way in (fire_normed, plain):
        own, leaf = copy.deepcopy(norm), x.clone().requires_grad_()
        (first,) = torch.autograd.grad(way(own, neurons, leaf), leaf, upstream, create_graph=True)
        found.append(torch.autograd.grad(first.abs().sum(), (leaf, own.weight, own.bias), allow_unused=True))
    assert all(close(a, b) for a, b in zip(*found, strict=True) if a is not None and b is not None)
    assert found[0][0] is not None
    assert bool(found[0][0].any())


def test_batch_statistics_leave_the_running_ones():
    norm, neurons, x, _ = made(IF(), STBP(), training=False)
    before = [b.clone() for b in norm.buffers()]
    with batch_statistics(norm):
        spikes = fire_normed(norm, neurons, x)
        wanted = plain(norm, neurons, x)
    assert torch.equal(spikes, wanted)
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))
    assert not torch.equal(spikes, fire_normed(norm, neurons, x))


def test_bfloat16_currents_are_not_rounded():
    """The plain way rounds the norm's output to bfloat16 before it is integrated; in one there is nothing to round."""
    norm, neurons, x, _ = made(IF(), STBP(), training=False, dtype=torch.bfloat16, seed=3)
    wide = plain(norm, neurons, x.float())
    assert torch.equal(fire_normed(norm, neurons, x).float(), wide)
    assert fire_normed(norm, neurons, x).dtype == torch.bfloat16


@pytest.fixture
def compiled_world(monkeypatch):
    """As if there were a compiler: nothing is compiled here, but chosen as if it were."""
    monkeypatch.setattr(fused_module, "compiler_available", lambda device: True)


def test_what_replaces_a_forward_is_not_passed_by(monkeypatch):
    monkeypatch.setattr(normed, "compiles", lambda *_: True)
    norm, neurons, x, _ = made(IF(), STBP())
    assert fusable(norm, neurons, x)
    neurons.forward = lambda current: current
    assert not fusable(norm, neurons, x)
    del neurons.forward
    with normed.apart():
        assert not fusable(norm, neurons, x)
    with normed.apart(False):
        assert fusable(norm, neurons, x)


def test_a_pass_in_eval_mode_can_be_differentiated_after_one_in_train_mode():
    norm, neurons, x, upstream = made(IF(), STBP(), training=False)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(fire_normed(norm, neurons, leaf), leaf, upstream)
    spikes = fire_normed(norm, neurons, leaf)
    fire_normed(norm.train(), neurons, x)
    (found,) = torch.autograd.grad(spikes, leaf, upstream)
    assert torch.equal(found, wanted)


@pytest.mark.usefixtures("compiled_world")
def test_what_is_fused():
    norm, neurons, x, _ = made(IF(), STBP())
    with compilation("always"):
        assert fusable(norm, neurons, x)
        assert not fusable(norm, neurons, x.contiguous())
        assert not fusable(norm, neurons, x.double())
        assert fusable(norm, Neurons(IF(), 4, PDSG()), x), "logits must be the same under every rule"
        assert not fusable(nn.BatchNorm2d(5, affine=False), neurons, x)
        assert not fusable(nn.BatchNorm2d(5, momentum=None), neurons, x)
        assert not fusable(type("Other", (nn.BatchNorm2d,), {})(5), neurons, x)
        hook = neurons.register_forward_pre_hook(lambda *_: None)
        assert not fusable(norm, neurons, x)
        hook.remove()
        assert fusable(norm, neurons, x)
    with compilation("never"):
        assert not fusable(norm, neurons, x)
    assert not fusable(norm, neurons, x), "small layers run eagerly, apart"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
def test_compiled_kernels_give_the_same():
    norm, neurons, x, upstream = made(IF(), STBP(), seed=1)
    with compilation("always"):
        fused, apart = both(norm, neurons, x, upstream)
    assert torch.equal(fused[0], apart[0])
    assert all(close(a, b) for a, b in zip(fused[1:4], apart[1:4], strict=True))
