"""Reference vectors of published implementations: spikes exactly, gradients to rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robustsnn.neurons import IF, LIF, RGA, STBP, Arctan, Sigmoid, Triangle, fire

GOLDEN = Path(__file__).parents[1] / "data_golden"
STEPS = 8

# The code released with the sparsity-regularisation paper: IF and LIF, training and ensemble surrogates.
SR = {
    f"tau{tau}_{name}": (LIF(tau=tau), rule)
    for tau in (1.0, 0.5)
    for name, rule in {
        "triangle_g1": STBP(Triangle()),
        "sigmoid_g4": STBP(Sigmoid()),
        "atan_g2": STBP(Arctan()),
        "rate": RGA(),
    }.items()
}
# SpikingJelly, whose leak is a time constant c = 2, so tau = 1 - 1/2.
SPIKINGJELLY = {
    f"{name}_detach{int(detach)}": (neuron, STBP(Arctan()))
    for detach in (False, True)
    for name, neuron in {
        "if": IF(detach_reset=detach),
        "if_soft": IF(reset="soft", detach_reset=detach),
        "lif_tau2_decayinput": LIF(tau=0.5, decay_input=True, detach_reset=detach),
        "lif_tau2_nodecayinput": LIF(tau=0.5, detach_reset=detach),
    }.items()
}
CASES = [("neuron_sr_reference", key, *case) for key, case in SR.items()]
CASES += [("neuron_spikingjelly", key, *case) for key, case in SPIKINGJELLY.items()]


def vectors(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def test_no_vector_is_left_out():
    for name in ("neuron_sr_reference", "neuron_spikingjelly"):
        used = {key for file, key, *_ in CASES if file == name}
        assert {key.rpartition("_spikes")[0] for key in vectors(name) if key.endswith("_spikes")} - {"grad"} == used


@pytest.mark.parametrize(("file", "key", "neuron", "rule"), CASES, ids=[f"{f}-{k}" for f, k, *_ in CASES])
def test_published_spikes_and_gradients(file, key, neuron, rule):
    golden = vectors(file)
    current = golden["current"].requires_grad_()
    spikes = fire(current, STEPS, neuron, rule)
    (gradient,) = torch.autograd.grad(spikes, current, golden["grad_spikes"])
    assert torch.equal(spikes, golden[f"{key}_spikes"])
    assert 0 < spikes.mean() < 1
    torch.testing.assert_close(gradient, golden[f"{key}_grad_current"], rtol=1e-5, atol=2e-6)


def double_closed(upstream: Tensor, current: Tensor, neuron: LIF, gamma: float = 0.2) -> Tensor:
    """The released rate rule: both intervals closed, so that at the knee both slopes count."""
    mean = current.mean(0) * neuron.gain
    knee = (1 - neuron.tau) * neuron.theta
    steep = (1 - gamma * knee) / ((1 + neuron.tau) * neuron.theta)
    slope = gamma * ((mean >= 0) * (mean <= knee)) + steep * ((mean >= knee) * (mean <= 2 * neuron.theta))
    return upstream * slope * neuron.gain


@pytest.mark.parametrize("neuron", [IF(), LIF(tau=0.5), IF(theta=2.0), LIF(tau=0.75, theta=2.0)], ids=str)
def test_the_rate_rule_differs_from_the_released_one_at_the_knee_alone(neuron):
    knee, theta = (1 - neuron.tau) * neuron.theta, neuron.theta
    steep = (1 - 0.2 * knee) / ((1 + neuron.tau) * theta)
    tiny = 2.0**-20
    mean = torch.tensor(
        [-theta, -tiny, 0.0, knee / 2, knee - tiny, knee, knee + tiny, theta, 2 * theta, 2 * theta + 0.5]
    )
    # Over two steps, and all numbers are binary fractions: the mean is exact.
    current = torch.stack([mean - 0.25, mean + 0.25]).requires_grad_()
    assert torch.equal(current.detach().mean(0), mean)
    upstream = torch.tensor([[1.0], [-3.0]]).expand(2, len(mean))
    (ours,) = torch.autograd.grad(fire(current, 2, neuron, RGA()), current, upstream)
    theirs = double_closed(upstream, current.detach(), neuron)

    at_knee = mean == knee
    assert at_knee.any()
    torch.testing.assert_close(ours[:, ~at_knee], theirs[:, ~at_knee], rtol=1e-6, atol=0)
    torch.testing.assert_close(ours[:, at_knee], upstream[:, at_knee] * steep, rtol=1e-6, atol=0)
    torch.testing.assert_close(theirs[:, at_knee], upstream[:, at_knee] * (steep + 0.2), rtol=1e-6, atol=0)


def test_the_released_rate_rule_equals_its_vectors():
    golden = vectors("neuron_sr_reference")
    for tau in (1.0, 0.5):
        expected = golden[f"tau{tau}_rate_grad_current"]
        gradient = double_closed(golden["grad_spikes"], golden["current"], LIF(tau=tau))
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=2e-6)
