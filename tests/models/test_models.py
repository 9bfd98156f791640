"""What every model of the library promises, over models and neurons; and what is particular to each."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from helpers import images, spiking
from robustsnn.encoders import Direct
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.models import Classifier, Plan, sew_resnet18, spiking_resnet18, vgg, wide_resnet, wide_resnet16
from robustsnn.models.classifier import initialise
from robustsnn.models.time import Fold
from robustsnn.neurons import IF, LIF, RGA, Neurons, neuron_layers

CLASSES, STEPS, BATCH = 5, 3, 4

MODELS: dict[str, tuple[Callable[..., Classifier], tuple[int, int, int]]] = {
    "vgg_small": (lambda **kw: vgg("vgg_small", **kw), (1, 8, 8)),
    "sew_resnet": (lambda **kw: sew_resnet18(stem="cifar", width=1 / 8, **kw), (1, 8, 8)),
    "spiking_resnet": (lambda **kw: spiking_resnet18(stem="cifar", width=1 / 8, **kw), (2, 8, 8)),
    "vgg_thin": (lambda **kw: vgg(Plan(((4,), (6, 8), (8,)), (10, 7)), **kw), (3, 16, 16)),
    "wide_resnet": (lambda **kw: wide_resnet(depth=10, width=1, **kw), (3, 8, 8)),
}
NEURONS = {
    "if": IF(),
    "if_soft": IF(reset="soft"),
    "lif": LIF(tau=0.7),
    "lif_decay": LIF(tau=0.5, theta=0.5, decay_input=True, detach_reset=True),
}


class Case(NamedTuple):
    build: Callable[..., Classifier]  # (steps=...), seeded
    image: tuple[int, int, int]
    model: Classifier  # float32, in eval mode, with batch-norm statistics of some images
    double: Classifier  # the same in float64, where no spike hangs on the order of a sum
    x: Tensor  # float64


def seeded(function: Callable[[], Any], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return function()


def random_images(n: int, image: tuple[int, int, int], seed: int = 0) -> Tensor:
    return torch.rand(n, *image, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module", params=itertools.product(MODELS, NEURONS), ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    make, image = MODELS[request.param[0]]

    def build(steps: int = STEPS, seed: int = 0, **extra: Any) -> Classifier:
        arguments = {"image": image, "classes": CLASSES, "neuron": NEURONS[request.param[1]], "steps": steps, **extra}
        return seeded(lambda: make(**arguments), seed)

    model = build()
    with torch.no_grad():
        for i in range(40):
            model(random_images(16, image, seed=100 + i).float())
    model.eval()
    return Case(build, image, model, copy.deepcopy(model).double(), random_images(BATCH, image))


def input_gradient(model: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    labels = torch.arange(len(x)) % CLASSES
    return logits.detach(), torch.autograd.grad(cross_entropy(logits, labels).sum(), leaf)[0]


def close(a: Tensor, b: Tensor) -> None:
    """Equal up to the rounding of float64."""
    assert a.dtype == b.dtype == torch.float64
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * max(1e-3, b.abs().max().item()))


def test_the_network_is_alive(case):
    """Else equalities below could hold because nothing happens."""
    rates: list[float] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, out: rates.append(out.mean().item()))
        for layer in neuron_layers(case.model)
    ]
    logits, gradient = input_gradient(case.model, case.x.float())
    for hook in hooks:
        hook.remove()
    assert len(rates) == len(neuron_layers(case.model)) >= 4
    assert all(0.005 < rate < 0.995 for rate in rates), rates
    assert logits.shape == (BATCH, CLASSES)
    assert logits.dtype == torch.float32
    assert logits.std(0).min() > 1e-3
    assert gradient.flatten(1).abs().amax(1).min() > 0


def test_two_calls_agree_bit_for_bit(case):
    first, second = (input_gradient(case.model, case.x.float()) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_samples_do_not_see_each_other_in_eval_mode(case):
    logits, gradient = input_gradient(case.double, case.x)
    for i in range(BATCH):
        leaf = case.x[i : i + 1].clone().requires_grad_()
        alone = case.double(leaf)
        close(alone.detach()[0], logits[i])
        (own,) = torch.autograd.grad(cross_entropy(alone, torch.tensor([i % CLASSES])).sum(), leaf)
        close(own[0], gradient[i])
    # In train mode they do, through batch normalisation.
    train = copy.deepcopy(case.double).train()
    assert (train(case.x)[:1] - train(case.x[:1])).abs().max() > 1e-3


def test_an_image_encoded_once_equals_the_image_at_every_step(case):
    model = case.double

    def repeated(x: Tensor) -> Tensor:
        encoded = model.encoder((x - model.pixel_mean) / model.pixel_std)
        assert encoded.shape == (1, *x.shape)
        every = encoded.expand(STEPS, *x.shape).contiguous()
        return model.body(every).mean(0)

    for once, often in zip(input_gradient(model, case.x), input_gradient(repeated, case.x), strict=True):
        close(once, often)


def test_logits_depend_on_the_number_of_steps(case):
    logits = []
    for steps in (STEPS, 2 * STEPS):
        model = case.build(steps=steps)
        model.load_state_dict(case.model.state_dict())
        logits.append(model.eval()(case.x.float()))
    assert torch.equal(logits[0], case.model(case.x.float()))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_logits_are_the_mean_over_time(case):
    outputs: list[Tensor] = []
    hook = case.model.body.register_forward_hook(lambda module, inputs, out: outputs.append(out))
    logits = case.model(case.x.float())
    hook.remove()
    assert outputs[0].shape == (STEPS, BATCH, CLASSES)
    torch.testing.assert_close(logits, outputs[0].sum(0) / STEPS)
    assert (outputs[0][0] - outputs[0][-1]).abs().max() > 1e-3


def test_the_first_convolution_sees_each_image_once(case):
    batches: list[int] = []
    convolutions = [module for module in case.model.modules() if isinstance(module, nn.Conv2d)]
    hooks = [
        module.register_forward_hook(lambda module, inputs, out: batches.append(len(inputs[0])))
        for module in convolutions
    ]
    case.model(case.x.float())
    for hook in hooks:
        hook.remove()
    assert batches[0] == BATCH
    assert batches[1:] == [STEPS * BATCH] * (len(convolutions) - 1)


def test_images_of_another_shape_are_refused(case):
    channels, height, width = case.image
    for shape in ((channels + 1, height, width), (channels, height, width + 4), (channels, 2 * height, width)):
        with pytest.raises(UserError, match="images of shape"):
            case.model(torch.zeros(2, *shape))
    with pytest.raises(UserError, match="images of shape"):
        case.model(torch.zeros(case.image))


def test_channels_last_gives_the_same(case):
    model = copy.deepcopy(case.double).to(memory_format=torch.channels_last)
    x = case.x.contiguous(memory_format=torch.channels_last)
    for plain, strided in zip(input_gradient(case.double, case.x), input_gradient(model, x), strict=True):
        close(strided, plain)


def test_initialisation_is_a_function_of_the_seed(case):
    state, again, other = (case.build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(state[key], again[key]) for key in state)
    weights = [name for name, parameter in case.build().named_parameters() if parameter.ndim > 1]
    assert all(not torch.equal(state[key], other[key]) for key in weights)


def test_weights_are_drawn_by_he_with_fan_out(case):
    for module in case.build().modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is None or not module.bias.any()
            assert isinstance(module, nn.Linear) == (module.bias is not None)
            fan_out = len(module.weight) * module.weight[0, 0].numel()
            entries = module.weight.numel()
            # The standard deviation of n normal numbers is known to about 1 / sqrt(2 n).
            deviation = module.weight.std(correction=0).item() / (2 / fan_out) ** 0.5
            assert abs(deviation - 1) < 5 / (2 * entries) ** 0.5
            assert abs(module.weight.mean().item()) < 5 * (2 / fan_out / entries) ** 0.5


def test_the_rule_reaches_every_layer(case):
    assert {layer.rule for layer in neuron_layers(case.build(rule=RGA(0.1)))} == {RGA(0.1)}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(build: Callable[..., Classifier], classes: int, side: int = 32) -> Classifier:
    """Without memory for the weights."""
    with torch.device("meta"):
        return build(image=(3, side, side), classes=classes, neuron=IF(), steps=8)


@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_of_vgg11(classes):
    """Conv weights and batch norms from the table of channels; 512 x 4 x 4 features, 4096-4096-K with biases."""
    channels = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    expected = sum(9 * before * after + 2 * after for before, after in itertools.pairwise(channels))
    widths = [512 * 4 * 4, 4096, 4096, classes]
    expected += sum((before + 1) * after for before, after in itertools.pairwise(widths))
    model = on_meta(lambda **kw: vgg("vgg11", **kw), classes)
    assert count(model) == expected
    assert len(neuron_layers(model)) == 8 + 2
    assert sum(isinstance(module, nn.AvgPool2d) for module in model.modules()) == 3


def wide_parameters(depth: int, width: int, classes: int) -> int:
    total, before = 3 * 16 * 9, 16
    for group in (16 * width, 32 * width, 64 * width):
        for i in range((depth - 4) // 6):
            total += 2 * before + 9 * before * group + 2 * group + 9 * group * group + 2
            # A 1x1 convolution where the shape changes: the first block of each group, if it widens or strides.
            total += before * group if before != group or (i == 0 and group != 16 * width) else 0
            before = group
    return total + 2 * before + (before + 1) * classes


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize(("depth", "width"), [(16, 4), (10, 1), (22, 2)])
def test_parameters_of_wide_residual_networks(depth, width, classes):
    model = on_meta(lambda **kw: wide_resnet(depth=depth, width=width, **kw), classes)
    assert count(model) == wide_parameters(depth, width, classes)
    assert len(neuron_layers(model)) == depth - 4 + 1


def test_parameters_of_wrn_16_4_as_published():
    """2,748,890 of the network without spikes, and two shortcut weights in each of six blocks."""
    assert count(on_meta(wide_resnet16, 10)) == 2_748_890 + 6 * 2


def test_shortcuts_start_as_the_mean_of_both_branches():
    model = wide_resnet(image=(3, 8, 8), classes=3, neuron=IF(), steps=2, depth=10, width=1)
    mixes = [parameter for name, parameter in model.named_parameters() if name.endswith("mix")]
    assert [mix.tolist() for mix in mixes] == [[0.5, 0.5]] * 3


ARGUMENTS: dict[str, Any] = {"classes": 3, "neuron": IF(), "steps": 2}


@pytest.mark.parametrize("size", [(9, 8), (8, 9), (7, 7), (0, 8)])
def test_vgg_refuses_images_that_cannot_be_pooled(size):
    with pytest.raises(UserError, match="multiples of 2"):
        vgg("vgg_small", image=(1, *size), **ARGUMENTS)
    with pytest.raises(UserError, match="multiples of 4"):
        vgg(Plan(((2,), (2,), (2,)), ()), image=(1, 6, 8), **ARGUMENTS)
    with pytest.raises(UserError, match="multiples of 8"):
        vgg("vgg11", image=(1, 28, 28), **ARGUMENTS)


@pytest.mark.parametrize("size", [(10, 8), (8, 10), (8, 0)])
def test_wide_networks_refuse_images_that_cannot_be_halved_twice(size):
    with pytest.raises(UserError, match="multiples of 4"):
        wide_resnet(image=(3, *size), **ARGUMENTS)


def test_networks_that_do_not_exist_are_refused():
    image = (3, 8, 8)
    with pytest.raises(UserError, match=r"vgg99.*vgg11, vgg_small"):
        vgg("vgg99", image=image, **ARGUMENTS)
    for depth in (12, 4, 9):
        with pytest.raises(UserError, match=f"depth={depth}"):
            wide_resnet(image=image, depth=depth, **ARGUMENTS)
    with pytest.raises(UserError, match="width=0"):
        wide_resnet(image=image, depth=10, width=0, **ARGUMENTS)
    with pytest.raises(UserError, match="steps=0, time steps of"):
        vgg("vgg_small", image=image, classes=3, neuron=IF(), steps=0)


class Flat(nn.Module):
    """The encoded pixels themselves as outputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class Counting(nn.Module):
    """Step t of the encoding is t times the image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([t * x for t in range(4)])


def test_a_classifier_normalises_encodes_and_averages():
    x = random_images(2, (3, 2, 2))
    mean, std = torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0.5, 0.25, 2.0]).double()
    normalised = ((x - mean[:, None, None]) / std[:, None, None]).flatten(1)
    model = Classifier(Flat(), Direct(), (3, 2, 2), mean.tolist(), std.tolist())
    torch.testing.assert_close(model(x), normalised)
    model = Classifier(Flat(), Counting(), (3, 2, 2), mean.tolist(), std.tolist())
    # What the encoder emits is normalised: x at the first step, 2 x at the second.
    twice = ((2 * x - mean[:, None, None]) / std[:, None, None]).flatten(1)
    torch.testing.assert_close(model(x), (normalised + twice) / 2)
    model = Classifier(Flat(), Direct(), (3, 2, 2))
    torch.testing.assert_close(model(x), (4 * (x - 0.5)).flatten(1))
    assert model(x.bfloat16()).dtype == torch.float32
    assert set(model.state_dict()) == {"pixel_mean", "pixel_std"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers for 3 channels"),
        ({"std": (0.5,) * 4}, "std has 4 numbers for 3 channels"),
        ({"std": (0.5, 0.0, 0.5)}, "must be positive"),
        ({"std": (-1.0,)}, "must be positive"),
    ],
)
def test_impossible_normalisations_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Classifier(Flat(), Direct(), (3, 2, 2), **arguments)


@pytest.mark.parametrize("leading", [(3, 4), (1, 4), (3, 1)])
def test_folding_is_a_view_that_acts_on_every_step(leading):
    x = torch.randn(*leading, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    assert Fold(nn.Identity())(x).data_ptr() == x.data_ptr()
    pool = nn.AvgPool2d(2)
    folded = Fold(pool, nn.Flatten())(x)
    assert torch.equal(folded, torch.stack([pool(step).flatten(1) for step in x]))


class OwnNeurons(Neurons):
    """Neurons whose backward pass hands over gradients in torch's usual layout of memory."""

    def forward(self, current: Tensor) -> Tensor:
        steps = torch.stack(list(current.expand(self.steps, *current.shape[1:])))
        return steps + (super().forward(current) - steps).detach()


@pytest.mark.parametrize("steps", [1, 4])
def test_the_gradient_of_one_image_is_that_in_a_batch_whatever_neurons_follow_a_batch_norm(steps):
    model = spiking(steps=steps).to(memory_format=torch.channels_last)
    for module in list(model.body):
        if isinstance(module, Neurons):
            module.__class__ = OwnNeurons
    for parameter in model.parameters():  # torch's batch norm has another way for parameters without a gradient
        parameter.requires_grad_(False)
    x = images(3, (1, 8, 8)).requires_grad_()
    together, alone = (torch.autograd.grad(model(x[:n])[:, 0].sum(), x)[0][:1] for n in (3, 1))
    assert float(together.abs().max()) > 0
    torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4 * float(together.abs().max()))


def test_the_released_initialisation_leaves_linear_layers_at_torchs() -> None:
    """Uniform within 1/sqrt(fan in), so sqrt(6 n / K) times smaller than He at the last layer; convolutions as He."""
    torch.manual_seed(0)
    model = vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=2, hidden=[600])
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [600, 10]
    he = linear[-1].weight.detach().std()
    torch.manual_seed(0)
    initialise(model, "released")
    bound = 600**-0.5
    assert bound * 0.99 < float(linear[-1].weight.detach().abs().max()) <= bound
    assert float(he / linear[-1].weight.detach().std()) == pytest.approx((6 * 600 / 10) ** 0.5, rel=0.05)
    conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (9 * conv.out_channels)) ** 0.5, rel=0.2)


@pytest.mark.parametrize(("hidden", "said"), [(5, "a list"), ([0], "width"), (["a"], "width")])
def test_bad_hidden_widths_are_refused(hidden: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=2, hidden=hidden)
