"""Recomputation changes memory and time, and not a bit of any gradient or running statistic."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import Linear, images
from robustsnn import names
from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import precision
from robustsnn.models import Classifier, Plan, recompute, vgg
from robustsnn.models.recompute import recomputed, segments
from robustsnn.names.config import Config, ModelConfig, TrainConfig
from robustsnn.neurons import IF, LIF, Neurons, neuron_layers, normed
from robustsnn.objectives import Adversarial, MembraneGuard, Natural, SparsityRegularised
from robustsnn.runs.folder import train_run

AT = Adversarial(pgd(0.05, 2, alpha=0.03, keep="last"))
OBJECTIVES = {
    "vanilla": Natural(),
    "SR": SparsityRegularised(0.3, h=0.1),
    "AT": AT,
    "SR*": SparsityRegularised(0.3, AT, h=0.1),
    "SR, exact": SparsityRegularised(0.3, form="double-backward"),
    "membrane": MembraneGuard(0.5, 0.3),
}


def after(
    model: nn.Module, objective: object, image: tuple[int, ...], autocast: str, again: bool, repeat: int = 2
) -> dict[str, Tensor | None]:
    """Gradients, summed over two batches, and buffers."""
    model.train()
    y = torch.arange(3)
    with recomputed(model) if again else nullcontext():
        for step in range(repeat):
            torch.manual_seed(step)
            with precision(autocast):
                draws = torch.Generator().manual_seed(step)
                terms, _ = objective(model, images(3, image, seed=step), y, generator=draws)  # type: ignore[operator]
            torch.stack([term.mean() for term in terms.values()]).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()} | dict(model.named_buffers())


def differ(a: dict[str, Tensor | None], b: dict[str, Tensor | None]) -> list[str]:
    def equal(x: Tensor | None, y: Tensor | None) -> bool:
        return x is y if x is None or y is None else torch.equal(x, y)

    assert a.keys() == b.keys()
    return [name for name in a if not equal(a[name], b[name])]


def registered(name: str) -> Classifier:
    """A tiny network of the registry."""
    special = {"vgg_small": {"width": 0.3}, "vgg11": {"width": 0.02}, "wide_resnet16": {"depth": 10, "width": 1}}
    build = names.load(names.registered("model")[name])
    torch.manual_seed(0)
    usual = {"width": 1 / 64, "stem": "cifar"}
    known = inspect.signature(build).parameters
    options = special.get(name, {key: value for key, value in usual.items() if key in known})
    return build(image=(1, 16, 16), classes=3, neuron=IF(), steps=2, **options)


@pytest.mark.parametrize("name", names.registered("model"))
def test_every_registered_network_ends_with_the_same_bits(name):
    objective = OBJECTIVES["SR"]  # two passes, an input gradient that keeps its graph, and a loss gradient
    plain, again = (after(registered(name), objective, (1, 16, 16), "float32", on, 1) for on in (False, True))
    assert differ(plain, again) == []
    assert all(bool(value.isfinite().all()) for value in plain.values() if value is not None)


@settings(max_examples=16, deadline=None)
@given(
    stages=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple), min_size=1, max_size=3),
    hidden=st.lists(st.integers(2, 5), max_size=1),
    steps=st.integers(1, 3),
    neuron=st.sampled_from([IF(), LIF(0.5, reset="soft")]),
    objective=st.sampled_from(sorted(OBJECTIVES)),
    autocast=st.sampled_from(["float32", "bfloat16"]),
)
def test_any_network_and_objective_ends_with_the_same_bits(stages, hidden, steps, neuron, objective, autocast):
    def made() -> Classifier:
        torch.manual_seed(1)
        return vgg(Plan(tuple(stages), tuple(hidden)), image=(2, 8, 8), classes=3, neuron=neuron, steps=steps)

    plain, again = (after(made(), OBJECTIVES[objective], (2, 8, 8), autocast, on) for on in (False, True))
    assert differ(plain, again) == []


def test_random_layers_draw_the_same_numbers_again():
    def made() -> Classifier:
        model = registered("vgg_small")
        model.body = nn.Sequential(*(part for layer in model.body for part in (layer, nn.Dropout(0.3))))
        return model

    plain, again = (after(made(), OBJECTIVES["SR"], (1, 16, 16), "float32", on) for on in (False, True))
    assert differ(plain, again) == []


def test_statistics_that_move_twice_would_be_seen(monkeypatch):
    monkeypatch.setattr(recompute._Again, "__enter__", lambda self: None)
    plain, again = (after(registered("vgg_small"), Natural(), (1, 16, 16), "float32", on) for on in (False, True))
    assert any("running_mean" in name for name in differ(plain, again))


@pytest.mark.parametrize(
    ("objective", "passes", "with_recomputation"),
    # One more forward for each backward pass through a graph: SR goes through that of x twice.
    [("vanilla", 1, 2), ("SR", 2, 5)],
)
def test_each_backward_pass_costs_a_forward(objective, passes, with_recomputation):
    for again, expected in ((False, passes), (True, with_recomputation)):
        model = registered("vgg_small").train()
        calls = []
        model.body[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        with recomputed(model) if again else nullcontext():
            terms, _ = OBJECTIVES[objective](
                model, images(3, (1, 16, 16)), torch.arange(3), generator=torch.Generator()
            )
            sum(term.mean() for term in terms.values()).backward()
        assert len(calls) == expected


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_computed_again_without_training_or_gradients(training):
    model = registered("vgg_small").train(training)
    calls = []
    model.body[0].register_forward_hook(lambda *_: calls.append(1))
    x = images(3, (1, 16, 16)).requires_grad_()
    with recomputed(model):
        if training:
            with torch.no_grad():
                model(x)
        else:
            model(x).sum().backward()
    assert len(calls) == 1


def test_less_is_kept_for_the_backward_pass():
    """Numbers that autograd keeps: with it the inputs of the segments, and what is outside of them."""
    sizes = {}
    for again in (False, True):
        model, kept = registered("vgg_small").train(), []
        with (
            recomputed(model) if again else nullcontext(),
            torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: (kept.append(t.numel()), t)[1], lambda t: t),
        ):
            model(images(3, (1, 16, 16)))
        sizes[again] = sum(kept)
    assert sizes[True] < 0.3 * sizes[False]


@pytest.mark.parametrize("name", names.registered("model"))
def test_segments_are_the_body_in_order_and_end_with_neurons(name):
    model = registered(name)
    parts, tail = segments(model.body)
    layers = [layer for part in (*parts, tail) for layer in part]
    leaves = lambda modules: [m for layer in modules for m in layer.modules() if not list(m.children())]  # noqa: E731
    assert leaves(layers) == leaves([model.body])
    assert all([bool(neuron_layers(layer)) for layer in part] == [False] * (len(part) - 1) + [True] for part in parts)
    assert not neuron_layers(tail)
    x = images(2, (1, 16, 16))
    with torch.no_grad():
        code = model.eval().encoder(x) - model.pixel_mean
        expected = model.body(code)
        for part in (*parts, tail):
            code = part(code)
    assert torch.equal(code, expected)


def test_the_model_is_as_it_was_after_the_block_and_after_an_error():
    model = registered("vgg_small")
    keys, attributes = list(model.state_dict()), set(vars(model.body))
    with recomputed(model):
        assert list(model.state_dict()) == keys
    with pytest.raises(RuntimeError, match="stop"), recomputed(model):
        raise RuntimeError("stop")
    assert set(vars(model.body)) == attributes


@pytest.mark.parametrize("body", [None, Neurons(IF(), 2), nn.Sequential(nn.Flatten(2), nn.Linear(64, 3))])
def test_models_that_cannot_be_cut_are_refused(body):
    model = Linear() if body is None else Classifier(body, nn.Identity(), (1, 8, 8))
    with pytest.raises(UserError, match="cannot be recomputed"), recomputed(model):
        pass


def test_training_with_it_ends_in_the_same_weights(tmp_path):
    plain = Config(model=ModelConfig(steps=2, options={"width": 0.2}), train=TrainConfig(epochs=1, batch_size=256))
    train_run(plain, tmp_path / "plain")
    train_run(replace(plain, train=replace(plain.train, recompute=True)), tmp_path / "again")
    from safetensors.torch import load_file

    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "again"))
    assert differ(dict(a), dict(b)) == []


@pytest.mark.parametrize("objective", ["SR", "membrane"])
def test_norms_in_the_kernels_of_neurons_end_with_the_same_bits(objective, monkeypatch):
    """The membrane guard's hooks are gone when a segment is computed again; it must take the same way then."""
    monkeypatch.setattr(normed, "compiles", lambda *_: True)
    made = []
    for on in (False, True):
        model = registered("vgg_small").to(memory_format=torch.channels_last)
        made.append(after(model, OBJECTIVES[objective], (1, 16, 16), "float32", on))
    assert differ(*made) == []
