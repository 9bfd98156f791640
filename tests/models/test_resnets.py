"""Spiking residual networks: layers in order, published counts, connections, and what every model promises."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from torch import nn

from helpers import images
from robustsnn.encoders import Frames
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.models import (
    Connect,
    Mix,
    Residual,
    WideBlock,
    sew_resnet,
    sew_resnet18,
    sew_resnet34,
    sew_resnet50,
    spiking_resnet,
    spiking_resnet18,
    spiking_resnet34,
    spiking_resnet50,
)
from robustsnn.neurons import BPTR, HART, IF, RGA, STBP, Arctan, Neurons, gradient_rule, neuron_layers

STEPS, CLASSES = 2, 4
FAMILIES = {"sew": sew_resnet, "spiking": spiking_resnet}
BUILDERS = {
    ("sew", 18): sew_resnet18,
    ("sew", 34): sew_resnet34,
    ("sew", 50): sew_resnet50,
    ("spiking", 18): spiking_resnet18,
    ("spiking", 34): spiking_resnet34,
    ("spiking", 50): spiking_resnet50,
}
COUNTS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032}  # He et al.; torchvision lists them too
SMALL = {"image": (1, 8, 8), "classes": CLASSES, "steps": STEPS, "stem": "cifar", "width": 1 / 8}


def small(family="sew", depth=18, **changed):
    torch.manual_seed(0)
    arguments = {"neuron": IF(detach_reset=True), "rule": STBP(Arctan(2.0)), **SMALL, **changed}
    return FAMILIES[family](depth, **arguments)


def settled(model, image=(1, 8, 8)):
    """In eval mode, with the batch statistics of images."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(images(32, image, low=0.0, high=1.0))
    return model.eval()


def watch(model, kind, look):
    """`look(inputs, output)` of each module of this kind, in the order of the calls."""
    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda module, inputs, out: look(inputs, out))


@pytest.mark.parametrize(("family", "depth"), BUILDERS)
def test_parameters_are_as_many_as_published(family, depth):
    """Neurons have none, so the networks have those of their models without spikes, on ImageNet."""
    with torch.device("meta"):
        model = BUILDERS[family, depth](image=(3, 224, 224), classes=1000, neuron=IF(), steps=4)
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[depth]


def layer_order(model, image):
    """Leaf modules as words, in the order in which a forward pass calls them."""
    words = []

    def word(module):
        if isinstance(module, nn.Conv2d):
            return f"conv{module.kernel_size[0]}/{module.stride[0]} {module.in_channels}>{module.out_channels}"
        if isinstance(module, nn.MaxPool2d):
            return f"max{module.kernel_size}/{module.stride}"
        if isinstance(module, Connect):
            return module.kind
        names = {nn.BatchNorm2d: "norm", Neurons: "neurons", nn.AdaptiveAvgPool2d: "average", nn.Linear: "linear"}
        return names.get(type(module))

    hooks = [
        module.register_forward_hook(lambda module, inputs, out: words.append(word(module)))
        for module in model.modules()
        if word(module) is not None
    ]
    with torch.no_grad():
        model(images(3, image))
    for hook in hooks:
        hook.remove()
    return words


HEAD = ["average", "linear"]


def test_layers_of_sew_resnet_18_in_order():
    def block(before, out, stride, word="add"):
        layers = [f"conv3/{stride} {before}>{out}", "norm", "neurons", f"conv3/1 {out}>{out}", "norm", "neurons"]
        if stride == 2:
            layers += [f"conv1/2 {before}>{out}", "norm", "neurons"]
        return [*layers, word]

    expected = ["conv7/2 3>8", "norm", "neurons", "max3/2"]
    expected += [*block(8, 8, 1), *block(8, 8, 1), *block(8, 16, 2), *block(16, 16, 1)]
    expected += [*block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2), *block(64, 64, 1), *HEAD]
    assert layer_order(small(stem="imagenet", image=(3, 16, 16)), (3, 16, 16)) == expected


def test_layers_of_spiking_resnet_18_in_order():
    def block(before, out, stride):
        layers = [f"conv3/{stride} {before}>{out}", "norm", "neurons", f"conv3/1 {out}>{out}", "norm"]
        if stride == 2:
            layers += [f"conv1/2 {before}>{out}", "norm"]
        return [*layers, "add", "neurons"]

    expected = ["conv3/1 1>8", "norm", "neurons", "max3/2"]
    expected += [*block(8, 8, 1), *block(8, 8, 1), *block(8, 16, 2), *block(16, 16, 1)]
    expected += [*block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2), *block(64, 64, 1), *HEAD]
    assert layer_order(small("spiking"), (1, 8, 8)) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_the_bottlenecks_in_order(family):
    last = ["neurons"] if family == "sew" else []
    after = [] if family == "sew" else ["neurons"]

    def block(before, inner, stride, project=False):
        layers = [f"conv1/1 {before}>{inner}", "norm", "neurons", f"conv3/{stride} {inner}>{inner}", "norm", "neurons"]
        layers += [f"conv1/1 {inner}>{4 * inner}", "norm", *last]
        if project:
            layers += [f"conv1/{stride} {before}>{4 * inner}", "norm", *last]
        return [*layers, "add", *after]

    expected = ["conv3/1 1>8", "norm", "neurons"]
    before = 8
    for inner, blocks in ((8, 3), (16, 4), (32, 6), (64, 3)):
        expected += block(before, inner, 1 if inner == 8 else 2, project=True)
        before = 4 * inner
        expected += block(before, inner, 1) * (blocks - 1)
    assert layer_order(small(family, 50, pooling="none"), (1, 8, 8)) == [*expected, *HEAD]


@pytest.mark.parametrize(
    ("pooling", "kinds"),
    [
        ("max", [nn.MaxPool2d]),
        ("average", [nn.AvgPool2d]),
        ("hybrid", [nn.MaxPool2d, nn.AvgPool2d]),
        ("none", []),
    ],
)
@pytest.mark.parametrize(("family", "stem"), list(itertools.product(FAMILIES, ("cifar", "imagenet"))))
def test_pooling_of_the_stem(family, stem, pooling, kinds):
    model = small(family, stem=stem, image=(1, 16, 16), pooling=pooling)
    found = [m for m in model.modules() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)]
    assert [type(m) for m in found] == kinds
    assert all((m.kernel_size, m.stride, m.padding) == (3, 2, 1) for m in found)
    sides = []
    watch(model, Residual, lambda inputs, out: sides.append(out.shape[-1]))
    assert model(images(2, (1, 16, 16))).shape == (2, CLASSES)
    first = 16 // (2 if stem == "imagenet" else 1) // (1 if pooling == "none" else 2)
    assert sides[::2] == [max(1, first // 2**stage) for stage in range(4)]


def test_a_share_reaches_the_pool():
    assert small(pooling="hybrid", share=0.25).body.stem[-1][0].share == 0.25
    learned = dict(small(pooling="hybrid").named_parameters())
    assert learned["body.stem.2.0.logit"].item() == 0


TRUTH = {"add": [[0, 1], [1, 2]], "and": [[0, 0], [0, 1]], "iand": [[0, 1], [0, 0]]}  # [A][S]


@pytest.mark.parametrize("kind", TRUTH)
def test_connections_by_their_truth_tables(kind):
    branch, shortcut = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert Connect(kind)(branch, shortcut).tolist() == TRUTH[kind]
    assert not Connect(kind).state_dict()


@pytest.mark.parametrize("kind", TRUTH)
def test_only_adding_counts_spikes(kind):
    model, seen = small(connect=kind, steps=4), []
    watch(model, Residual, lambda inputs, out: seen.append(out))
    model(images(16, (1, 8, 8), low=0.0, high=1.0))
    values = [set(out.unique().tolist()) for out in seen]
    assert len(values) == 8
    assert {0.0, 1.0} <= values[0]
    if kind == "add":
        assert all(value == int(value) for found in values for value in found)
        # The first block adds two, the second block of each stage three numbers that are 0 or 1.
        assert [max(found) for found in values[:4]] == [2.0, 3.0, 2.0, 3.0]
    else:
        assert all(found <= {0.0, 1.0} for found in values)


def test_spiking_resnet_adds_currents_and_hands_on_spikes():
    model, sums, out = small("spiking"), [], []
    watch(model, Connect, lambda inputs, result: sums.append(result))
    watch(model, Residual, lambda inputs, result: out.append(set(result.unique().tolist())))
    model(images(16, (1, 8, 8), low=0.0, high=1.0))
    assert all(found == {0.0, 1.0} for found in out)
    assert all(result.frac().count_nonzero() > 0 and result.min() < 0 for result in sums)


@pytest.mark.parametrize(("kind", "bias"), [("add", -1.0), ("iand", -1.0), ("and", 2.0)])
def test_a_branch_that_is_silent_or_always_fires_leaves_the_shortcut_as_it_is(kind, bias):
    """Also its gradient: the identity that makes depth harmless."""
    block = small(connect=kind).body.stage1[0].train()
    norm = block.branch[2][1]
    nn.init.zeros_(norm.weight)
    nn.init.constant_(norm.bias, bias)
    x = (torch.rand(STEPS, 3, 8, 4, 4) < 0.3).float().requires_grad_()
    y = block(x)
    assert torch.equal(y, x)
    upstream = torch.randn(y.shape)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    assert torch.equal(gradient, upstream)


def test_iand_is_not_the_branch_and_the_shortcut():
    """The branch that always fires silences the block; roles exchanged, the shortcut's zeros would pass."""
    block = small(connect="iand").body.stage1[0].train()
    nn.init.zeros_(block.branch[2][1].weight)
    nn.init.constant_(block.branch[2][1].bias, 2.0)
    assert not block((torch.rand(STEPS, 3, 8, 4, 4) < 0.3).float()).any()


@pytest.mark.parametrize(("family", "depth"), BUILDERS)
def test_no_layer_is_silent_or_saturated_at_the_start(family, depth):
    rates = []
    model = small(family, depth, neuron=IF(theta=1.0, detach_reset=True), steps=4, pooling="none")
    watch(model, Neurons, lambda inputs, out: rates.append(out.mean().item()))
    x = images(32, (1, 8, 8), low=0.0, high=1.0).requires_grad_()
    logits = model(x)
    convolutions = {18: 17, 34: 33, 50: 49}[depth]
    assert len(rates) == convolutions + ((3 if depth < 50 else 4) if family == "sew" else 0)
    assert all(0.05 < rate < 0.6 for rate in rates), rates
    (gradient,) = torch.autograd.grad(cross_entropy(logits, torch.arange(32) % CLASSES).sum(), x)
    assert logits.std(0).min() > 1e-2
    assert gradient.flatten(1).abs().amax(1).min() > 1e-4


@pytest.fixture(scope="module", params=list(itertools.product(FAMILIES, ("max", "average", "hybrid"))), ids="-".join)
def model(request):
    """Double, where no spike hangs on the order of a sum."""
    family, pooling = request.param
    return settled(small(family, pooling=pooling)).double()


def input_gradient(model, x):
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    return logits.detach(), torch.autograd.grad(cross_entropy(logits, torch.arange(len(x)) % CLASSES).sum(), leaf)[0]


def test_a_model_has_no_state_and_samples_do_not_see_each_other(model):
    x = images(4, (1, 8, 8), low=0.0, high=1.0).double()
    logits, gradient = input_gradient(model, x)
    assert gradient.flatten(1).abs().amax(1).min() > 0
    again = input_gradient(model, x)
    assert torch.equal(again[0], logits)
    assert torch.equal(again[1], gradient)
    torch.testing.assert_close(torch.cat([model(one[None]) for one in x]), logits)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(model(x[order]), logits[order])


def test_an_image_shown_once_is_the_image_at_every_step(model):
    x = images(3, (1, 8, 8), low=0.0, high=1.0).double()
    code = model.encoder(x)
    assert code.shape[0] == 1
    torch.testing.assert_close(model.read(code.expand(STEPS, *x.shape).contiguous()), model(x))


@pytest.mark.parametrize("rule", [RGA(), BPTR(), HART()], ids=lambda rule: rule.label)
def test_logits_are_the_same_under_every_gradient_rule(model, rule):
    x = images(3, (1, 8, 8), low=0.0, high=1.0).double()
    logits, gradient = input_gradient(model, x)
    with gradient_rule(model, rule):
        other = input_gradient(model, x)
    assert torch.equal(other[0], logits)
    assert not torch.equal(other[1], gradient)


@pytest.mark.parametrize("family", FAMILIES)
def test_event_frames_of_two_polarities(family):
    image = (STEPS, 2, 8, 8)
    model = settled(small(family, image=image, width=1 / 4, encoder=Frames(STEPS)), image)
    x = (torch.rand(5, *image, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    logits = model(x)
    assert logits.shape == (5, CLASSES)
    assert not torch.equal(logits, model(x.flip(1)))  # time has an order


@pytest.mark.parametrize("builder", BUILDERS.values())
def test_signatures_show_the_options(builder):
    family = {"connect"} if builder.func is sew_resnet else set()
    parameters = inspect.signature(builder).parameters
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    options = {"stem", "pooling", "share", "width"} | family
    required = {"image", "classes", "neuron", "steps"}
    assert set(parameters) == required | {"rule", "encoder", "mean", "std"} | options
    assert {name for name, p in parameters.items() if p.default is inspect.Parameter.empty} == required
    assert (parameters["pooling"].default, parameters["stem"].default) == ("max", "imagenet")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"depth": 20}, "depth=20: allowed are 18, 34, 50"),
        ({"stem": "mnist"}, "stem='mnist': allowed are imagenet, cifar"),
        ({"pooling": "min"}, "pooling='min'"),
        ({"connect": "ADD"}, "connect='ADD': allowed are add, and, iand"),
        ({"width": 0}, "width=0: "),
        ({"width": 0.005}, "width=0.005: .*1/64 is the least"),
        ({"width": -1.0}, "width=-1.0"),
        ({"width": float("nan")}, "width=nan"),
        ({"width": "thin"}, "width='thin'"),
        ({"classes": 1}, "at least 2"),
        ({"share": 0.5}, "no effect on pooling='max'"),
        ({"image": (1, 7, 8)}, "7x8 pixels: .* halves it 4 times .* 8x8; pooling='none'"),
        ({"image": (1, 8, 3), "pooling": "none"}, "8x3 pixels: .* halves it 3 times .* 4x4; data\\.pad=8 gives"),
        ({"image": (1, 8, 8), "stem": "imagenet"}, "16x16; stem='cifar' or pooling='none' halves it once less"),
        ({"image": (1, 0, 8)}, "0x8"),
    ],
)
def test_networks_that_do_not_exist_are_refused(changed, message):
    with pytest.raises(UserError, match=message):
        small(**changed)


@pytest.mark.parametrize("side", [8, 9, 11])
def test_odd_sizes_round_up(side):
    assert small(image=(1, side, side + 1))(images(2, (1, side, side + 1))).shape == (2, CLASSES)


@pytest.mark.parametrize("width", [1 / 64, 0.3, 2])
def test_width_scales_all_channels(width):
    with torch.device("meta"):
        model = small(width=width)
    base = {1 / 64: 1, 0.3: 19, 2: 128}[width]
    assert [stage[0].branch[0][0].out_channels for stage in list(model.body)[1:5]] == [base * 2**i for i in range(4)]
    assert len(neuron_layers(model)) == 20


def test_the_mixture_of_a_wide_block_is_a_module_and_its_weights_keep_their_name():
    block, seen = WideBlock(4, 4, 1, IF(), STEPS, None), []
    watch(block, Mix, lambda inputs, out: seen.append((inputs, out)))
    assert "mix" in block.state_dict()
    with torch.no_grad():
        block.mix.copy_(torch.tensor([0.25, 0.75]))
    x = torch.randn(STEPS, 3, 4, 5, 5)
    y = block(x)
    (((branch, shortcut, weights), out),) = seen
    assert torch.equal(out, y)
    assert torch.equal(shortcut, x)
    assert weights is block.mix
    torch.testing.assert_close(y, 0.25 * x + 0.75 * branch)
