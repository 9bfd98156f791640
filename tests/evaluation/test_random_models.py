"""Models that draw random numbers: judged by votes, attacked by mean gradients, and yet repeatable."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import Stateful, Suite, apgd, fgsm, pgd, quick
from robustsnn.data.batches import ImageSet
from robustsnn.evaluation import Effort, Judge, evaluate, measure, pictures, run_suite
from robustsnn.evaluation.fitting import EOT, fit_to
from robustsnn.evaluation.judge import VOTES, fresh_draws, judge_for, repeats
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import generator, seeded
from robustsnn.models import Classifier

EPS = 0.004  # the network is not trained: it takes little


class Coin(nn.Module):
    """Linear, but in each pass each answer is turned around with a probability."""

    def __init__(self, wrong):
        super().__init__()
        self.inner, self.wrong = Linear(2), wrong

    def forward(self, x):
        turn = torch.rand(len(x), 1) < self.wrong
        z = self.inner(x)
        return torch.where(turn, z.flip(1), z)


class Noisy(nn.Module):
    """A spiking network that sees images through noise."""

    def __init__(self, size=0.003):
        super().__init__()
        self.inner, self.size = spiking(), size

    def forward(self, x):
        return self.inner(x + self.size * torch.randn_like(x))


class Own(nn.Module):
    """Draws from a generator of its own, so that no seed repeats it."""

    def __init__(self):
        super().__init__()
        self.inner, self.draws = Linear(2), generator(0)

    def forward(self, x):
        return self.inner(x) + torch.randn(len(x), 2, generator=self.draws)


def suite(*attacks):
    return Suite("test", (("all", attacks),))


def problem(n=60):
    x = images(n)
    return x, Linear(2)(x).argmax(1)


def spikes(n=16):
    x = images(n, (1, 8, 8))
    return x, spiking()(x).argmax(1)


def test_only_models_that_repeat_themselves_are_judged_by_one_pass():
    x, _ = problem()
    assert judge_for(Linear(2), x) == Judge(1)
    assert judge_for(spiking(), spikes()[0]) == Judge(1)
    for model in (Coin(0.3), Stateful(Own())):
        assert judge_for(model, x) == Judge(VOTES)
    with pytest.raises(UserError, match="elsewhere than in torch"):
        judge_for(Own(), x)
    assert VOTES % 2 == 1
    assert repeats(Coin(0.3), x) == (True, False)
    assert repeats(Own(), x)[0] is False


@pytest.mark.parametrize(("wrong", "right"), [(0.2, 1.0), (0.8, 0.0)])
def test_the_majority_decides_and_never_a_single_draw(wrong, right):
    # 21 votes at a chance of 0.2: the majority errs once in 2000 times; a single draw for each fifth image.
    model, data = Coin(wrong), problem()
    assert run_suite(model, data, suite(fgsm(1e-6))).correct.mean() == right
    single = run_suite(model, data, suite(fgsm(1e-6)), judge=Judge())
    assert abs(single.correct.mean() - (1 - wrong)) < 0.2
    assert 0 < single.correct.mean() < 1


def test_the_margin_is_the_median_of_the_votes():
    class Turns(nn.Module):
        """Five known passes."""

        calls = 0

        def forward(self, x):
            Turns.calls += 1
            return torch.tensor([[0.0, [9.0, -1.0, -2.0, 8.0, -3.0][Turns.calls - 1]]]).repeat(len(x), 1)

    x, y = problem(3)
    margins, predicted = Judge(5)(Turns(), x, torch.zeros(3, dtype=torch.int64))
    assert margins.tolist() == [-1.0] * 3
    assert predicted.tolist() == [1] * 3  # of the mean logits
    assert y.shape == (3,)


def test_draws_tell_how_single_passes_spread():
    x, y = problem(400)
    told = fresh_draws(Coin(0.3), x, y, batch_size=128)
    assert told["n"] == 20
    assert told["mean"] == pytest.approx(0.7, abs=0.03)
    assert told["std"] == pytest.approx((0.7 * 0.3 / 400) ** 0.5, rel=0.6)
    assert told["least"] < told["mean"] < told["most"]
    assert told == fresh_draws(Coin(0.3), x, y, batch_size=128)
    assert fresh_draws(Linear(2), x, y) == {"n": 20, "mean": 1.0, "std": 0.0, "least": 1.0, "most": 1.0}


def test_gradient_attacks_take_means_and_others_do_not():
    x, _ = spikes()
    model = Noisy()
    fitted = fit_to(model, quick(EPS), x, judge_for(model, x))
    assert {attack.draws for _, attack in fitted.members() if not attack.black_box} == {EOT}
    plain = fit_to(spiking(), quick(EPS), x, Judge())
    assert {attack.draws for _, attack in plain.members() if not attack.black_box} == {1}


def test_an_entry_says_that_draws_differ_and_repeats_itself():
    model, (x, y) = Coin(0.3), problem()

    def made():
        return evaluate(model, (x, y), lambda eps: suite(pgd(eps, 2)), 1e-6).to_dict()

    entry = made()
    before = torch.random.get_rng_state()
    torch.rand(17)
    state = torch.random.get_rng_state()
    assert made() == entry
    assert torch.equal(torch.random.get_rng_state(), state)  # and leaves the global numbers alone
    torch.random.set_rng_state(before)
    # Nothing moves an image at this radius: the votes are for the images, single draws err for three in ten.
    assert entry["worst_case"]["accuracy"] > 0.9
    assert entry["draws"]["mean"] == pytest.approx(0.7, abs=0.1)
    assert all(f"draws={EOT}" in name for name in entry["attacks"])
    assert evaluate(Linear(2), (x, y), lambda eps: suite(fgsm(eps)), 1e-6).to_dict()["draws"] is None


def test_outcomes_of_a_random_network_depend_on_the_seed_alone(tmp_path):
    model, data = Noisy(), spikes()
    attacks = suite(pgd(EPS, 2), apgd(EPS, 2))

    def found(**effort):
        torch.rand(5)
        return run_suite(model, data, attacks, Effort(10, **effort), keep_images=True)

    first = found()
    assert found().equals(first)
    assert found(out=tmp_path).equals(first)
    assert found(out=tmp_path).equals(first)
    other = found(seed=1)
    assert not np.array_equal(other.clean_margin, first.clean_margin)
    assert first.broken.any()
    assert first.standing().any()


def test_votes_judge_the_attacked_images_too():
    model, (x, y) = Noisy(), spikes()
    found = run_suite(model, (x, y), suite(pgd(EPS, 3)), keep_images=True)
    # Fresh votes under other seeds agree but where the vote is close.
    with seeded(99, "again"):
        margins, _ = Judge(101)(model, torch.from_numpy(found.images), y)
    agree = (margins < 0).numpy() == found.standing()
    assert agree.mean() > 0.85
    draws = fresh_draws(model, torch.from_numpy(found.images), y)
    assert draws["std"] > 0
    assert abs(draws["mean"] - found.standing().mean()) < 0.25


class Code(nn.Module):
    """Each step shows each pixel with the probability of its value."""

    def forward(self, x):
        return (torch.rand(3, *x.shape) < x).float()


def test_a_random_encoder_hands_over_the_same_code_when_an_evaluation_is_resumed(tmp_path):
    model = Classifier(spiking().body, Code(), (1, 8, 8))
    x, y = spikes()
    attacks = suite(fgsm(EPS), pgd(EPS, 2)).encoded()

    class Stop(Exception):
        pass

    def stop(done, total, text):
        if done == 3:
            raise Stop

    whole = run_suite(model, (x, y), attacks, Effort(6), keep_images=True)
    assert whole.attacked.any()
    with pytest.raises(Stop):
        run_suite(model, (x, y), attacks, Effort(6, out=tmp_path), keep_images=True, progress=stop)
    torch.rand(5)
    assert run_suite(model, (x, y), attacks, Effort(6, out=tmp_path), keep_images=True).equals(whole)


def test_the_probe_holds_the_codes_that_were_attacked(monkeypatch):
    model, (x, y), probes = Classifier(spiking().body, Code(), (1, 8, 8)), spikes(), []

    def keep(*args):
        probes.append(Probe(*args))
        return probes[-1]

    monkeypatch.setattr(measure, "Probe", keep)
    entry = evaluate(model, (x, y), lambda eps: suite(fgsm(eps)).encoded(), EPS, Effort(batch_size=6, seed=5)).to_dict()
    survivors, probe = probes
    assert probe.survivors is survivors
    assert 0 < len(probe.x) == round(16 * entry["clean"]["accuracy"]) < 16
    assert 0 < len(survivors.x) == round(16 * entry["worst_case"]["accuracy"])
    for one in probes:  # fresh codes are wrong now and then
        assert bool((Judge()(one.model, one.x, one.y)[0] < 0).all())


@pytest.mark.parametrize("encoded", [False, True])
def test_pictures_repeat_themselves_and_leave_the_global_generator_alone(encoded):
    model = Classifier(spiking().body, Code(), (1, 8, 8)) if encoded else Noisy()
    x = (images(4, (1, 8, 8)) * 255).to(torch.uint8)
    data = ImageSet(x, torch.arange(4), ("a", "b", "c", "d"), "test")
    attacks = suite(fgsm(EPS)).encoded() if encoded else suite(fgsm(EPS))
    first = pictures(model, data, attacks, count=4)
    torch.rand(5)
    state = torch.random.get_rng_state()
    second = pictures(model, data, attacks, count=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_leaves_modes_and_the_global_generator_as_they_were(fails):
    model, (x, y) = Noisy(), spikes(6)
    model.train()
    model.inner.body[0].eval()
    model.inner.training = False
    modes = [module.training for module in model.modules()]
    state = torch.random.get_rng_state()
    if fails:
        with pytest.raises(UserError, match=r"label \d+ given"):
            run_suite(model, (x, y + 9), suite(fgsm(EPS)))
    else:
        run_suite(model, (x, y), suite(fgsm(EPS)))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
