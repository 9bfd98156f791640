"""Signal-to-noise of weight gradients, its jackknife, and networks run for another number of steps."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import Linear, images, spiking
from robustsnn.encoders import Frames, Latency, Phase, Rate
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy, margin
from robustsnn.models import Plan, vgg
from robustsnn.neurons import BPTR, IF, neuron_layers
from robustsnn.statistics.jackknife import jackknife, ratio
from robustsnn.studies.shared.timesteps import running_for, steps_of
from robustsnn.studies.theory.signal import AtSteps, _measure, signal_to_noise

X, Y = images(6, (1, 8, 8), low=0.0, high=1.0), torch.arange(6) % 4


def encoded(encoder: nn.Module, steps: int, image: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    torch.manual_seed(0)
    return vgg(Plan(((4,),), (6,)), image=image, classes=4, neuron=IF(), steps=steps, encoder=encoder).eval()


def by_hand(rows: Tensor, order: float) -> tuple[float, float]:
    """Signal and noise from the definition."""
    mean = rows.mean(0)
    noise = torch.stack([torch.linalg.vector_norm(g - mean, order) ** 2 for g in rows]).mean()
    return float(torch.linalg.vector_norm(mean, order) ** 2), float(noise)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 7), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_ratios_and_their_leave_one_out_follow_the_definition(n: int, p: int, q: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n, size, generator=draws) + 0.5 for size in (p, q)]
    found = _measure(1, [("a", parts[0]), ("b", parts[1])])
    for gradient, rows in zip((*found.tensors, found.network), (*parts, torch.cat(parts, 1)), strict=True):
        assert gradient.entries == rows.shape[1]
        for mine, order in ((gradient.l2, 2), (gradient.sup, float("inf"))):
            signal, noise = by_hand(rows.double(), order)
            assert (mine.signal, mine.noise) == pytest.approx((signal, noise), rel=1e-4, abs=1e-7)
            assert mine.snr.value == pytest.approx(signal / noise, rel=1e-3)
            for i, value in enumerate(mine.without):
                rest = by_hand(torch.cat([rows[:i], rows[i + 1 :]]).double(), order)
                assert value == pytest.approx(rest[0] / rest[1], rel=1e-3, abs=1e-6)


def test_a_long_gradient_is_measured_in_blocks_of_the_same_sum() -> None:
    rows = torch.randn(4, (1 << 16) + 3, generator=torch.Generator().manual_seed(0)) + 0.1
    rows[:, -1] = torch.tensor([9.0, 11, 10, 10])  # the sup norms lie in the second block
    network = _measure(1, [("a", rows)]).network
    assert (network.sup.signal, network.sup.noise) == pytest.approx(by_hand(rows.double(), float("inf")), rel=1e-5)
    assert (network.l2.signal, network.l2.noise) == pytest.approx(by_hand(rows.double(), 2), rel=1e-5)


def test_pure_noise_has_a_positive_ratio_and_a_corrected_one_of_zero() -> None:
    rows = torch.randn(40, 4000, generator=torch.Generator().manual_seed(1))
    snr = _measure(1, [("a", rows)]).network.l2.snr
    assert snr.value == pytest.approx(1 / 39, rel=0.1)
    assert snr.corrected is not None
    assert abs(snr.corrected) < 0.002


def test_equal_gradients_have_no_ratio() -> None:
    found = _measure(1, [("a", torch.full((4, 3), 0.1))]).network
    assert found.l2.snr.value is None
    assert found.sup.snr.value is None
    assert found.sup.snr.interval is None
    assert found.sup.signal == pytest.approx(0.01)


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    from scipy import stats

    values = [1.0, 4.0, 2.0, 7.0]
    found = jackknife(np.mean(values), [np.mean(values[:i] + values[i + 1 :]) for i in range(4)])
    assert found.corrected == pytest.approx(3.5)
    expected = stats.t.interval(0.95, 3, 3.5, stats.sem(values))
    assert found.interval == pytest.approx(expected)
    assert jackknife(1.0, [1.0, None, 1.0]).interval is None
    assert jackknife(1.0, [1.0, 1.0]).interval is None
    assert ratio([1, 2, 3], [0, 0, 0]).value is None
    assert ratio([1, 2, 3], [0, 0, 4]).interval is None  # without the third it is undefined
    assert ratio([2, 4, 6], [1, 2, 3]).interval == pytest.approx((2, 2))


def test_gradients_are_those_of_single_samples() -> None:
    model = spiking(steps=2)
    found = signal_to_noise(model, (X, Y), steps=(2,), samples=5, loss=margin)
    assert (found.n, found.loss, found.pairs, found.held) == (5, "margin", (), None)
    rows = []
    for i in range(5):
        model.zero_grad()
        margin(model(X[i : i + 1]), Y[i : i + 1]).sum().backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    (at,) = found.at
    assert [tensor.name for tensor in at.tensors] == [name for name, _ in model.named_parameters()]
    assert at.network.entries == sum(p.numel() for p in model.parameters()) == sum(t.entries for t in at.tensors)
    for mine, order in ((at.network.l2, 2), (at.network.sup, float("inf"))):
        assert (mine.signal, mine.noise) == pytest.approx(by_hand(torch.stack(rows).double(), order), rel=1e-3)


def test_pairs_say_where_the_theorem_held() -> None:
    found = signal_to_noise(spiking(), (X, Y), steps=(1, 2, 4))
    assert [(pair.before, pair.after) for pair in found.pairs] == [(1, 2), (2, 4)]
    values = [at.network.sup.snr.value for at in found.at]
    for pair, (before, after) in zip(found.pairs, pairwise(values), strict=True):
        assert before is not None
        assert after is not None
        assert pair.difference.value == pytest.approx(after - before)
        assert pair.held == (after >= before)
        assert 0 <= pair.tensors_held <= pair.tensors <= 10
    assert found.held == all(pair.held for pair in found.pairs)
    again = signal_to_noise(spiking(), (X, Y), steps=(1, 2, 4))
    assert again == found
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["pairs"][0]["held"] == found.pairs[0].held


def test_a_planted_violation_is_found() -> None:
    """The network for T=2 is the one for T=1 with the same gradients; for T=4 they are noise with no mean."""

    class Planted(nn.Module):
        def __init__(self, steps: int) -> None:
            super().__init__()
            self.inner = spiking(steps=steps)
            self.weight = nn.Parameter(torch.zeros(2))
            self.register_buffer("sign", torch.tensor(-1.0 if steps == 4 else 1.0))

        def forward(self, x: Tensor) -> Tensor:
            even = (x.flatten(1)[:, 0] > 0.5).float() * 2 - 1
            slope = torch.where(self.sign > 0, 1 + 0.1 * even, even)
            return torch.stack([slope * self.weight[0], slope * self.weight[1] * 0.5], 1)

    x = torch.tensor([0.0, 1, 0, 1]).view(4, 1, 1, 1)
    y = torch.zeros(4, dtype=torch.long)
    found = signal_to_noise({steps: Planted(steps) for steps in (4, 1, 2)}, (x, y))
    assert found.trained_anew
    assert [at.steps for at in found.at] == [1, 2, 4]
    snr = [at.tensors[0].sup.snr.value for at in found.at]
    assert snr[:2] == pytest.approx([100, 100], rel=1e-4)  # mean 1/2, distance 1/20, in units of the slope
    assert snr[2] == pytest.approx(0, abs=1e-9)
    assert [pair.held for pair in found.pairs] == [True, False]
    assert found.held is False


def test_running_for_sets_neurons_and_encoder_and_puts_them_back() -> None:
    model = encoded(Rate(4), 4)
    built = encoded(Rate(2), 2)
    built.load_state_dict(model.state_dict())
    before = model(X)
    with running_for(model, 2):
        assert steps_of(model) == 2
        assert torch.equal(model(X), built(X))
    assert {layer.steps for layer in neuron_layers(model)} == {4}
    assert torch.equal(model(X), before)
    with pytest.raises(ZeroDivisionError), running_for(model, 3):
        raise ZeroDivisionError
    assert steps_of(model) == model.encoder.steps == 4


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: signal_to_noise(encoded(Frames(2), 2, (2, 1, 8, 8)), (torch.rand(3, 2, 1, 8, 8), Y[:3])), "2 frames"),
        (lambda: signal_to_noise(encoded(Latency(4), 4), (X, Y)), "latency coding"),
        (lambda: signal_to_noise(Linear(image=(1, 8, 8)), (X, Y % 3)), "no robustsnn neuron layers"),
        (lambda: signal_to_noise(spiking(), (X, Y), steps=(2, 1)), "larger than the last"),
        (lambda: signal_to_noise(spiking(), (X, Y), steps=()), "at least one number of steps"),
        (lambda: signal_to_noise(spiking(), (X, Y), steps=(0, 1)), "at least one time step"),
        (lambda: signal_to_noise(spiking(), (X, Y), samples=2), "samples=2"),
        (lambda: signal_to_noise(spiking(), (X[:2], Y[:2])), "2 images"),
        (lambda: signal_to_noise({2: spiking(steps=3)}, (X, Y)), "runs for 3 steps"),
        (lambda: signal_to_noise({1: nn.Flatten()}, (X, Y)), "Flatten has no parameters"),
        (lambda: signal_to_noise({1: spiking(steps=1), 2: encoded(Rate(2), 2)}, (X, Y)), "different parameters"),
        (lambda: signal_to_noise(encoded(Fixed(), 2), (X, Y), steps=(2, 4)), "cannot run for 4 steps"),
    ],
)
def test_wrong_input_is_named(call, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        call()


class Fixed(nn.Module):
    """An encoder that does not say how many steps it gives."""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(2, *x.shape)


def test_frames_run_for_the_steps_that_they_have() -> None:
    model = encoded(Frames(2), 2, (2, 1, 8, 8))
    found = signal_to_noise(
        model, (torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), Y[:3]), steps=(2,)
    )
    assert [at.steps for at in found.at] == [2]


def test_networks_on_frames_have_data_of_their_own() -> None:
    x = {steps: images(4, (steps, 8, 8)).view(4, steps, 1, 8, 8) for steps in (1, 2)}
    models = {steps: encoded(Frames(steps), steps, (steps, 1, 8, 8)) for steps in x}
    found = signal_to_noise(models, {steps: (x[steps], Y[:4]) for steps in x})
    assert [at.steps for at in found.at] == [1, 2]
    alone = signal_to_noise({2: models[2]}, (x[2], Y[:4]))
    assert found.at[1] == alone.at[0]
    with pytest.raises(UserError, match="no data for T=2"):
        signal_to_noise(models, {1: (x[1], Y[:4])})


def test_the_model_is_left_as_it_was() -> None:
    model = encoded(Phase(3), 3).train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    found: AtSteps = signal_to_noise(model, (X, Y), steps=(1, 3), rule=BPTR()).at[0]
    assert found.steps == 1
    assert math.isfinite(found.network.l2.signal)
    assert model.training
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert signal_to_noise(model, (X, Y), steps=(3,), loss=cross_entropy).rule == ""
