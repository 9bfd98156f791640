"""The attack loop: closed-form worst cases, bounds, determinism, restored state, accounting."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import nn

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks import L2, Attack, Linf, apgd, fgsm, paper_sr, pgd, rfgsm
from robustsnn.attacks.start import Boundary, SignNoise, Uniform
from robustsnn.attacks.step import APGD, GradientStep, Iterate, apgd_checkpoints
from robustsnn.attacks.threat import verify
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, cross_entropy, dlr, margin
from robustsnn.neurons import RGA, STBP, Arctan, Sigmoid, Triangle

EPS = 0.08
ATTACKS = [
    fgsm(EPS),
    fgsm(EPS, norm="L2"),
    rfgsm(EPS),
    rfgsm(EPS, variant="ten-step"),
    rfgsm(EPS, variant="full-step"),
    pgd(EPS, 5),
    pgd(EPS, 5, norm="L2", loss=margin, restarts=2),
    pgd(EPS, 3, keep="last"),
    apgd(EPS, 8),
    apgd(EPS, 8, norm="L2", loss=dlr),
]
ids = [repr(a) for a in ATTACKS]


def test_repr_is_its_constructor_call_and_unique():
    assert len(set(ids)) == len(ids)
    odd = Attack(Linf(EPS), APGD(0.1, momentum=0.5, rho=0.6))
    assert eval(repr(odd)) == odd
    for attack in ATTACKS:
        again = eval(repr(attack))
        assert repr(again) == repr(attack)
    assert eval(repr(pgd(8 / 255, 10, rule=STBP(Sigmoid(4.0))))).rule == STBP(Sigmoid(4.0))
    assert eval(repr(fgsm(0.1, rule=RGA()))).rule == RGA()


def worst_margin(model: Linear, x, y, threat):
    """max of the margin over the ball, no range limit active: max_j z_j - z_y + eps ||w_j - w_y||_dual."""
    z = model(x)
    best = torch.full((len(x),), -torch.inf)
    for j in range(z.shape[1]):
        w = model.weight[j] - model.weight[y]
        dual = w.abs().sum(1) if threat.norm == "Linf" else w.norm(dim=1)
        value = torch.where(y == j, -torch.inf, z[:, j] - z.gather(1, y[:, None])[:, 0] + threat.eps * dual)
        best = torch.maximum(best, value)
    return best.detach()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: fgsm(EPS, norm=n, loss=margin),
        lambda n: pgd(EPS, 40, alpha=EPS, norm=n, loss=margin),
        lambda n: apgd(EPS, 40, norm=n, loss=margin),
    ],
    ids=["fgsm", "pgd", "apgd"],
)
def test_two_classes_reach_the_exact_worst_case_of_a_linear_model(norm, make):
    # With two classes the margin is linear in x, so one steepest step is optimal.
    model, x = Linear(2), images(64)
    y = model(x).argmax(1)
    attack = make(norm)
    z = attack(model, x, y)
    reached, best = margin(model(z), y).detach(), worst_margin(model, x, y, attack.threat)
    # A broken sample is left alone, so compare the decision for all and the value where it still stands.
    assert torch.equal(reached >= 0, best >= 0)
    standing = reached < 0
    assert 0 < standing.sum() < len(x)
    torch.testing.assert_close(reached[standing], best[standing], rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class Towards:
    """z_j - z_y for one rival j: linear in x for a linear model, so its maximum is found."""

    rival: int

    def __call__(self, logits, y):
        return logits[:, self.rival] - logits.gather(1, y[:, None])[:, 0]


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_many_classes_are_broken_exactly_where_the_closed_form_says(norm):
    model, x = Linear(5, seed=3), images(200, seed=4)
    y = model(x).argmax(1)
    threat = (Linf if norm == "Linf" else L2)(0.02 if norm == "Linf" else 0.06)
    expected = worst_margin(model, x, y, threat) >= 0
    assert 20 < expected.sum() < 180
    broken = torch.zeros(len(x), dtype=torch.bool)
    for loss in (margin, cross_entropy):
        broken |= ~correct(model(apgd(threat.eps, 60, norm=norm, loss=loss, restarts=3)(model, x, y)), y)
    # Ascending towards the nearest rival can end in a local maximum, but never claims what is impossible.
    assert not bool((broken & ~expected).any())
    assert broken.sum() > 0.9 * expected.sum()
    for rival in range(5):
        broken |= ~correct(model(apgd(threat.eps, 60, norm=norm, loss=Towards(rival))(model, x, y)), y)
    assert torch.equal(broken, expected)


def test_linf_worst_case_with_an_active_data_range():
    model, x = Linear(2, seed=1), images(64, low=0.0, high=1.0)
    y = model(x).argmax(1)
    w = model.weight[1 - y] - model.weight[y]
    corner = torch.where(w.view_as(x) > 0, (x + EPS).clamp_max(1), (x - EPS).clamp_min(0))
    best = margin(model(corner), y).detach()
    for attack in (fgsm(EPS, loss=margin), pgd(EPS, 60, loss=margin), apgd(EPS, 60, loss=margin)):
        reached = margin(model(attack(model, x, y)), y).detach()
        assert torch.equal(reached >= 0, best >= 0)
        standing = best < 0
        torch.testing.assert_close(reached[standing], best[standing], rtol=1e-4, atol=1e-5)


def test_apgd_finds_the_maximum_of_a_concave_loss_where_a_fixed_step_oscillates():
    target = torch.full((1, 1, 1, 2), 0.5) + torch.tensor([0.033, -0.017])

    class Bowl(nn.Module):
        def forward(self, x):
            value = -((x - target) ** 2).flatten(1).sum(1) * 100
            return torch.stack([torch.zeros_like(value), value - 5], 1)  # class 0 always wins

    x, y = torch.full((1, 1, 1, 2), 0.5), torch.zeros(1, dtype=torch.int64)
    threat = Linf(0.1)
    exact = margin(Bowl()(target), y)

    def loss(attack):
        return (exact - margin(Bowl()(attack(Bowl(), x, y)), y)).item()

    auto = Attack(threat, APGD(0.2), start=Boundary(), loss=margin, steps=60)
    fixed = Attack(threat, GradientStep(0.05), start=Uniform(), loss=margin, steps=60)
    assert loss(auto) < 2e-3
    assert loss(auto) < loss(fixed)


def test_apgd_follows_algorithm_1_step_by_step():
    """The published algorithm, transcribed for one sample at a time, against the batched rule.

    The rule sees losses and gradients alone, so they are drawn: rising, noisy and falling losses, and one that
    rises in every window but never above its start, which only the second condition for halving notices.
    """
    steps, n = 60, 12
    draws = torch.Generator().manual_seed(0)
    gradients = torch.randn(steps, n, 1, 4, 4, generator=draws)
    losses = torch.linspace(-1, 8, n) * torch.arange(steps)[:, None] + 3 * torch.randn(steps, n, generator=draws)
    losses[:, 0] = torch.arange(steps) % 13
    losses[0, 0] = 100
    x = torch.rand(n, 1, 4, 4, generator=draws)
    threat = Linf(0.1)
    start = Boundary()(threat, x, draws)

    def published(i):
        project = lambda z: threat.project(z, x[i : i + 1])  # noqa: E731
        z = previous = start[i : i + 1]
        best, best_loss, best_g = z, losses[0, i], gradients[0, i]
        path, alpha, g, since, window = [z], 0.2, gradients[0, i], 0, 13
        best_then, halved_then, halved_at = best_loss, True, []
        for k in range(steps - 1):
            m = 0.75 if k else 1.0
            target = project(z + alpha * g.sign())
            z, previous = project(z + m * (target - z) + (1 - m) * (z - previous)), z
            path.append(z)
            g = gradients[k + 1, i]
            if losses[k + 1, i] > best_loss:
                best, best_loss, best_g = z, losses[k + 1, i], g
            since += 1
            if since == window:
                before = losses[k + 1 - window : k + 1, i].clone()
                if k + 1 == window:
                    before[0] = 0  # as in the reference implementation: the start's loss is not in its list
                rises = int((losses[k + 2 - window : k + 2, i] > before).sum())
                stuck = not halved_then and bool(best_loss <= best_then)
                halved_then = rises <= 0.75 * window or stuck
                if halved_then:
                    alpha, z, g = alpha / 2, best, best_g
                    halved_at.append((k + 1, rises <= 0.75 * window))
                best_then, since, window = best_loss, 0, max(window - 1, 3)
        return path, halved_at

    runs = [published(i) for i in range(n)]
    assert len({tuple(halved) for _, halved in runs}) > 3  # samples halve at different times
    assert any(not few for _, halved in runs for _, few in halved)  # the second condition alone did it once
    rule = APGD(0.2)
    z, state = start, rule.init(start)
    for k in range(steps):
        # What is compared is the point that was moved to; at a checkpoint the rule goes back to the best itself.
        torch.testing.assert_close(z, torch.cat([path[k] for path, _ in runs]), rtol=0, atol=1e-6)
        z, state = rule.update(state, Iterate(k, steps, x, z, losses[k], gradients[k], threat))


def test_apgd_checkpoints_are_those_of_the_source():
    assert apgd_checkpoints(100)[:9] == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert apgd_checkpoints(50)[:6] == [0, 11, 21, 30, 38, 45]
    for n in (1, 2, 5, 10):
        points = apgd_checkpoints(n)
        assert all(b > a for a, b in pairwise(points))


@pytest.mark.parametrize("attack", ATTACKS, ids=ids)
def test_eps_zero_returns_the_image(attack):
    model, x = spiking(), images(5, (1, 8, 8))
    still = Attack(type(attack.threat)(0.0), attack.step, attack.start, steps=attack.steps, keep=attack.keep)
    torch.testing.assert_close(still(model, x, model(x).argmax(1)), x, rtol=0, atol=1e-7)


def test_works_without_gradient_mode_and_on_no_images():
    model, x = spiking(), images(4, (1, 8, 8))
    y = model(x).argmax(1)
    with torch.no_grad():
        z = pgd(EPS, 2)(model, x, y)
    assert torch.equal(z, pgd(EPS, 2)(model, x, y))
    assert pgd(EPS, 2)(model, x[:0], y[:0]).shape == x[:0].shape


def test_costs_are_the_true_numbers_of_passes():
    model, x = Counting(3), images(40)
    y = model(x).argmax(1)
    for attack in (pgd(0.02, 7, restarts=2), apgd(0.02, 7), fgsm(0.02), pgd(0.02, 7, keep="last")):
        model.passes = 0
        attempt = attack.run(model, x, y)
        assert int(attempt.forwards.sum()) == model.passes
        standing = correct(model(attempt.images), y) if attack.keep == "worst" else torch.ones(40, dtype=torch.bool)
        # Who stands has paid in full; who fell was left alone.
        full = attack.steps * attack.restarts
        assert set(attempt.backwards[standing].tolist()) <= {full}
        assert int(attempt.backwards.max()) <= full
        extra = attack.restarts if attack.keep == "worst" else 0
        assert set(attempt.forwards[standing].tolist()) <= {full + extra}


class BadGradient(torch.autograd.Function):
    """Logits that do not depend on x; the gradient is zero, or NaN for bright images."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tensor([1.0, 0.0]).repeat(len(x), 1)

    @staticmethod
    def backward(ctx, _):
        (x,) = ctx.saved_tensors
        bright = x.mean((1, 2, 3), keepdim=True) > 0.6
        return torch.where(bright, torch.nan, 0.0).expand_as(x)


class Flat(nn.Module):
    def forward(self, x):
        return BadGradient.apply(x)


def test_zero_and_nan_gradients_are_counted_and_searched_at_random():
    x = torch.cat([images(3, low=0.1, high=0.4), images(2, low=0.7, high=0.9)])
    y = torch.zeros(5, dtype=torch.int64)
    for attack in (fgsm(0.05), pgd(0.05, 4), apgd(0.05, 4)):
        attempt = attack.run(Flat(), x, y)
        assert attempt.zero_gradient.tolist() == [True] * 3 + [False] * 2
        assert attempt.nan_gradient.tolist() == [False] * 3 + [True] * 2
        assert bool(attempt.images.isfinite().all())
        verify(attack.threat, attempt.images, x, attack)


def test_a_random_move_escapes_a_plateau():
    class Plateau(nn.Module):
        """Zero gradient everywhere; broken a little away from x in any of many directions."""

        def forward(self, x):
            far = ((x - 0.5).flatten(1).abs().amax(1) > 0.02).float()
            return torch.stack([1 - 2 * far, far * 0], 1) + 0 * x.flatten(1).sum(1, keepdim=True)

    x, y = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    assert not bool(correct(Plateau()(fgsm(0.05)(Plateau(), x, y)), y).any())


def test_worst_prefers_a_misclassified_point_to_a_larger_loss():
    class Peak(nn.Module):
        """Class 0 loses only in a narrow band, although the loss keeps growing in confidence elsewhere."""

        def forward(self, x):
            u = x.flatten(1).mean(1)
            other = torch.where((u > 0.53) & (u < 0.56), torch.tensor(2.0), u)
            return torch.stack([torch.ones_like(u), other + 0 * u], 1)

    x, y = torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, dtype=torch.int64)
    found = Attack(Linf(0.2), GradientStep(0.02), steps=10)(Peak(), x, y)
    assert not bool(correct(Peak()(found), y))


def test_keep_last_is_plain_pgd():
    model, x = Linear(3), images(8)
    y = torch.randint(0, 3, (8,), generator=torch.Generator().manual_seed(0))
    z = x.clone()
    for _ in range(4):
        leaf = z.clone().requires_grad_()
        (g,) = torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)
        z = (z + 0.03 * g.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    torch.testing.assert_close(pgd(EPS, 4, alpha=0.03, random_start=False, keep="last")(model, x, y), z)


def test_a_model_without_input_gradient_gets_a_clear_error():
    class Deaf(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 2) + x.detach().flatten(1)[:, :2]

    with pytest.raises(UserError, match="no gradient"):
        pgd(EPS, 2)(Deaf(), images(2), torch.zeros(2, dtype=torch.int64))


def test_bad_arguments():
    with pytest.raises(UserError, match="steps=0"):
        pgd(EPS, 0)
    with pytest.raises(UserError, match="restarts"):
        pgd(EPS, 3, restarts=2, keep="last")
    with pytest.raises(UserError, match="variant"):
        rfgsm(EPS, variant="other")
    with pytest.raises(UserError, match="norm"):
        pgd(EPS, 3, norm="L1")
    for alpha in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"GradientStep\(alpha=|not a number"):
            pgd(EPS, 3, alpha=alpha)
        with pytest.raises(UserError, match=r"APGD\(alpha=.*: allowed is a number of at least 0"):
            APGD(alpha)
    with pytest.raises(UserError, match="gamma"):
        RGA(-1.0)
    for label in (-1, 3):
        with pytest.raises(UserError, match=f"label {label} given to a model of 3 classes"):
            pgd(EPS, 3)(Linear(3), images(2), torch.tensor([0, label]))
    with pytest.raises(UserError, match="K >= 2"):
        pgd(EPS, 3)(Linear(1), images(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UserError, match="one loss per sample"):
        pgd(EPS, 3, loss=nn.functional.cross_entropy)(Linear(3), images(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(TypeError):
        pgd(steps=3)  # eps has no default
    with pytest.raises(UserError, match="at least 3"):
        apgd(EPS, 3, loss=dlr)(Linear(2), images(2), torch.zeros(2, dtype=torch.int64))


def test_paper_suite_has_the_columns_and_rules_of_the_paper():
    suite = paper_sr("8/255")
    assert [c for c, _ in suite.columns] == ["FGSM", "RFGSM", "PGD10", "PGD30", "PGD50", "APGD10"]
    for _, attacks in suite.columns:
        assert [a.rule for a in attacks] == [STBP(Triangle(1.0)), STBP(Sigmoid(4.0)), STBP(Arctan(2.0)), RGA()]
        assert all(a.threat == Linf(8 / 255) for a in attacks)
    assert dict(suite.columns)["PGD10"][0].step.alpha == pytest.approx(0.01)
    plain = suite.without_rules()
    assert [len(attacks) for _, attacks in plain.columns] == [1] * 6
    assert len(suite.merged().members()) == 24


def test_rfgsm_stays_within_eps_and_starts_with_half():
    attack = rfgsm(EPS)
    assert attack.start == SignNoise(EPS / 2)
    assert attack.step == GradientStep(EPS / 2)


def test_the_full_step_of_rfgsm_ends_on_the_image_or_at_the_edge() -> None:
    """Sign noise of eps and a step of eps add to 0 or 2 eps, which the projection makes eps."""
    x, y = images(4), torch.tensor([0, 1, 2, 0])
    found = rfgsm(EPS, variant="full-step").run(Linear(3), x, y).images
    moved = (found - x).abs()
    at_edge = (moved - EPS).abs() < 1e-6
    assert bool((at_edge | (moved < 1e-6)).all())
    assert 0.2 < float(at_edge.float().mean()) < 0.8
