"""Networks that round pixels are attacked by smoothed gradients too, and no others are."""

from dataclasses import replace

import pytest
import torch

from helpers import images
from robustsnn.attacks import pgd, quick, reliable
from robustsnn.encoders import Direct, Frequency, Phase, Poisson, Smoothed
from robustsnn.evaluation import run_suite
from robustsnn.evaluation.fitting import fit_to
from robustsnn.evaluation.judge import Judge
from robustsnn.ground.errors import UserError
from robustsnn.models import Plan, vgg
from robustsnn.neurons import IF, STBP, Arctan


def network(encoder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plan = Plan(((6,), (8,)), (12,))
        made = vgg(
            plan, image=(1, 8, 8), classes=4, neuron=IF(), steps=3, rule=STBP(Arctan()), encoder=encoder, std=(1.0,)
        )
    return made.eval()


def smoothed(suite):
    return [attack for _, attack in suite.members() if getattr(attack, "smoothing", None)]


@pytest.mark.parametrize("build", [quick, reliable], ids=lambda f: f.__name__)
def test_smoothed_attacks_are_kept_where_pixels_are_rounded(build):
    x = images(2, (1, 8, 8))
    suite = build("8/255")
    assert smoothed(suite)
    assert smoothed(fit_to(network(Phase(3)), suite, x, Judge())) == smoothed(suite)
    for encoder in (Direct(), Poisson(3)):
        assert not smoothed(fit_to(network(encoder), suite, x, Judge()))
    assert not smoothed(fit_to(network(Phase(3)), suite.encoded(), x, Judge()))


def test_smoothing_in_the_attack_is_the_smoothed_encoder_of_the_model():
    model, x = network(Phase(3, weighted=False)), images(4, (1, 8, 8))
    y = model(x).argmax(1)
    attack = replace(pgd(0.05, 5, keep="last"), smoothing=0.02)
    found = attack.run(model, x, y).images
    assert not torch.equal(found, replace(attack, smoothing=None).run(model, x, y).images)
    model.encoder = Smoothed(model.encoder, 0.02)
    assert torch.equal(found, replace(attack, smoothing=None).run(model, x, y).images)


@pytest.mark.parametrize("width", [0.0, -0.1, 2.0, float("nan")])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(UserError, match="smoothing"):
        replace(pgd(0.05, 5), smoothing=width)


def test_a_code_outside_of_the_unit_range_has_no_encoded_space():
    model, x = network(Frequency(3, 1)), (torch.arange(64.0).view(1, 1, 8, 8) < 24).float()  # an edge overshoots
    with pytest.raises(UserError, match=r"the code of Frequency.* spans .* attack this network in pixel space"):
        run_suite(model, (x, torch.zeros(1, dtype=torch.long)), quick("8/255").encoded())
