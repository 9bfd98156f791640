"""The spikes saved for the report are those of the network at the two images, counted independently."""

from __future__ import annotations

import numpy as np
import torch

from helpers import Linear, images, spiking
from robustsnn.attacks import fgsm
from robustsnn.attacks.suites import Suite
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation import pictures
from robustsnn.evaluation.spike_maps import LAYERS, NEURONS, SIDE, STEPS, observe, spike_maps
from robustsnn.models import Encoded
from robustsnn.neurons import Neurons


def outputs(model, x):
    """Name -> output of each neuron layer, by hooks of the test's own."""
    found, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, Neurons):
            hooks.append(module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out})))
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


def problem(n=4):
    model = spiking()
    x = (255 * images(n, (1, 8, 8))).to(torch.uint8)
    return model, ImageSet(x, model(x / 255).argmax(1), ("a", "b", "c", "d"), "test")


def test_observed_spikes_are_the_outputs_of_the_layers():
    model, x = spiking(), images(5, (1, 8, 8))
    logits, observed = observe(model, model, x)
    expected = outputs(model, x)
    torch.testing.assert_close(logits, model(x).detach())
    assert [name for name, _ in observed] == list(expected)  # this network has three
    for name, fired in observed:
        assert torch.equal(fired.float(), expected[name])
    _, behind = observe(model, Encoded(model), Encoded(model).encode(x))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(observed, behind, strict=True))


def test_pictures_hold_rates_probabilities_and_what_changed():
    model, data = problem()
    suite = Suite("one", (("FGSM", (fgsm(0.2),)),))
    found = pictures(model, data, suite, count=4)
    clean, attacked = torch.from_numpy(found["image"]), torch.from_numpy(found["adversarial"])
    for name, x in (("probability", clean), ("probability_adversarial", attacked)):
        np.testing.assert_allclose(found[name], model(x).softmax(1).detach(), atol=1e-6)
    before, after = outputs(model, clean), outputs(model, attacked)
    assert found["spike_layers"].tolist() == list(before)
    for i, name in enumerate(before):
        for part, spikes in (("clean", before[name]), ("attacked", after[name])):
            mean = spikes.mean(2) if spikes.ndim == 5 else spikes
            np.testing.assert_array_equal(found[f"spikes{i}_{part}"], np.round(255 * mean.transpose(0, 1).numpy()))
        assert found[f"spikes{i}_shape"].tolist() == list(before[name].shape[2:])
        assert found[f"spikes{i}_steps"].tolist() == [1, 2, 3]
        for k in range(4):
            changed = (before[name][:, k] != after[name][:, k]).float().mean()
            np.testing.assert_allclose(found[f"spikes{i}_changed"][k], changed, atol=1e-6)
            rates = [float(part[name][:, k].mean()) for part in (before, after)]
            np.testing.assert_allclose(found[f"spikes{i}_rate"][k], rates, atol=1e-6)
    assert max(found[f"spikes{i}_changed"].max() for i in range(3)) > 0


def test_large_layers_are_reduced_and_their_rates_are_not():
    draws = torch.Generator().manual_seed(0)
    fired = torch.rand(30, 2, 3, 64, 64, generator=draws) < 0.3
    flat = torch.rand(30, 2, 500, generator=draws) < 0.3
    one = torch.rand(30, 2, 500, 1, 1, generator=draws) < 0.3  # a layer after global pooling has no pixels either
    found = spike_maps([("a", fired), ("b", flat), ("c", one)], [("a", ~fired), ("b", flat), ("c", one)])
    assert found["spikes0_clean"].shape == (2, STEPS, SIDE, SIDE)
    assert found["spikes1_clean"].shape == found["spikes2_clean"].shape == (2, STEPS, NEURONS)
    assert set(np.unique(found["spikes1_clean"])) == {0, 255}
    steps = found["spikes0_steps"]
    assert (steps[0], steps[-1], len(set(steps.tolist()))) == (1, 30, STEPS)
    blocks = fired[steps - 1].float().mean(2).reshape(STEPS, 2, SIDE, 2, SIDE, 2).mean((3, 5)).transpose(0, 1)
    np.testing.assert_array_equal(found["spikes0_clean"], (255 * blocks).round())
    np.testing.assert_allclose(found["spikes0_rate"][:, 0], fired.float().mean((0, 2, 3, 4)), atol=1e-6)
    np.testing.assert_allclose(found["spikes0_changed"], 1)
    np.testing.assert_allclose(found["spikes1_changed"], 0)


def test_of_many_layers_the_first_the_middle_and_the_last_are_kept():
    class Deep(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(spiking().body[1] for _ in range(5))

        def forward(self, x):
            time = x[None].expand(3, *x.shape)
            for part in self.layers:
                time = part(time)
            return time.mean(0).flatten(1)[:, :4]

    _, observed = observe(Deep(), Deep(), images(2, (1, 8, 8)))
    assert observed == []  # nothing was recorded: the view is another network
    model = Deep()
    _, observed = observe(model, model, images(2, (1, 8, 8)))
    assert [name for name, _ in observed] == ["layers.0", "layers.2", "layers.4"]
    assert len(observed) == LAYERS


def test_a_network_without_neurons_loses_nothing_else():
    model = Linear(3)
    x = (255 * images(3)).to(torch.uint8)
    data = ImageSet(x, torch.arange(3), ("a", "b", "c"), "test")
    found = pictures(model, data, Suite("one", (("FGSM", (fgsm(0.05),)),)), count=3)
    assert not [name for name in found if "spike" in name]
    assert found["probability"].shape == (3, 3)
