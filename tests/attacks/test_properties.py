"""What every attack keeps to, whatever it searches by: its budget, its samples apart, and everything else as it was."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers import images, spiking
from robustsnn.attacks import (
    L2,
    Attack,
    CornerSearch,
    Flips,
    Linf,
    MinimumNorm,
    RandomSearch,
    RayS,
    Source,
    SparseFlips,
    Square,
    Streams,
    Transfer,
    apgd,
    fgsm,
    mi_fgsm,
    mix_pgd,
    pgd,
    rfgsm,
    sa_pgd,
)
from robustsnn.attacks.start import AtImage, Boundary
from robustsnn.attacks.step import APGD, SAPGD, Adam, GradientStep, Momentum
from robustsnn.attacks.threat import verify
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import generator
from robustsnn.losses import correct, dlr, margin, targeted_margin
from robustsnn.neurons import ASSG, RGA, STBP, Arctan, Sigmoid, neuron_layers

COSTS = ("forwards", "backwards", "zero_gradient", "nan_gradient")


def attackers(model, eps, far, queries):
    """One of each kind, in Linf of radius eps and L2 of radius far; transfer is from that model."""
    balls = (Linf(eps), L2(far))
    return [
        fgsm(eps),
        fgsm(far, norm="L2"),
        rfgsm(eps),
        rfgsm(eps, variant="ten-step"),
        rfgsm(eps, variant="full-step"),
        pgd(eps, 5, restarts=3),
        pgd(far, 5, norm="L2", loss=margin, restarts=2),
        pgd(eps, 4, keep="last"),
        apgd(eps, 12, restarts=2),
        apgd(far, 12, norm="L2", loss=dlr),
        sa_pgd(eps, 12, restarts=2),
        mi_fgsm(eps, 5),
        Attack(balls[0], Adam(eps / 4), Boundary(), steps=6, restarts=2),
        Attack(balls[0], APGD(2 * eps), Boundary(), loss=targeted_margin, steps=6, targets=3, restarts=2),
        *(MinimumNorm(ball, steps=8, restarts=2) for ball in balls),
        MinimumNorm(balls[0], steps=6, targets=2),
        *(Square(ball, queries) for ball in balls),
        RayS(balls[0], queries),
        CornerSearch(balls[0], queries, patience=5),
        *(RandomSearch(ball, kind, 15) for ball in balls for kind in ("uniform", "gaussian", "corners")),
        *(SparseFlips(Flips(flips), grow=2) for flips in (1, 3)),
        Transfer(Source("other", model), pgd(eps, 5)),
    ]


def inputs(attack, x):
    """Binary where the attack needs that."""
    return x.round() if isinstance(attack, SparseFlips) else x


class Whole(nn.Module):
    """Linear with whole weights in float64, summed exactly on images in multiples of 2^-20."""

    def __init__(self, classes=4, entries=16, seed=0):
        super().__init__()
        weight = torch.randint(-8, 9, (classes, entries), generator=generator(seed)).double()
        self.weight = nn.Parameter(weight)
        self.register_buffer("shift", -0.5 * weight.sum(1))

    def forward(self, x):
        return (x.double().flatten(1)[:, None] * self.weight).sum(2) + self.shift


class Dead(nn.Module):
    """No gradient anywhere, and a boundary: random moves alone break it."""

    def forward(self, x):
        mean = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([(mean < 0.505).double(), torch.full_like(mean, 0.5)], 1) + 0 * mean


def compare(attack, model, x, y):
    """Run on all samples, on a part of them in another order, and on single ones: everything is the same."""
    seeds = [1000 + i for i in range(len(x))]
    whole = attack.run(model, x, y, generator=Streams(seeds))
    for part in ([9, 4, 7, 1, 12], [3], [len(x) - 1]):
        at = torch.tensor(part)
        found = attack.run(model, x[at], y[at], generator=Streams([seeds[i] for i in part]))
        assert torch.equal(found.images, whole.images[at])
        for cost in COSTS:
            assert torch.equal(getattr(found, cost), getattr(whole, cost)[at])
    return whole


@pytest.mark.parametrize("attack", attackers(Whole(seed=1), 1 / 32, 0.1, 230), ids=repr)  # Square draws by the hundred
def test_a_sample_finds_the_same_alone_and_in_any_company(attack):
    model = Whole()
    x = inputs(attack, (images(16).double() * 2**20).round() / 2**20)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 4  # left alone by most attacks
    whole = compare(attack, model, x, y)
    assert not torch.equal(whole.images, x)
    broken = ~correct(model(whole.images), y)
    assert broken.sum() > 1
    assert not broken.all() or isinstance(attack, SparseFlips)
    own_way = isinstance(attack, MinimumNorm | SparseFlips) or getattr(attack, "start", None) == AtImage()
    if not own_way:
        assert not torch.equal(attack.run(model, x, y, generator=Streams(range(16))).images, whole.images)


@pytest.mark.parametrize(
    "attack", [pgd(1 / 16, 5), apgd(1 / 16, 8), sa_pgd(1 / 16, 8), MinimumNorm(Linf(1 / 16), steps=8)], ids=repr
)
def test_random_moves_at_dead_gradients_are_a_samples_own_too(attack):
    x = 0.5 + 0.001 * torch.arange(16.0).view(-1, 1, 1, 1).expand(16, 1, 2, 2).contiguous()
    y = torch.zeros(16, dtype=torch.int64)
    whole = compare(attack, Dead(), x, y)
    assert whole.zero_gradient[:5].all()
    assert len({tuple(row) for row in (whole.images - x)[:5].flatten(1).tolist()}) >= 4  # one may stay where it was


SPIKING = attackers(spiking(1), 0.004, 0.03, 30)
SPIKING.append(mix_pgd(0.004, 3))
RULED = [replace(a, rule=rule) for a in SPIKING if isinstance(a, MinimumNorm | SparseFlips) for rule in (RGA(), ASSG())]


@pytest.mark.parametrize("attack", [*SPIKING, *RULED], ids=repr)
def test_budget_range_and_determinism_on_a_spiking_network(attack):
    model, x = spiking(), inputs(attack, images(12, (1, 8, 8), low=0.0, high=1.0))
    y = model(x).argmax(1)
    before, state = (x.clone(), y.clone()), torch.random.get_rng_state()

    def run(seed=1):
        return attack.run(model, x, y, generator=torch.Generator().manual_seed(seed))

    found, again = run(), run()
    for name in ("images", *COSTS):
        assert torch.equal(getattr(found, name), getattr(again, name))
    assert torch.equal(attack.run(model, x, y).images, run(0).images)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert torch.equal(torch.random.get_rng_state(), state)
    verify(attack.threat, found.images, x, attack)
    assert not torch.equal(found.images, x)


def on_grid(attack):
    """The attack on grey levels of 8 bits; None where that is not defined."""
    if isinstance(attack, Transfer):
        return replace(attack, attack=on_grid(attack.attack))
    return replace(attack, threat=replace(attack.threat, levels=255)) if attack.threat.norm == "Linf" else None


GRID = [found for attack in attackers(spiking(1), 2 / 255, 0.03, 30) if (found := on_grid(attack)) is not None]


@pytest.mark.parametrize("attack", GRID, ids=repr)
def test_every_attack_on_grey_levels_lands_on_them(attack):
    model = spiking()
    shade = (255 * images(12, (1, 8, 8), low=0.0, high=1.0)).round()
    x = shade / 255
    found = attack.run(model, x, model(x).argmax(1), generator=torch.Generator().manual_seed(1)).images
    after = (found * 255).round()
    assert torch.equal(after / 255, found)
    assert (after - shade).abs().max() in (1, 2)
    verify(attack.threat, found, x, attack)
    with pytest.raises(UserError, match="levels=255"):
        attack.run(model, x + 0.3 / 255 * (x < 0.5), model(x).argmax(1))


@pytest.mark.parametrize("step", [GradientStep(0.2 / 255), SAPGD(0.2 / 255), Momentum(0.2 / 255), Adam(0.2 / 255)])
def test_steps_of_less_than_a_level_add_up_on_the_grid(step):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(model[1].weight, 0.1)
    with torch.no_grad():
        model[1].weight[0].neg_()
        model[1].bias.copy_(torch.tensor([9.0, 0.0]))  # nothing breaks it
    x, y = torch.full((1, 1, 2, 2), 100 / 255), torch.zeros(1, dtype=torch.int64)
    found = Attack(Linf(4 / 255, levels=255), step, steps=40).run(model, x, y).images
    # SA-PGD halves its step: 0.2 (9 + 8/2 + 6/4 + ...) levels are more than 3.
    assert bool((found >= (103 if isinstance(step, SAPGD) else 104) / 255 - 1e-6).all())


class Exploding(nn.Module):
    def __init__(self, inner, after):
        super().__init__()
        self.inner, self.calls, self.after = inner, 0, after

    def forward(self, x):
        self.calls += 1
        if self.calls > self.after:
            raise ZeroDivisionError("planted")
        return self.inner(x)


@pytest.mark.parametrize("attack", SPIKING, ids=repr)
@pytest.mark.parametrize("passes", [0, 1, 10**6])
def test_the_model_is_left_as_it_was(attack, passes):
    inner, x = spiking(), inputs(attack, images(6, (1, 8, 8)))
    y = inner(x).argmax(1)
    inner.train()
    inner.body[0].eval()
    next(inner.parameters()).requires_grad_(False)
    rules = [STBP(), RGA(), STBP(Arctan())]
    for layer, rule in zip(neuron_layers(inner), rules, strict=True):
        layer.rule = rule
    model = Exploding(inner, passes)
    if isinstance(attack, Transfer):
        attack = Transfer(Source("other", model), replace(attack.attack, rule=STBP(Sigmoid())))
    elif not attack.black_box:
        attack = replace(attack, rule=STBP(Sigmoid()))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    modes = [m.training for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    if passes < 10**6:
        with pytest.raises(ZeroDivisionError):
            attack.run(model, x, y)
    else:
        attack.run(model, x, y)
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == grads
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert [layer.rule for layer in neuron_layers(inner)] == rules
