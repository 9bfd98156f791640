"""The space behind the encoder: the same network, a larger space to perturb."""

import pytest
import torch
from torch import nn

from helpers import Linear, images, spiking
from robustsnn.attacks import Linf, Suite, apgd, fgsm, paper_trail, pgd
from robustsnn.attacks.threat import verify
from robustsnn.encoders import BPDA
from robustsnn.evaluation import evaluate, run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import batch_statistics, frozen
from robustsnn.losses import correct, cross_entropy, margin
from robustsnn.models import Classifier, Encoded
from robustsnn.neurons import neuron_layers


class Drawn(nn.Module):
    """A random spike code: each step is one where a uniform number is below the pixel."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, x):
        return (torch.rand(self.steps, *x.shape) < x).float()


@pytest.mark.parametrize("image", [(1, 8, 8), (3, 16, 16)])
@torch.no_grad()
def test_behind_the_encoder_is_the_same_network_bit_for_bit(image):
    model, x = spiking(image=image), images(12, image)
    view = Encoded(model)
    code = view.encode(x)
    assert code.shape == (12, 3, *image)
    assert torch.equal(code, x[:, None].expand_as(code))
    assert torch.equal(view(code), model(x))
    for step in range(3):  # each is looked at
        changed = code.clone()
        changed[:, step] = images(12, image, seed=9, low=0.0, high=1.0)
        assert not torch.equal(view(changed), model(x))
    assert neuron_layers(view) == neuron_layers(model)


def test_gradients_of_the_steps_add_up_to_that_of_the_image():
    model, x = spiking(), images(8, (1, 8, 8))
    view, y = Encoded(model), model(x).argmax(1)
    with frozen(model):
        pixels, code = x.clone().requires_grad_(), view.encode(x).requires_grad_()
        (whole,) = torch.autograd.grad(margin(model(pixels), y).sum(), pixels)
        (steps,) = torch.autograd.grad(margin(view(code), y).sum(), code)
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(steps.sum(1), whole, rtol=1e-4, atol=1e-5)


def test_a_random_encoder_draws_once():
    inner = spiking()
    model = Classifier(inner.body, BPDA(Drawn(3), lambda x: x.expand(3, *x.shape)), (1, 8, 8))
    view = Encoded(model)
    code = view.encode(images(4, (1, 8, 8)))
    assert code.shape == (4, 3, 1, 8, 8)
    assert set(code.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(view(code), view(code))
    assert not torch.equal(code[:, 0], code[:, 1])


def test_only_classifiers_have_one():
    with pytest.raises(UserError, match=r"Linear has no encoded space.*pixel space"):
        Encoded(Linear(3))


@pytest.mark.parametrize("attack", [pgd(0.05, 4), apgd(0.05, 4), fgsm(0.05)], ids=lambda a: a.label)
def test_each_step_has_the_whole_budget_and_none_more(attack):
    model, x = spiking(), images(10, (1, 8, 8), low=0.0, high=1.0)
    view, y = Encoded(model), model(x).argmax(1)
    ((_, moved),) = Suite("s", (("c", (attack,)),)).encoded().members()
    assert moved.threat == Linf(0.05, space="encoded")
    code = view.encode(x)
    found = moved(view, code, y)
    verify(moved.threat, found, code, attack)
    shift = (found - code).abs()
    assert shift.amax().item() == pytest.approx(0.05, abs=1e-6)
    assert bool(((found >= 0) & (found <= 1)).all())
    assert not torch.equal(found[:, 0], found[:, 1])  # steps move on their own


@pytest.fixture(scope="module")
def trained():
    """A net that tells where an image is bright, and images of it."""
    draws = torch.Generator().manual_seed(0)

    def batch(n):
        y = torch.randint(0, 4, (n,), generator=draws)
        x = 0.3 + 0.2 * torch.rand(n, 1, 8, 8, generator=draws)
        for i, k in enumerate(y.tolist()):
            row, column = 4 * (k // 2), 4 * (k % 2)
            x[i, 0, row : row + 4, column : column + 4] += 0.15
        return x, y

    model = spiking().train()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        x, y = batch(64)
        optimiser.zero_grad()
        cross_entropy(model(x), y).mean().backward()
        optimiser.step()
    return model.eval(), *batch(80)


def test_encoded_worst_case_is_at_most_that_of_pixels(trained):
    model, x, y = trained
    view = Encoded(model)
    assert correct(model(x), y).float().mean() > 0.9
    eps = 0.05
    attack = apgd(eps, 15, loss=margin)
    seen = attack(model, x, y)
    # What an image can do, the same image behind the encoder does: the space is a superset.
    code = view.encode(seen)
    verify(Linf(eps, space="encoded"), code, view.encode(x), "the pixel attack")
    with torch.no_grad():
        assert torch.equal(correct(view(code), y), correct(model(seen), y))
    # To find it anew takes more effort, since a step's slopes reach but a part of the numbers; yet there is more.
    pixel = Suite("s", (("c", (attack,)),))
    standing = [run_suite(model, (x, y), s).standing() for s in (pixel, pixel.encoded())]
    assert 0 < (standing[0] & standing[1]).sum() < standing[0].sum() < len(x)


def test_the_entry_names_the_space(trained):
    model, x, y = trained
    entry = evaluate(model, (x[:8], y[:8]), lambda eps: paper_trail(eps).encoded(), 0.05).to_dict()
    assert entry["space"] == entry["worst_case"]["space"] == "encoded"
    assert entry["suite"] == "paper-trail-encoded"
    assert all("space='encoded'" in name for name in entry["attacks"])


def test_a_model_without_an_encoder_is_refused():
    x = images(4)
    with pytest.raises(UserError, match="no encoded space"):
        evaluate(Linear(3), (x, torch.zeros(4, dtype=torch.int64)), lambda eps: paper_trail(eps).encoded(), 0.05)


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_batch_statistics_leave_the_running_ones_alone():
    model, x = spiking(), images(12, (1, 8, 8), low=0.0, high=1.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [(m.training, m.track_running_stats) for m in norms(model)]
    assert len(modes) == 2
    with torch.no_grad(), frozen(model), batch_statistics(model):
        inside = model(x)
        single = model(x[:6])
    with torch.no_grad():
        outside = model(x)
    assert not torch.equal(inside, outside)
    assert not torch.equal(inside[:6], single)  # samples are coupled
    y = outside.argmax(1)
    (_, attack), *_ = paper_trail(0.05, batch_statistics=True).members()
    assert not torch.equal(attack(model, x, y), paper_trail(0.05).members()[0][1](model, x, y))
    assert [(m.training, m.track_running_stats) for m in norms(model)] == modes
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert "body.0.1.num_batches_tracked" in after
    with torch.no_grad(), batch_statistics(model):
        pass
    with pytest.raises(KeyError), batch_statistics(model):
        raise KeyError
    assert [(m.training, m.track_running_stats) for m in norms(model)] == modes


def test_batch_statistics_are_those_of_training():
    model, x = spiking(), images(12, (1, 8, 8), low=0.0, high=1.0)
    with torch.no_grad():
        with batch_statistics(model):
            inside = model(x)
        trained = model.train()(x)
    torch.testing.assert_close(inside, trained)
