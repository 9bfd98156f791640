"""Random streams: what a sample draws, and finds, does not depend on the samples beside it."""

import pytest
import torch
from torch import nn

from helpers import images
from robustsnn.attacks import (
    L2,
    Attack,
    Flips,
    Linf,
    MinimumNorm,
    RandomSearch,
    Source,
    SparseFlips,
    Square,
    Streams,
    Transfer,
    apgd,
    mi_fgsm,
    pgd,
    rfgsm,
    sa_pgd,
)
from robustsnn.attacks.start import AtImage, Boundary
from robustsnn.attacks.step import APGD, Adam
from robustsnn.losses import dlr, margin, targeted_margin
from robustsnn.seeds import generator

EPS = 1 / 16


def test_streams_are_of_their_seeds_alone():
    whole = Streams([5, 6, 7])
    uniform, normal = whole.uniform(2, 3), whole.normal(4)
    assert uniform.shape == (3, 2, 3)
    assert normal.shape == (3, 4)
    assert bool(((uniform >= 0) & (uniform < 1)).all())
    for i, seed in enumerate((5, 6, 7)):
        alone = Streams([seed])
        assert torch.equal(alone.uniform(2, 3)[0], uniform[i])
        assert torch.equal(alone.normal(4)[0], normal[i])
    assert len({tuple(row) for row in uniform.flatten(1).tolist()}) == 3
    assert len(whole) == 3
    assert Streams([]).normal(2, 2).shape == (0, 2, 2)


def test_selected_streams_go_on_where_they_are():
    a, b = Streams([5, 6, 7]), Streams([5, 6, 7])
    assert torch.equal(a.uniform(3), b.uniform(3))
    chosen = a[torch.tensor([2, 0])]
    drawn = chosen.uniform(2)
    rest = b.uniform(2)
    assert torch.equal(drawn, rest[[2, 0]])
    # Those that were left out stand where they stood, the others have moved.
    following = a.uniform(2)
    assert torch.equal(following[1], rest[1])
    assert torch.equal(following[[0, 2]], b.uniform(2)[[0, 2]])


def test_streams_of_a_generator_and_of_nothing():
    x = images(4)
    none, zero = Streams.of(None, x), Streams.of(torch.Generator().manual_seed(0), x)
    assert torch.equal(none.uniform(5), zero.uniform(5))
    given = Streams([1, 2, 3, 4])
    assert Streams.of(given, x) is given
    with pytest.raises(ValueError, match="3 streams given for 4 samples"):
        Streams.of(Streams([1, 2, 3]), x)
    draws = generator(1)
    assert not torch.equal(Streams.of(draws, x).uniform(5), Streams.of(draws, x).uniform(5))


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


def threat_of(norm):
    return Linf(EPS) if norm == "Linf" else L2(0.2)


ATTACKS = [
    rfgsm(EPS),
    rfgsm(EPS, variant="ten-step"),
    pgd(EPS, 5, restarts=3),
    pgd(0.2, 5, norm="L2", loss=margin, restarts=2),
    pgd(EPS, 4, keep="last"),
    apgd(EPS, 12, restarts=2),
    apgd(0.2, 12, norm="L2", loss=dlr),
    sa_pgd(EPS, 12, restarts=2),
    mi_fgsm(EPS, 5),
    Attack(Linf(EPS), Adam(EPS / 4), Boundary(), steps=6, restarts=2),
    Attack(Linf(EPS), APGD(2 * EPS), Boundary(), loss=targeted_margin, steps=6, targets=3, restarts=2),
    *(MinimumNorm(threat_of(norm), steps=8, restarts=2) for norm in ("Linf", "L2")),
    *(Square(threat_of(norm), 30) for norm in ("Linf", "L2")),
    *(RandomSearch(threat_of(norm), kind, 8) for norm in ("Linf", "L2") for kind in ("uniform", "gaussian", "corners")),
    Transfer(Source("other", Whole(seed=1)), pgd(EPS, 5)),
]


def compare(attack, model, x, y):
    """Run on all samples, on a part of them in another order, and on single ones: everything is the same."""
    seeds = [1000 + i for i in range(len(x))]
    whole = attack.run(model, x, y, generator=Streams(seeds))
    for part in ([9, 4, 7, 1, 12], [3], [len(x) - 1]):
        at = torch.tensor(part)
        found = attack.run(model, x[at], y[at], generator=Streams([seeds[i] for i in part]))
        assert torch.equal(found.images, whole.images[at])
        for cost in ("forwards", "backwards", "zero_gradient", "nan_gradient"):
            assert torch.equal(getattr(found, cost), getattr(whole, cost)[at])
    return whole


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_sample_finds_the_same_alone_and_in_any_company(attack):
    model = Whole()
    x = (images(16).double() * 2**20).round() / 2**20
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 4  # left alone by most attacks
    whole = compare(attack, model, x, y)
    assert not torch.equal(whole.images, x)
    if not isinstance(attack, MinimumNorm) and getattr(attack, "start", None) != AtImage():  # these find their own way
        assert not torch.equal(attack.run(model, x, y, generator=Streams(range(16))).images, whole.images)


@pytest.mark.parametrize(
    "attack", [pgd(EPS, 5), apgd(EPS, 8), sa_pgd(EPS, 8), MinimumNorm(Linf(EPS), steps=8)], ids=repr
)
def test_random_moves_at_dead_gradients_are_a_samples_own_too(attack):
    x = 0.5 + 0.001 * torch.arange(16.0).view(-1, 1, 1, 1).expand(16, 1, 2, 2).contiguous()
    y = torch.zeros(16, dtype=torch.int64)
    whole = compare(attack, Dead(), x, y)
    assert whole.zero_gradient[:5].all()
    assert len({tuple(row) for row in (whole.images - x)[:5].flatten(1).tolist()}) >= 4  # one may stay where it was


def test_flips_of_frames_are_a_samples_own():
    model, draws = Whole(), generator(3)
    x = torch.randint(0, 2, (16, 1, 4, 4), generator=draws).float()
    compare(SparseFlips(Flips(3)), model, x, model(x).argmax(1))
