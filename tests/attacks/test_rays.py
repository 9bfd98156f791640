"""RayS: blocks and radii against closed forms, and that it hears nothing but decisions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import Counting, Linear, images, spiking
from robustsnn.attacks import L2, Linf, RayS, Streams, fgsm, quick, reliable
from robustsnn.attacks.rays import PRECISION, halving
from robustsnn.errors import UserError
from robustsnn.evaluation.fitting import fit_to
from robustsnn.evaluation.judge import Judge
from robustsnn.evaluation.probe import quantised
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


def test_the_distance_to_a_linear_decision_is_found_to_its_precision():
    """Just beyond |margin| / ||w||_1 all samples fall, just below it none."""
    model, x = Linear(2), images(20)  # far from the range's ends, so nothing is cut
    y = model(x).argmax(1)
    true = radii(model, x, y)
    for i in range(20):
        for factor, falls in ((0.99, False), (1.01, True)):
            attack = RayS(Linf(float(factor * true[i])), 400)
            found = attack.run(model, x[i : i + 1], y[i : i + 1]).images
            assert bool(correct(model(found), y[i : i + 1])) != falls


def test_a_sample_that_stands_gets_the_worst_corner_of_a_linear_model():
    model, x = Linear(2), images(20)
    y = model(x).argmax(1)
    eps = 0.5 * float(radii(model, x, y).min())
    found = RayS(Linf(eps), 400).run(model, x, y).images
    w = (model.weight[1 - y] - model.weight[y]).detach().view_as(x)
    moved = (w.abs() * ((found - x).sign() == w.sign())).flatten(1).sum(1) / w.abs().flatten(1).sum(1)
    assert moved.min() > 1 - 20 * PRECISION
