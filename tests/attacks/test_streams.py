"""Random streams: what a sample draws does not depend on the samples beside it."""

import pytest
import torch

from helpers import images
from robustsnn.attacks import Streams
from robustsnn.ground.seeds import generator


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
