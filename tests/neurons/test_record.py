"""Recording: the pass is untouched, and the potentials are those of the pass, with its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import images, spiking
from robustsnn.ground.errors import UserError
from robustsnn.neurons import PDSG, gradient_rule, neuron_layers, recording


def test_passes_are_bit_identical_and_all_layers_are_recorded_in_order():
    model, x = spiking(), images(4, (1, 8, 8))
    expected = model(x)
    with recording(model) as records:
        found = model(x)
        assert len(records) == 3
        model(x)
    assert torch.equal(found, expected)
    assert [record.layer for record in records] == neuron_layers(model) * 2
    assert all(model.get_submodule(record.name) is record.layer for record in records)
    model(x)
    assert len(records) == 6


def test_the_trace_is_that_of_the_pass():
    model, x = spiking(), images(4, (1, 8, 8))
    outputs = []
    hooks = [layer.register_forward_hook(lambda m, i, o: outputs.append(o)) for layer in neuron_layers(model)]
    with recording(model) as records, torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    for record, output in zip(records, outputs, strict=True):
        trace = list(record.trace())
        assert torch.equal(torch.stack([spike for _, spike in trace]), output)
        assert all(torch.equal(spike, (u >= record.layer.neuron.theta).float()) for u, spike in trace)
        assert trace[0][0].shape == record.current.shape[1:]


def test_spikes_of_a_trace_have_the_gradient_of_the_layer():
    model, x = spiking(), images(4, (1, 8, 8)).requires_grad_()
    with recording(model) as records:
        model(x)
    record = records[1]
    upstream = torch.randn(3, *record.current.shape[1:], generator=torch.Generator().manual_seed(0))
    (expected,) = torch.autograd.grad(record.layer(record.current), x, upstream, retain_graph=True)
    (found,) = torch.autograd.grad(torch.stack([spike for _, spike in record.trace()]), x, upstream)
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_hooks_are_gone_after_an_exception():
    model = spiking()
    with pytest.raises(KeyError), recording(model):
        raise KeyError
    assert not any(layer._forward_pre_hooks for layer in neuron_layers(model))


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(UserError, match="nothing to record"), recording(nn.Linear(2, 2)):
        pass
    model, x = spiking(), images(2, (1, 8, 8)).requires_grad_()
    with gradient_rule(model, PDSG()), recording(model) as records:
        model(x)
        with pytest.raises(UserError, match="PDSG"):
            next(records[0].trace())
        with torch.no_grad():
            next(records[0].trace())


def test_a_current_without_gradient_needs_no_surrogate():
    model, x = spiking(), images(4, (1, 8, 8))
    with gradient_rule(model, PDSG()), recording(model) as records, torch.no_grad():
        model(x)
        assert torch.is_grad_enabled() is False
        with torch.enable_grad():  # what counts is the current, not the mode
            assert all(len(list(record.trace())) == record.layer.steps for record in records)
