"""Losses per sample: closed forms, invariances, and what counts as an error."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustsnn.ground.errors import UserError
from robustsnn.losses import (
    LEAST_CLASSES,
    TARGETED,
    Summed,
    correct,
    cross_entropy,
    dlr,
    margin,
    targeted_cross_entropy,
    targeted_dlr,
    targeted_margin,
    true_probability,
)

ALL = [cross_entropy, margin, dlr, true_probability]


@st.composite
def batches(draw, least: int = 2) -> tuple[Tensor, Tensor]:
    """Logits in sixteenths (so ties happen, and sums are exact) and labels."""
    n, classes = draw(st.integers(1, 5)), draw(st.integers(least, 7))
    entries = st.lists(st.integers(-160, 160), min_size=n * classes, max_size=n * classes)
    z = torch.tensor(draw(entries)).float().view(n, classes) / 16
    y = torch.tensor(draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    return z, y


few = settings(deadline=None, max_examples=60)


@few
@given(batch=batches())
def test_cross_entropy_and_probability_by_their_formulas(batch):
    z, y = batch
    rows = [[math.exp(value) for value in row] for row in z.tolist()]
    shares = [row[label] / sum(row) for row, label in zip(rows, y.tolist(), strict=True)]
    assert true_probability(z, y).tolist() == pytest.approx(shares, rel=1e-5)
    assert cross_entropy(z, y).tolist() == pytest.approx([-math.log(share) for share in shares], rel=1e-5, abs=1e-6)
    assert torch.equal(cross_entropy(z, y), F.cross_entropy(z, y, reduction="none"))


@few
@given(batch=batches())
def test_margin_by_its_formula_and_sign(batch):
    z, y = batch
    pairs = list(zip(z.tolist(), y.tolist(), strict=True))
    rivals = [row[:label] + row[label + 1 :] for row, label in pairs]
    assert margin(z, y).tolist() == [
        max(others) - row[label] for others, (row, label) in zip(rivals, pairs, strict=True)
    ]
    assert correct(z, y).tolist() == [
        all(row[label] > other for other in others) for others, (row, label) in zip(rivals, pairs, strict=True)
    ]
    assert torch.equal(correct(z, y), margin(z, y) < 0)
    # Where the largest logit is unique, that is what argmax says.
    top = z.topk(2).values
    unique = top[:, 0] > top[:, 1]
    assert torch.equal(correct(z, y)[unique], (z.argmax(1) == y)[unique])


@few
@given(batch=batches(least=3), shift=st.integers(-50, 50), scale=st.sampled_from([0.25, 0.5, 2.0, 16.0]))
def test_dlr_by_its_formula_and_invariances(batch, shift, scale):
    z, y = batch
    ordered = z.sort(1, descending=True).values
    gap = ordered[:, 0] - ordered[:, 2]
    z, y, gap, ordered = z[gap > 0], y[gap > 0], gap[gap > 0], ordered[gap > 0]
    torch.testing.assert_close(dlr(z, y), margin(z, y) / gap)
    torch.testing.assert_close(dlr(scale * z + shift, y), dlr(z, y))
    assert (dlr(z, y).sign() == margin(z, y).sign()).all()
    # Where the prediction is correct: between -1 and 0, and -1 only if the second and third are level.
    right = dlr(z, y)[correct(z, y)]
    assert ((right < 0) & (right >= -1 - 1e-6)).all()


def test_worked_example():
    z = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [1.0, 4.0, 2.0]])
    y = torch.tensor([1, 2, 0])
    assert margin(z, y).tolist() == [-2, 2, 3]
    torch.testing.assert_close(dlr(z, y), torch.tensor([-2 / 3, 2 / 3, 1.0]))
    assert correct(z, y).tolist() == [True, False, False]


def test_dlr_does_not_vanish_for_a_confident_model():
    z, y = torch.tensor([[3.0, 1.0, 0.0]], requires_grad=True), torch.tensor([0])
    norms = {
        loss.__name__: [torch.autograd.grad(loss(k * z, y).sum(), z)[0].norm().item() for k in (1, 1000)]
        for loss in (cross_entropy, dlr)
    }
    assert norms["cross_entropy"][1] == 0
    assert norms["dlr"][1] == pytest.approx(norms["dlr"][0], rel=1e-5)
    assert norms["dlr"][0] > 0.1


@pytest.mark.parametrize("classes", [1, 2])
def test_dlr_says_why_it_needs_three_classes(classes):
    with pytest.raises(UserError, match=rf"dlr on {classes} classes.*third largest.*use margin"):
        dlr(torch.zeros(2, classes), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_tie_is_an_error(classes):
    z = torch.zeros(classes, classes)
    assert not correct(z, torch.arange(classes)).any()
    z = torch.eye(classes)
    assert correct(z, torch.arange(classes)).all()
    z[:, 0] = 1  # level with each true class, and the true class of the first sample
    assert correct(z, torch.arange(classes)).tolist() == [True] + [False] * (classes - 1)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_nan_is_an_error_wherever_it_is(place, label):
    z = torch.full((1, 3), -5.0)
    z[0, label] = 5.0
    y = torch.tensor([label])
    assert correct(z, y).item()
    z[0, place] = math.nan
    assert not correct(z, y).item()


@pytest.mark.parametrize("loss", [cross_entropy, margin, dlr])
def test_a_larger_loss_is_worse_for_the_model(loss):
    """Raising the true logit lowers each loss; the sum over samples is what an attack ascends."""
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.arange(50) % 6
    values = loss(z, y)
    assert values.shape == (50,)
    (gradient,) = torch.autograd.grad(values.sum(), z)
    true = gradient.gather(1, y[:, None])
    if loss is dlr:  # flat where the true class is the third: the ratio is 1 there
        third = z.topk(3).indices[:, 2] == y
        assert true[third].abs().max() < 1e-6
        true = true[~third]
    assert (true < 0).all()
    torch.testing.assert_close(gradient.sum(1), torch.zeros(50), rtol=0, atol=1e-5 * gradient.abs().max().item())


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_computed_in_float32(loss, dtype):
    z = torch.tensor([[2.0, -1.0, 0.5, 7.0]], dtype=dtype)
    y = torch.tensor([0])
    assert loss(z, y).dtype == torch.float32
    assert torch.equal(loss(z, y), loss(z.float(), y))


# Losses with a target


@few
@given(batch=batches(), turn=st.integers(1, 6))
def test_targeted_margin_and_cross_entropy_by_their_formulas(batch, turn):
    z, y = batch
    target = (y + 1 + turn % (z.shape[1] - 1)) % z.shape[1]  # any other class
    target = torch.where(target == y, (y + 1) % z.shape[1], target)
    rows = list(zip(z.tolist(), y.tolist(), target.tolist(), strict=True))
    assert targeted_margin(z, y, target).tolist() == [row[t] - row[label] for row, label, t in rows]
    expected = [row[t] - math.log(sum(math.exp(value) for value in row)) for row, _, t in rows]
    assert targeted_cross_entropy(z, y, target).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@few
@given(batch=batches(), seed=st.integers(0, 99))
def test_the_margin_is_the_largest_targeted_margin(batch, seed):
    z, y = batch
    others = [(y + shift) % z.shape[1] for shift in range(1, z.shape[1])]
    best = torch.stack([targeted_margin(z, y, other) for other in others]).amax(0)
    assert torch.equal(best, margin(z, y))


@few
@given(batch=batches(least=4), shift=st.integers(-50, 50), scale=st.sampled_from([0.25, 0.5, 2.0, 16.0]))
def test_targeted_dlr_by_its_formula_and_invariances(batch, shift, scale):
    z, y = batch
    target = (y + 1) % z.shape[1]
    ordered = z.sort(1, descending=True).values
    gap = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
    z, y, target, gap = z[gap > 0], y[gap > 0], target[gap > 0], gap[gap > 0]
    torch.testing.assert_close(targeted_dlr(z, y, target), targeted_margin(z, y, target) / gap)
    torch.testing.assert_close(targeted_dlr(scale * z + shift, y, target), targeted_dlr(z, y, target))


@pytest.mark.parametrize("loss", TARGETED)
def test_a_larger_targeted_loss_is_nearer_to_the_target(loss):
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y, target = torch.arange(50) % 6, (torch.arange(50) + 2) % 6
    values = loss(z, y, target)
    assert values.shape == (50,)
    (gradient,) = torch.autograd.grad(values.sum(), z)
    tops = z.topk(4).indices
    among = (tops == target[:, None]).any(1) | (tops == y[:, None]).any(1)
    plain = torch.ones(50, dtype=torch.bool) if loss is not targeted_dlr else ~among
    assert plain.any()
    rise = gradient.gather(1, target[:, None])[plain]
    fall = gradient.gather(1, y[:, None])[plain]
    assert (rise > 0).all()
    assert (fall < 0).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_targeted_dlr_says_why_it_needs_four_classes(classes):
    with pytest.raises(UserError, match=rf"targeted_dlr on {classes} classes.*four largest.*use targeted_margin"):
        targeted_dlr(torch.zeros(2, classes), torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long))


def test_least_classes_are_where_the_losses_begin_to_work():
    for loss, (least, other) in LEAST_CLASSES.items():
        assert (loss in TARGETED) == (other in TARGETED)
        assert other not in LEAST_CLASSES
        for classes in range(2, 6):
            arguments = [torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long)][: 1 + (loss in TARGETED)]
            z = torch.arange(classes).float().repeat(2, 1)
            if classes < least:
                with pytest.raises(UserError):
                    loss(z, *arguments)
            else:
                assert loss(z, *arguments).isfinite().all()


@few
@given(batch=batches(), steps=st.integers(1, 10))
def test_summed_logits_scale_margins_and_sharpen_cross_entropy(batch, steps):
    z, y = batch
    torch.testing.assert_close(Summed(margin, steps)(z, y), steps * margin(z, y))
    assert torch.equal(Summed(cross_entropy, steps)(z, y), cross_entropy(steps * z, y))
    assert repr(Summed(cross_entropy, steps)) == f"Summed(cross_entropy, {steps})"
