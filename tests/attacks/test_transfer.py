"""Transfer: images made on one model, shown to another."""

from dataclasses import replace

import pytest
import torch

from helpers import Linear, images, spiking
from robustsnn.attacks import Attack, Linf, Source, Streams, Suite, Transfer, fgsm, pgd
from robustsnn.evaluation import Effort, run_suite
from robustsnn.ground.seeds import derived
from robustsnn.losses import correct, margin
from robustsnn.neurons import STBP, Arctan, neuron_layers

EPS = 0.08


class Spy(Linear):
    """Notes whether it was asked for a gradient."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked = []

    def forward(self, x):
        self.asked.append(x.requires_grad)
        return super().forward(x)


def problem(n=40):
    target, source, x = Spy(3), Spy(3, seed=5), images(n)
    y = target(x).argmax(1)
    target.asked.clear()
    return target, source, x, y


def test_the_images_are_the_sources_last_iterates_and_the_target_is_not_asked():
    target, source, x, y = problem()
    attack = pgd(EPS, 5)
    attempt = Transfer(Source("other", source), attack).run(target, x, y, generator=Streams(range(40)))
    expected = replace(attack, keep="last").run(source, x, y, generator=Streams(range(40)))
    assert torch.equal(attempt.images, expected.images)
    assert target.asked == []
    assert attempt.backwards.tolist() == [5] * 40
    assert attempt.forwards.tolist() == [5] * 40
    # They go on past the boundary of the source, where the own attack would stop.
    gone_on = margin(source(attempt.images), y)
    stopped = margin(source(attack.run(source, x, y, generator=Streams(range(40))).images), y)
    assert (gone_on > stopped).any()


def test_a_model_is_its_own_best_source():
    target, source, x, y = problem()
    fallen = {}
    for name, model in (("self", target), ("other", source)):
        attempt = Transfer(Source(name, model), fgsm(EPS, loss=margin)).run(target, x, y)
        fallen[name] = ~correct(target(attempt.images), y)
    own = ~correct(target(fgsm(EPS, loss=margin)(target, x, y)), y)
    assert torch.equal(fallen["self"], own)
    assert fallen["other"].sum() < own.sum()


def test_what_the_target_has_wrong_is_moved_like_any_other():
    """One pass of a random target does not tell; evaluation attacks standing samples alone."""
    target, source, x, y = problem()
    y[:7] = (y[:7] + 1) % 3
    attempt = Transfer(Source("other", source), fgsm(EPS)).run(target, x, y)
    assert not (attempt.images == x).flatten(1).all(1).any()
    none = Transfer(Source("other", source), fgsm(EPS)).run(target, x[:0], y[:0])
    assert none.images.shape == x[:0].shape


def test_rules_are_swapped_on_the_source_and_left_out_where_it_has_none():
    target, x = spiking(), images(8, (1, 8, 8))
    y = target(x).argmax(1)
    source = spiking(1).train()
    attack = fgsm(EPS, rule=STBP(Arctan(2.0)))
    attempt = Transfer(Source("spikes", source), attack).run(target, x, y)
    assert torch.equal(attempt.images, replace(attack, keep="last")(source, x, y))
    assert source.training  # as it was
    assert all(layer.rule == STBP() for layer in neuron_layers(source))
    flat = Linear(4, (1, 8, 8))
    attempt = Transfer(Source("flat", flat), attack).run(target, x, y)
    assert torch.equal(attempt.images, replace(attack, rule=None, keep="last")(flat, x, y))


def test_names():
    source = Source("runs/b", Linear(3))
    attack = Transfer(source, pgd(EPS, 5))
    assert attack.black_box
    assert not Attack.black_box
    assert attack.label == "pgd-ce/own from runs/b"
    assert attack.threat == Linf(EPS)
    assert attack.steps == 5
    assert repr(attack) == f"Transfer(source='runs/b', attack={pgd(EPS, 5)!r})"


def test_evaluation_judges_the_target_and_knows_the_sources_weights(tmp_path):
    _, _, x, y = problem()
    target, source = Linear(3), Linear(3, seed=5)  # a spy's notes would be part of the model's identity
    attack = Transfer(Source("other", source), pgd(EPS, 3))
    suite = Suite("s", (("BB", (attack,)),))
    found = run_suite(target, (x, y), suite, Effort(out=tmp_path))
    streams = Streams([derived(0, "attack", repr(attack), i) for i in range(40)])
    expected = replace(attack.attack, keep="last").run(source, x, y, generator=streams).images
    assert found.broken[0].tolist() == (~correct(target(expected), y)).tolist()
    assert 0 < int(found.broken.sum()) < 40
    assert len(list(tmp_path.iterdir())) == 1
    run_suite(target, (x, y), suite, Effort(out=tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    with torch.no_grad():
        source.bias[0] += 1e-3
    run_suite(target, (x, y), suite, Effort(out=tmp_path))  # the same name, other weights
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("keep", ["worst", "last"])
def test_restarts_and_judging_on_the_source_are_left_out(keep):
    target, source, x, y = problem(8)
    once = Transfer(Source("other", source), pgd(EPS, 3))
    many = Transfer(Source("other", source), pgd(EPS, 3, keep=keep, restarts=1 if keep == "last" else 4))
    assert torch.equal(many.run(target, x, y).images, once.run(target, x, y).images)
