"""The networks of benchmarks/tutorials.py, in each framework: what an attack does to them is what it does to the native
twin, under every rule of `reliable`; in float64, where rounding decides nothing, step by step."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch

from helpers import benchmark
from robustsnn.attacks import Attack, quick, reliable
from robustsnn.data.digits import digits
from robustsnn.evaluation import evaluate
from robustsnn.ground.modes import frozen
from robustsnn.interop import unreached, wrap
from robustsnn.losses import margin
from robustsnn.neurons import gradient_rule, neuron_layers

pytestmark = pytest.mark.filterwarnings("ignore")
FRAMEWORKS = ("SpikingJelly single-step", "SpikingJelly multi-step", "snnTorch", "Norse", "Sinabs")
ATTACKS = [attack for _, attack in reliable(24 / 255).members() if isinstance(attack, Attack) and not attack.smoothing]
BY_RULE = {repr(attack.rule): attack for attack in ATTACKS}
N = 6


@pytest.fixture(scope="module", params=[(name, slope) for name in FRAMEWORKS for slope in (25.0, 200.0)], ids=str)
def pair(request):
    """(wrapped, native, images, labels) in float32, and what makes a network one of float64."""
    name, slope = request.param
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.split()[0].lower())
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        with benchmark("tutorials") as tutorials:
            model = tutorials.untrained()
            x = digits().test.take(N).floats()[0]
            model.train()(digits().train.take(256).floats()[0])  # norms with statistics: the deep layers fire
            model.eval().requires_grad_(False)
            (twin,) = [one for key, one in tutorials.twins(model, (slope,)).items() if key.startswith(name)][:1]
            mean, std = (v.flatten().tolist() for v in (model.pixel_mean, model.pixel_std))
            wrapped = wrap(twin.build().eval().requires_grad_(False), x=x, mean=mean, std=std, **twin.said)
            native = tutorials.Native(model, wrapped, twin.times)
            return wrapped, native, x, native(x).argmax(1), tutorials.in_double


def gradient(model, x, y, rule):
    with frozen(model), gradient_rule(model, rule):
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(margin(model(leaf), y).sum(), leaf)[0]


def test_logits_are_those_of_the_native_twin_and_so_is_the_gradient_under_every_rule(pair):
    wrapped, native, x, y, _ = pair
    assert unreached(wrapped) == {}
    assert len(neuron_layers(wrapped)) == 3
    assert torch.equal(wrapped(x), native(x))
    assert len(BY_RULE) > 20
    for rule in (attack.rule for attack in BY_RULE.values()):
        found, wanted = gradient(wrapped, x, y, rule), gradient(native, x, y, rule)
        assert wanted.any()
        assert (found - wanted).abs().max() <= 2e-6 * wanted.abs().max(), rule


def test_in_float64_an_attack_under_every_rule_ends_where_it_ends_natively(pair):
    wrapped, native, x, y, in_double = copy.deepcopy(pair)
    wrapped, native, x = in_double(wrapped), native.double(), x.double()
    broken = 0
    for attack in BY_RULE.values():
        short = replace(attack, steps=3)
        ends = [short(model, x, y) for model in (wrapped, native)]
        assert torch.allclose(*ends, atol=1e-9), attack
        broken += int((native(ends[0]).argmax(1) != y).sum())
    assert broken > 0


def test_in_float64_an_evaluation_finds_what_it_finds_natively_bit_by_bit(pair, unchecked):
    wrapped, native, x, y, in_double = copy.deepcopy(pair)
    found = [evaluate(model, (x[:4], y[:4]), quick, 24 / 255) for model in (in_double(wrapped), native.double())]
    assert found[0].outcomes.equals(found[1].outcomes)
    assert len(found[0].suite.members()) > 6
    assert found[0].outcomes.broken.any()
