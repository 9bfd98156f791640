"""Front ends without a gradient, and the substitute that an attacker uses for them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers import Linear, images
from robustsnn.attacks import apgd, fgsm, pgd
from robustsnn.encoders import BPDA, Direct
from robustsnn.ground.errors import UserError
from robustsnn.losses import correct, margin


def quantise(x):
    return (x * 7).round() / 7


def test_direct_coding_is_the_image_at_a_time_axis_of_one():
    x = images(3)
    assert torch.equal(Direct()(x), x[None])


@pytest.mark.parametrize("front", [quantise, nn.Sequential(nn.Flatten(2), nn.Hardtanh(0.4, 0.6)), torch.sign])
def test_forward_is_the_front_end_bit_for_bit(front):
    x = 3 * torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    substitute = (lambda z: z.flatten(2)) if isinstance(front, nn.Module) else None
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(BPDA(front, substitute)(x.to(dtype)), front(x.to(dtype)))


def test_backward_is_the_substitute_alone():
    x = images(4).requires_grad_()
    upstream = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    (straight,) = torch.autograd.grad((BPDA(quantise)(x) * upstream).sum(), x)
    assert torch.equal(straight, upstream)
    (smooth,) = torch.autograd.grad((BPDA(quantise, lambda z: z**3)(x) * upstream).sum(), x)
    torch.testing.assert_close(smooth, 3 * x.detach() ** 2 * upstream)
    layer = nn.Conv2d(1, 1, 3, padding=1)
    assert {name for name, _ in BPDA(quantise, layer).named_parameters()} == {"substitute.weight", "substitute.bias"}


def test_shapes_that_differ_are_named():
    with pytest.raises(UserError, match=r"shape \(2, 16\), its substitute \(2, 1, 4, 4\)"):
        BPDA(nn.Flatten())(images(2))


def test_attacks_through_a_quantiser_need_it():
    linear, x = Linear(2), images(60)
    y = linear(quantise(x)).argmax(1)

    class Detached(nn.Module):
        """A quantiser by integers, through which no gradient flows."""

        def forward(self, x):
            return (x * 7).round().to(torch.uint8).float() / 7

    hidden = nn.Sequential(Detached(), linear)
    with pytest.raises(UserError, match="BPDA"):
        pgd(0.1, 5)(hidden, x, y)
    # Rounding has a gradient of zero: the attack only stumbles, and says so.
    rounded = nn.Sequential(BPDA(quantise, torch.round), linear)
    attempt = fgsm(0.1, loss=margin).run(rounded, x, y)
    assert attempt.zero_gradient.all()
    seen = nn.Sequential(BPDA(Detached()), linear)
    assert torch.equal(seen(x), hidden(x))
    attempt = apgd(0.1, 10, loss=margin).run(seen, x, y)
    assert not attempt.zero_gradient.any()
    # The judge is the true front end. Steps of one level of grey are as far as this eps can move an entry.
    through = int((~correct(hidden(attempt.images), y)).sum())
    stumbled = int((~correct(hidden(fgsm(0.1, loss=margin)(rounded, x, y)), y)).sum())
    assert through > 40
    assert through > 2 * stumbled
    with torch.no_grad():
        again = replace(apgd(0.1, 10, loss=margin), restarts=2)(seen, x, y)
    assert int((~correct(hidden(again), y)).sum()) >= through
