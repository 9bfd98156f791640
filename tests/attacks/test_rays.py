"""RayS: blocks and radii against closed forms, and that it hears nothing but decisions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks import L2, Linf, RayS, Square, Streams, reliable
from robustsnn.attacks.rays import PRECISION, halving
from robustsnn.evaluation.fitting import fit_to
from robustsnn.evaluation.judge import Judge
from robustsnn.evaluation.probe import quantised
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin


class OneHot(nn.Module):
    """The decisions of a model alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        logits = self.inner(x)
        return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


def radii(model, x, y):
    """|margin| / ||w||_1 of a linear model of two classes: the distance to its decision in Linf."""
    w = (model.weight[1 - y] - model.weight[y]).detach()
    return -margin(model(x), y).detach() / w.abs().sum(1)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 100])
def test_every_level_of_blocks_covers_the_image_once(n):
    blocks = halving(n)
    assert blocks[0] == (0, n)
    assert blocks[-n:] == [(i, i + 1) for i in range(n)]
    ends = [i for i, (_, end) in enumerate(blocks) if end == n]
    starts = [0, *(i + 1 for i in ends)]
    for level, (first, last) in enumerate(zip(starts, ends, strict=False)):
        covered = [k for at, end in blocks[first : last + 1] for k in range(at, end)]
        assert covered == list(range(n))
        assert last - first + 1 <= 2**level


def test_samples_fall_just_where_the_distance_to_a_linear_decision_says():
    model, x = Linear(2), images(60)  # far from the range's ends, so nothing is cut
    y = model(x).argmax(1)
    true = radii(model, x, y)
    for eps in true.quantile(torch.tensor([0.2, 0.5, 0.8])).tolist():
        broken = ~correct(model(RayS(Linf(eps), 500).run(model, x, y).images), y)
        assert bool(broken[true * (1 + 2 * PRECISION) < eps].all())
        assert not bool(broken[true > 1.001 * eps].any())


def test_a_sample_that_stands_gets_the_corner_of_its_best_direction():
    """Of a linear model: nearly the worst one."""
    model, x = Linear(2), images(60)
    y = model(x).argmax(1)
    true = radii(model, x, y)
    eps = float(true.quantile(0.2))
    z = RayS(Linf(eps), 800).run(model, x, y).images
    standing = correct(model(z), y)
    torch.testing.assert_close((z - x).abs(), torch.full_like(z, eps))
    gained = (margin(model(z), y) / margin(model(x), y)).detach()
    assert bool((1 - gained > 0.9 * eps / true)[standing].all())


def test_it_hears_decisions_alone():
    """Logits and their decisions give the same, pass by pass, and no point depends on what a margin is."""
    model, x = spiking(), images(12, (1, 8, 8))
    y = model(x).argmax(1)
    attack = RayS(Linf(0.01), 150)
    found, twin = (attack.run(net, x, y) for net in (model, OneHot(model)))
    assert torch.equal(found.images, twin.images)
    assert torch.equal(found.forwards, twin.forwards)
    assert 0 < correct(model(found.images), y).sum() < 12


def test_it_breaks_what_square_by_margins_cannot_see():
    """On a one-hot linear model the margin tells nothing; random search then moves by chance."""
    model, x = Linear(2, (1, 8, 8)), images(30, (1, 8, 8))
    blind, y = OneHot(model), Linear(2, (1, 8, 8))(x).argmax(1)
    eps = 1.1 * float(radii(model, x, y).median())
    left = [
        int(correct(blind(a.run(blind, x, y).images), y).sum()) for a in (RayS(Linf(eps), 800), Square(Linf(eps), 800))
    ]
    breakable = int((radii(model, x, y) < eps).sum())
    assert left[0] <= 30 - 0.9 * breakable
    assert left[1] > left[0]


@pytest.mark.parametrize("draws", [1, 3])
def test_costs_are_the_true_numbers_of_passes_and_within_the_budget(draws):
    model, x = Counting(3), images(40)
    y = model(x).argmax(1)
    y[:3] = (y[:3] + 1) % 3
    for queries in (1, 2, 7, 90):
        model.passes = 0
        attempt = RayS(Linf(0.02), queries, draws).run(model, x, y)
        assert int(attempt.forwards.sum()) == model.passes
        assert attempt.forwards[:3].tolist() == [draws] * 3
        assert torch.equal(attempt.images[:3], x[:3])
        assert not bool(attempt.backwards.any())
        stands = correct(model(attempt.images), y)
        assert stands.sum() > 0
        assert attempt.forwards[stands].unique().tolist() == [draws * (queries + 1)]


def test_more_queries_go_on_where_fewer_stopped():
    model, x = spiking(), images(16, (1, 8, 8))
    y = model(x).argmax(1)
    long = RayS(Linf(0.008), 200).run(model, x, y)
    for queries in (2, 20, 60):
        short = RayS(Linf(0.008), queries).run(model, x, y)
        ended = short.forwards <= queries
        assert torch.equal(short.images[ended], long.images[ended])
        assert torch.equal(short.forwards, long.forwards.clamp_max(queries + 1))
    assert 0 < ended.sum() < 16
    assert not bool(correct(model(long.images), y)[long.forwards <= 200].any())


def test_eps_zero_no_images_vectors_and_repr():
    model, x = Linear(3), images(5)
    y = model(x).argmax(1)
    attack = RayS(Linf(0.0), 15)
    assert torch.equal(attack.run(model, x, y).images, x)
    assert len(attack.run(model, x[:0], y[:0]).images) == 0
    flat = RayS(Linf(0.1), 50).run(model, x.flatten(1), y).images
    assert torch.equal(flat.view_as(x), RayS(Linf(0.1), 50).run(model, x, y).images)
    assert eval(repr(attack)) == attack
    assert (attack.label, attack.black_box) == ("rays", True)


def test_bad_arguments():
    with pytest.raises(UserError, match="queries"):
        RayS(Linf(0.1), 0)
    with pytest.raises(UserError, match="corners"):
        RayS(L2(0.1))


def test_it_is_kept_for_quantised_outputs_alone():
    x = images(20, (1, 8, 8))
    model = spiking()

    def kept(net, suite):
        return [a for _, a in fit_to(net, suite, x, Judge()).members() if isinstance(a, RayS)]

    suite = reliable(0.01)
    assert kept(OneHot(model), suite) == [RayS(Linf(0.01))]
    assert not kept(model, suite)
    saturated = nn.Sequential(model, Times(1e5), nn.Softmax(1))
    assert kept(saturated, suite)  # probabilities that are 1 to rounding say nothing either
    assert not any(isinstance(a, RayS) for _, a in reliable(0.1, norm="L2").members())
    assert suite.without_decisions().without_decisions() == suite.without_decisions()


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize("n", [1, 2, 20])
def test_quantised_is_said_of_margins_that_noise_leaves_as_they_are(n):
    model, x = Linear(4), images(n)
    assert not quantised(model, x, Linf(0.1))
    assert quantised(OneHot(model), x, Linf(0.1))
    state = torch.random.get_rng_state()
    assert quantised(OneHot(model), x, Linf(0.1, low=-1.0, high=2.0))
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_first_ray_is_the_drawn_one():
    """A network that falls in one corner alone, the first drawn: one query finds it, another that it is near."""
    first = torch.where(Streams([7]).uniform(16) < 0.5, -1.0, 1.0).view(1, 1, 4, 4)

    class Trap(nn.Module):
        def forward(self, x):
            wrong = (((x - 0.5) * first).flatten(1) > 0.01).all(1).float()
            return torch.stack([1 - wrong, wrong], 1)

    x, y = torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, dtype=torch.int64)
    found = RayS(Linf(0.1), 2).run(Trap(), x, y, generator=Streams([7]))
    torch.testing.assert_close(found.images, x + 0.1 * first)
    assert int(found.forwards) == 3
