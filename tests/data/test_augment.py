"""Circular shifts, holes and event frames. Crops and flips of images are tested in test_batches.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.data.augment import Augment
from robustsnn.ground.errors import UserError

SEED = st.integers(0, 2**32)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def reference(x: torch.Tensor, augment: Augment, generator: torch.Generator) -> torch.Tensor:
    """The definition, one image after another, with what was there before for crops and flips."""
    moved = Augment(augment.crop, augment.flip)(x, generator=generator).clone()
    count, height, width = len(x), *x.shape[-2:]
    if augment.roll:
        shifts = torch.randint(2 * augment.roll + 1, (2, count), generator=generator) - augment.roll
        for i in range(count):
            moved[i] = moved[i].roll(tuple(shifts[:, i].tolist()), (-2, -1))
    if side := augment.cutout:
        top = torch.randint(height - side + 1, (count, 1), generator=generator)
        left = torch.randint(width - side + 1, (count, 1), generator=generator)
        for i in range(count):
            moved[i, ..., top[i] : top[i] + side, left[i] : left[i] + side] = 0
    return moved


@settings(max_examples=80, deadline=None)
@given(
    st.builds(Augment, st.integers(0, 6), st.booleans(), st.integers(0, 9), st.integers(0, 4)),
    st.sampled_from([(), (3,), (2, 2)]),
    st.integers(1, 7),
    SEED,
)
def test_equals_a_loop_over_the_images(augment: Augment, middle: tuple[int, ...], count: int, seed: int) -> None:
    x = (
        torch.rand(count, *middle, 5, 4, generator=seeded(seed))
        if middle[:1] != (0,)
        else torch.rand(count, 1, 2, 5, 4)
    )
    before = x.clone()
    result = augment(x, generator=seeded(seed))
    assert torch.equal(result, reference(x, augment, seeded(seed)))
    assert torch.equal(x, before)
    assert result.is_contiguous()
    assert result.shape == x.shape


@settings(max_examples=30, deadline=None)
@given(st.builds(Augment, st.integers(0, 2), st.booleans(), st.integers(0, 3), st.integers(0, 3)), SEED)
def test_time_steps_and_channels_move_together(augment: Augment, seed: int) -> None:
    image = torch.rand(4, 1, 1, 6, 5)
    result = augment(image.expand(4, 3, 2, 6, 5), generator=seeded(seed))
    assert torch.equal(result, result[:, :1, :1].expand_as(result))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), SEED)
def test_a_circular_shift_loses_nothing(roll: int, seed: int) -> None:
    x = torch.rand(5, 2, 2, 4, 6, generator=seeded(seed))
    result = Augment(roll=roll)(x, generator=seeded(seed))
    assert torch.equal(result.flatten(3).sort().values, x.flatten(3).sort().values)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), SEED)
def test_a_hole_is_a_square_and_all_else_stays(side: int, seed: int) -> None:
    x = torch.rand(5, 2, 3, 5, 7, generator=seeded(seed)) + 1
    result = Augment(cutout=side)(x, generator=seeded(seed))
    hole = result == 0
    assert torch.equal(torch.where(hole, x, result), x)
    rows, columns = hole.any(-1).sum(-1), hole.any(-2).sum(-1)
    assert (rows == side).all()
    assert (columns == side).all()
    assert (hole.sum((-2, -1)) == side * side).all()


def test_shifts_and_places_are_uniform() -> None:
    """Chi-squared over all outcomes, against the 99.99 % quantiles with 24 degrees of freedom."""
    count = 20_000
    x = torch.zeros(count, 1, 6, 7)
    x[:, 0, 3, 3] = 1
    shifted = Augment(roll=2)(x, generator=seeded(0)).flatten(1).argmax(1)
    outcome = (shifted // 7 - 1) * 5 + (shifted % 7 - 1)
    hole = Augment(cutout=2)(torch.ones(count, 1, 6, 6), generator=seeded(1)).flatten(1).argmin(1)
    for observed in (outcome.bincount(minlength=25), (hole // 6 * 5 + hole % 6).bincount(minlength=25)):
        assert len(observed) == 25
        assert ((observed - count / 25) ** 2 / (count / 25)).sum() < 59.7


def test_what_is_new_draws_after_what_was_there() -> None:
    x = torch.rand(6, 3, 8, 8)
    old, new = seeded(3), seeded(3)
    moved = Augment(2, True)(x, generator=old)
    assert torch.equal(Augment(2, True, roll=1)(x, generator=new), reference(x, Augment(2, True, 1), seeded(3)))
    assert torch.equal(torch.randint(3, (2, 6), generator=old), torch.randint(3, (2, 6), generator=seeded_after(x)))
    assert not torch.equal(moved, x)


def seeded_after(x: torch.Tensor) -> torch.Generator:
    """Where the stream stands after crops and flips, drawn as they always were."""
    generator = seeded(3)
    torch.randint(5, (2, len(x)), generator=generator)
    torch.randint(2, (len(x), 1), generator=generator)
    return generator


@pytest.mark.parametrize("wrong", [{"roll": -1}, {"cutout": -2}])
def test_refuses_negative_pixels(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        Augment(**wrong)


def test_refuses_a_hole_larger_than_the_image() -> None:
    with pytest.raises(UserError, match="cutout 5 of images of 4x9"):
        Augment(cutout=5)(torch.zeros(1, 2, 4, 9), generator=seeded(0))
