"""Step rules against plain transcriptions of their formulas, their invariances, and bounds on any gradient."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import Linear, images
from robustsnn.attacks import L2, Attack, Linf, mi_fgsm, sa_pgd
from robustsnn.attacks.start import Uniform
from robustsnn.attacks.step import APGD, SAPGD, Adam, GradientStep, Iterate, Momentum, halvings
from robustsnn.attacks.threat import verify
from robustsnn.ground.errors import UserError
from robustsnn.losses import margin

EPS = 0.1
RULES = [GradientStep(0.03), APGD(0.2), Momentum(0.02), Momentum(0.02, decay=0.5), Adam(0.03), SAPGD(0.1)]
each_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
WIDE = Linf(50.0, low=-100.0, high=100.0)  # neither ball nor range is ever reached


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def walk(rule, x, gradients, threat=WIDE, losses=None, steps=None):
    """The points that a rule visits on these gradients, one after the other."""
    steps = len(gradients) if steps is None else steps
    z, state, path = x, rule.init(x), []
    for k, gradient in enumerate(gradients):
        loss = torch.arange(float(len(x))) if losses is None else losses[k]
        z, state = rule.update(state, Iterate(k, steps, x, z, loss, gradient, threat))
        path.append(z)
    return path


def test_every_repr_is_its_constructor_call():
    for rule in [*RULES, Adam(0.1, beta1=0.8, beta2=0.9), SAPGD(0.1, decay=0.6, decay2=0.7)]:
        assert eval(repr(rule)) == rule


@pytest.mark.parametrize("kind", [GradientStep, APGD, Momentum, Adam, SAPGD])
@pytest.mark.parametrize("alpha", [-0.1, math.inf, math.nan])
def test_bad_step_sizes_are_named(kind, alpha):
    with pytest.raises(UserError, match=rf"{kind.__name__}\(alpha="):
        kind(alpha)


def test_sa_pgd_halves_where_its_source_does():
    assert [k for k in halvings(100) if k < 100] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert [k for k in halvings(50) if k < 50] == [11, 21, 30, 38, 45]


@pytest.mark.parametrize("n", range(1, 34))
def test_short_runs_halve_at_the_same_shares_as_long_ones(n):
    points = halvings(n)
    assert points == sorted(set(points))
    assert not points or (points[0] > 0 and points[-1] <= n)
    for k in range(n):
        long = sum(point <= 100 * k / n for point in halvings(100))
        assert abs(sum(point <= k for point in points) - long) <= 1


def published_sa_pgd(x, gradients, alpha, halved_at):
    """Formulas of the source for one sample in float64, without a ball."""
    z, path = x.double(), []
    m = v = torch.zeros_like(z)
    for k, g in enumerate(gradients.double()):
        m = 0.5 * m + g / g.abs().mean()
        v = 0.8 * v + g**2 / (g**2).mean()
        alpha = alpha / 2 if k in halved_at else alpha
        z = z + (alpha * m / (v.sqrt() + 1e-12)).clamp(-alpha, alpha)
        path.append(z)
    return path


@pytest.mark.parametrize(
    ("n", "halved_at"), [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (50, [11, 21, 30, 38, 45]), (10, [2, 4, 6, 7, 8, 9])]
)
def test_sa_pgd_follows_its_formulas(n, halved_at):
    x, gradients = normal(5, 2, 4, 4), normal(n, 5, 2, 4, 4, seed=1) * normal(n, 5, 1, 1, 1, seed=2).exp()
    gradients += normal(5, 2, 4, 4, seed=3)  # some entries keep their sign, others do not
    path = walk(SAPGD(0.25), x, gradients)
    for i in range(5):
        expected = published_sa_pgd(x[i], gradients[:, i], 0.25, halved_at)
        torch.testing.assert_close(torch.stack(path)[:, i].double(), torch.stack(expected), rtol=0, atol=2e-5)


def test_sa_pgd_means_run_over_all_entries_of_a_sample_also_in_frames():
    x, gradients = normal(3, 4, 2, 3, 3), normal(12, 3, 4, 2, 3, 3, seed=1)
    gradients = gradients * torch.arange(1.0, 5).view(4, 1, 1, 1)  # steps of different size
    frames = walk(SAPGD(0.25), x, gradients)[-1]
    flat = walk(SAPGD(0.25), x.flatten(1), gradients.flatten(2))[-1]
    torch.testing.assert_close(frames.flatten(1), flat, rtol=0, atol=1e-6)


def test_the_first_step_of_sa_pgd_and_adam_is_a_sign_step():
    # |m| / sqrt(v) = rms(g) / mean |g| >= 1 for the one, exactly 1 for the other.
    x, gradient = normal(4, 1, 4, 4), normal(4, 1, 4, 4, seed=1)
    for rule in (SAPGD(0.25), Adam(0.25)):
        torch.testing.assert_close(walk(rule, x, [gradient], steps=100)[0], x + 0.25 * gradient.sign())


@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_momentum_follows_its_formulas(decay, norm):
    threat = WIDE if norm == "Linf" else L2(1e6, low=-100.0, high=100.0)
    x, gradients = normal(4, 1, 3, 3), normal(20, 4, 1, 3, 3, seed=1) * normal(20, 4, 1, 1, 1, seed=2).exp()
    for i in range(4):
        z, m = x[i].double(), torch.zeros(1, 3, 3, dtype=torch.float64)
        for g in gradients[:, i].double():
            m = decay * m + g / g.abs().sum()
            z = z + 0.05 * (m.sign() if norm == "Linf" else m / m.norm())
        last = walk(Momentum(0.05, decay), x, gradients, threat)[-1][i]
        torch.testing.assert_close(last.double(), z, rtol=0, atol=1e-5)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.9)])
def test_adam_is_that_of_torch(betas):
    x, gradients = normal(4, 1, 3, 3).double(), normal(20, 4, 1, 3, 3, seed=1).double()
    parameter = torch.nn.Parameter(x.clone())
    reference = torch.optim.Adam([parameter], lr=0.05, betas=betas, eps=1e-100, maximize=True)
    for z, gradient in zip(walk(Adam(0.05, *betas), x, gradients), gradients, strict=True):
        parameter.grad = gradient
        reference.step()
        torch.testing.assert_close(z, parameter.detach(), rtol=0, atol=1e-12)


@each_rule
@pytest.mark.parametrize("power", [-83, -40, 60])  # 2^-83 is 1e-25, whose square is zero in float32
def test_the_scale_of_the_gradient_changes_nothing(rule, power):
    x, gradients = images(4), normal(15, 4, 1, 4, 4, seed=1)
    for threat in (Linf(EPS), L2(0.4)):
        expected = walk(rule, x, gradients, threat)
        for a, b in zip(walk(rule, x, gradients * 2.0**power, threat), expected, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("rule", [r for r in RULES if not isinstance(r, Adam)], ids=repr)
def test_nor_does_another_scale_in_each_step_and_sample(rule):
    x, gradients = images(4), normal(15, 4, 1, 4, 4, seed=1)
    powers = torch.randint(-90, 60, (15, 4, 1, 1, 1), generator=torch.Generator().manual_seed(2))
    scaled = (gradients.double() * 2.0 ** powers.double()).float()
    for threat in (Linf(EPS), L2(0.4)):
        assert torch.equal(walk(rule, x, scaled, threat)[-1], walk(rule, x, gradients, threat)[-1])


@each_rule
def test_a_batch_steps_like_each_of_its_samples(rule):
    x, gradients, losses = images(6), normal(25, 6, 1, 4, 4, seed=1), normal(25, 6, seed=2)
    for threat in (Linf(EPS), L2(0.4)):
        together = walk(rule, x, gradients, threat, losses)[-1]
        for i in range(6):
            alone = walk(rule, x[i : i + 1], gradients[:, i : i + 1], threat, losses[:, i : i + 1])[-1]
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-6)


KINDS = {
    "normal": lambda g: g,
    "zero": torch.zeros_like,
    "sparse": lambda g: g * (g > 1.5),
    "tiny": lambda g: g * 1e-25,
    "denormal": lambda g: g * 1e-41,
    "huge": lambda g: g * 1e37,
    "mixed": lambda g: g * torch.tensor([1e-30, 1.0, 1e30]).view(-1, *(1,) * (g.ndim - 1)),
}


@settings(max_examples=120, deadline=None)
@given(
    rule=st.sampled_from(RULES),
    threat=st.sampled_from([Linf(EPS), L2(0.5), Linf(0.3, low=-1.0, high=2.0), L2(0.01)]),
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12),
    shape=st.sampled_from([(1, 4, 4), (3, 2, 3, 3), (5,)]),
    seed=st.integers(0, 2**20),
)
def test_every_rule_keeps_the_bounds_on_every_gradient(rule, threat, kinds, shape, seed):
    draws = torch.Generator().manual_seed(seed)
    x = torch.rand(3, *shape, generator=draws)
    gradients = [KINDS[kind](torch.randn(3, *shape, generator=draws)) for kind in kinds]
    losses = torch.randn(len(kinds), 3, generator=draws)
    for z in walk(rule, x, gradients, threat, losses):
        verify(threat, z, x, rule)  # NaN fails too


@pytest.mark.parametrize(("make", "norm"), [(mi_fgsm, "Linf"), (mi_fgsm, "L2"), (sa_pgd, "Linf")])
def test_presets_reach_the_exact_worst_case_of_two_classes(make, norm):
    model, x = Linear(2), images(64)
    y = model(x).argmax(1)
    attack = make(0.08, 40, norm=norm, loss=margin)
    w = model.weight[1 - y] - model.weight[y]
    dual = w.abs().sum(1) if norm == "Linf" else w.norm(dim=1)
    best = (margin(model(x), y) + 0.08 * dual).detach()
    reached = margin(model(attack(model, x, y)), y).detach()
    assert 0 < int((best < 0).sum()) < 64
    assert torch.equal(reached >= 0, best >= 0)
    torch.testing.assert_close(reached[best < 0], best[best < 0], rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class Faint:
    """The margin in units so large that squares of its gradient underflow."""

    def __call__(self, logits, y):
        return 1e-25 * margin(logits, y)


@each_rule
def test_a_faint_loss_does_not_stop_an_attack(rule):
    model, x = Linear(2), images(32)
    y = model(x).argmax(1)
    w = (model.weight[1] - model.weight[0]).abs().sum()
    best = margin(model(x), y) + 0.08 * w >= 0
    attempt = Attack(Linf(0.08), rule, Uniform(), loss=Faint(), steps=20).run(model, x, y)
    assert not bool(attempt.zero_gradient.any())
    assert 0 < int(best.sum()) < 32
    assert torch.equal(margin(model(attempt.images), y) >= 0, best)
