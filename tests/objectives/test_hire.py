"""HIRE: what each period shows, how the noise moves, and where it stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers import images, spiking
from robustsnn.encoders import BPDA
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.objectives import Hire

Y = torch.tensor([0, 1, 2, 3, 1])


def draws():
    return torch.Generator().manual_seed(0)


def drive(objective, model, x, rate=0.0):
    """All updates of a batch: (code, logits, gradient of each step of the code) per update."""
    found = []
    read = model.read

    def keeping(code):
        found.append([code])
        if code.requires_grad:
            code.retain_grad()
        return read(code)

    model.read = keeping
    try:
        for terms, logits in objective.updates(model, x, Y, generator=draws()):
            torch.testing.assert_close(terms["cross_entropy"], cross_entropy(logits, Y))
            model.zero_grad()
            terms["cross_entropy"].mean().backward()
            code = found[-1][0]
            found[-1] += [logits.detach(), code.grad.clone()]
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= rate * parameter.grad
    finally:
        del model.read
    return [(code.detach(), logits, gradient) for code, logits, gradient in found]


@pytest.mark.parametrize(("periods", "steps"), [(1, 4), (2, 4), (4, 4), (3, 6)])
def test_periods_keep_what_was_shown_and_noise_follows_the_sign_of_the_gradient(periods, steps):
    model, x = spiking(steps=steps), images(5, (1, 8, 8), low=0.0, high=1.0)
    passes = drive(Hire(0.1, step=0.04, periods=periods), model, x, rate=0.05)
    assert len(passes) == periods
    length = steps // periods
    first = passes[0][0]
    assert first.shape == (1, *x.shape)  # the same at every step
    assert (first[0] - x).abs().max() > 0.09
    codes = [first.expand(steps, *x.shape), *(code for code, _, _ in passes[1:])]
    gradients = [gradient for _, _, gradient in passes]
    for i in range(1, periods):
        at = i * length
        assert torch.equal(codes[i][:at], codes[i - 1][:at])  # the past is as it was shown
        assert bool((codes[i][at:] == codes[i][at]).all())  # the rest has one image
        total = gradients[i - 1][(i - 1) * length if i > 1 else 0 :].sum(0)
        moved = codes[i - 1][-1] + 0.04 * total.sign()
        expected = torch.min(torch.max(moved, x - 0.1), x + 0.1).clamp(0, 1)
        clear = total.abs() > 1e-7  # where rounding decides no sign
        torch.testing.assert_close(codes[i][-1][clear], expected[clear])
        assert clear.float().mean() > 0.5
    for code in codes:
        assert (code - x).abs().max() <= 0.1 + 1e-6
        assert code.min() >= 0
        assert code.max() <= 1


def test_each_update_sees_the_weights_of_the_one_before():
    model, x = spiking(steps=4), images(5, (1, 8, 8))
    still = drive(Hire(0.1), model, x)
    model = spiking(steps=4)
    learning = drive(Hire(0.1), model, x, rate=0.5)
    assert torch.equal(still[0][1], learning[0][1])
    assert torch.equal(still[1][0], learning[1][0])
    assert not torch.equal(still[1][1], learning[1][1])


def test_the_noise_moves_by_eps_unless_told():
    model, x = spiking(steps=4), images(5, (1, 8, 8))
    first, second = (code for code, _, _ in drive(Hire(0.05), model, x))
    own, told = second[-1], drive(Hire(0.05, step=0.05), spiking(steps=4), x)[1][0][-1]
    assert torch.equal(own, told)
    assert not torch.equal(own, first[0])


def test_an_update_that_was_not_made_is_noticed():
    objective = Hire(0.1).updates(spiking(steps=4), images(5, (1, 8, 8)), Y, generator=draws())
    next(objective)
    with pytest.raises(RuntimeError, match="must be differentiated"):
        next(objective)


def test_what_it_cannot_do_is_refused():
    x = images(5, (1, 8, 8))
    with pytest.raises(UserError, match="it must divide T"):
        next(Hire(0.1, periods=3).updates(spiking(steps=4), x, Y, generator=draws()))
    coded = spiking(steps=4)
    coded.encoder = BPDA(torch.round)
    for model in (coded, nn.Flatten()):
        with pytest.raises(UserError, match="direct coding"):
            next(Hire(0.1).updates(model, x, Y, generator=draws()))
    for bad in ({"eps": 0.0}, {"eps": 8.0}, {"eps": 0.1, "step": -1.0}, {"eps": 0.1, "periods": 0}):
        with pytest.raises(UserError):
            Hire(**bad)
