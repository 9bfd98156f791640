"""Activity, synaptic operations and energy, counted by hand."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from helpers import images, spiking
from robustsnn.encoders import Direct, Frames, Poisson
from robustsnn.ground.errors import UserError
from robustsnn.models import sew_resnet18
from robustsnn.models.classifier import Classifier
from robustsnn.models.time import Fold
from robustsnn.neurons import IF, Neurons
from robustsnn.studies.energy.measure import AC, MAC, energy
from robustsnn.studies.energy.record import Energy, Operations, read
from robustsnn.studies.shared.fanout import fan_out
from robustsnn.studies.shared.tally import Tally

X, Y = images(6, (1, 8, 8), low=0.0, high=1.0), torch.arange(6) % 4


def data(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, torch.zeros(len(x), dtype=torch.long)


def by_name(found: Energy) -> dict[str, Operations]:
    return {layer.name: layer for layer in found.layers}


def frames(body: nn.Module, image: tuple[int, ...]) -> Classifier:
    """A network on event frames that hands them to its body as they are."""
    return Classifier(body, Frames(image[0]), image, (0.0,), (1.0,))


def test_a_network_counted_by_hand() -> None:
    """Direct coding of 2 pixels (0.6, 0.3) for T = 4 steps, currents = pixels:

    neuron 1: 0.6, 1.2 fires, 0.6, 1.2 fires     -> 0 1 0 1
    neuron 2: 0.3, 0.6, 0.9, 1.2 fires           -> 0 0 0 1
    first layer: 4 MACs; readout to 3 classes: 3 spikes * 3 = 9 synaptic operations, dense 6 MACs.
    """
    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 3)
    with torch.no_grad():
        first.weight.copy_(torch.eye(2))
    body = nn.Sequential(nn.Flatten(2), first, Neurons(IF(), 4), last)
    model = Classifier(body, Direct(), (1, 1, 2), (0.0,), (1.0,))
    found = energy(model, data(torch.tensor([0.6, 0.3]).view(1, 1, 1, 2)))

    layers = by_name(found)
    assert (layers["body.1"].kind, layers["body.1"].macs, layers["body.1"].synops) == ("real", 4, None)
    assert (layers["body.1"].runs, layers["body.1"].repeated) == (1, 4)
    assert (layers["body.3"].kind, layers["body.3"].macs, layers["body.3"].runs) == ("spikes", 6, 4)
    assert found.synops.total == 9
    assert layers["body.3"].density == 3 / 8
    assert found.joule.mean == pytest.approx(4 * 4 * 4.6e-12 + 9 * 0.9e-12)
    assert found.joule_once.mean == pytest.approx(1 * 4 * 4.6e-12 + 9 * 0.9e-12)
    assert found.ann_joule == pytest.approx((4 + 6) * 4.6e-12)
    assert found.saving == pytest.approx(46 / (73.6 + 8.1))
    (activity,) = found.activity
    assert (activity.name, activity.neurons, activity.dead) == ("body.2", 2, 0)
    assert activity.rates == (0, 0.5, 0, 1)
    assert found.rate == activity.rate.mean == 3 / 8
    assert activity.silent.mean == 0
    assert (found.mac, found.ac, found.steps) == (MAC, AC, 4)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(3, 7),
    st.integers(3, 7),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(0, 99),
)
def test_fan_out_counts_where_a_pixel_arrives(
    height: int, width: int, kernel: int, stride: int, padding: int, dilation: int, groups: int, seed: int
) -> None:
    """Against the number of outputs that change when a pixel does, for weights without zeros or cancellation."""
    if dilation * (kernel - 1) >= min(height, width) + 2 * padding:
        return
    layer = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups)
    with torch.no_grad():
        layer.weight.copy_(1 + torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(seed)))
    pixels = torch.eye(2 * height * width).view(-1, 2, height, width)
    changed = F.conv2d(pixels, layer.weight, None, stride, padding, dilation, groups)
    expected = (changed != 0).flatten(1).sum(1).view(2, height, width)
    assert torch.equal(fan_out(layer, (2, height, width)), expected.double())


def test_padding_at_the_edges() -> None:
    """3x3, padding 1: a corner is in 4 windows, an edge in 6, the inside in 9; times 5 channels."""
    body = nn.Sequential(Fold(nn.Conv2d(1, 5, 3, padding=1)), nn.Flatten(2))
    model = frames(body, (1, 1, 4, 4))
    for (row, column), windows in {(0, 0): 4, (0, 1): 6, (1, 1): 9, (3, 3): 4, (2, 3): 6}.items():
        x = torch.zeros(1, 1, 1, 4, 4)
        x[..., row, column] = 1
        (layer,) = energy(model, data(x)).layers
        assert layer.kind == "spikes"
        assert layer.synops is not None
        assert layer.synops.total == 5 * windows
        assert layer.macs == 5 * (4 * 4 + 8 * 6 + 4 * 9)
        assert layer.macs_padded == 5 * 16 * 9


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        nn.Conv2d(4, 6, 1),
        nn.Conv2d(4, 6, 2, bias=False),
    ],
)
def test_an_input_of_ones_costs_all_macs_at_each_step(layer: nn.Module) -> None:
    model = frames(nn.Sequential(Fold(layer), nn.Flatten(2)), (3, 4, 6, 6))
    (found,) = energy(model, data(torch.ones(2, 3, 4, 6, 6))).layers
    assert found.synops is not None
    assert found.synops.mean == found.macs * 3
    assert (found.runs, found.density) == (3, 1)
    (silent,) = energy(model, data(torch.zeros(2, 3, 4, 6, 6))).layers  # nothing but the bias, which is not counted
    assert silent.synops is not None
    assert (silent.kind, silent.synops.total, silent.density) == ("spikes", 0, 0)


def test_macs_without_padding_are_the_closed_form() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 10))
    found = energy(model, data(torch.rand(3, 3, 9, 9)))
    convolution, linear = found.layers
    assert convolution.macs == convolution.macs_padded == 8 * 4 * 4 * 3 * 9
    assert linear.macs == linear.macs_padded == 8 * 4 * 4 * 10
    assert {layer.kind for layer in found.layers} == {"real"}
    # A network without spikes costs what it costs.
    assert found.joule.mean == found.joule_once.mean == found.ann_joule == (3456 + 1280) * MAC
    assert (found.saving, found.rate, found.activity, found.synops.total) == (1, None, (), 0)


def test_added_spikes_are_counts() -> None:
    """SEW blocks hand on 0, 1, 2 ...: each unit is one accumulate per output."""
    x = torch.tensor([0.0, 1, 2, 3]).view(1, 1, 1, 1, 4)
    model = frames(nn.Sequential(nn.Flatten(2), nn.Linear(4, 7)), (1, 1, 1, 4))
    (layer,) = energy(model, data(x)).layers
    assert (layer.kind, layer.synops.total) == ("counts", 6 * 7)  # type: ignore[union-attr]
    torch.manual_seed(0)
    sew = sew_resnet18(
        image=(1, 8, 8), classes=4, neuron=IF(), steps=2, width=1 / 16, stem="cifar", pooling="none", encoder=Direct()
    )
    with torch.no_grad():
        for i in range(10):
            sew.train()(images(32, (1, 8, 8), seed=i))
    sew.eval()
    seen = {}
    for name, module in sew.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, a, o, name=name: seen.__setitem__(name, (m, a[0])))
    found = by_name(energy(sew, data(X)))
    with torch.no_grad():
        sew(X)
    kinds = set()
    for name, (module, spikes) in seen.items():
        layer = found[name]
        kinds.add(layer.kind)
        if layer.kind == "real":
            assert name == "body.stem.0.0"
            continue
        ones = torch.ones_like(module.weight)
        arriving = F.conv2d(spikes, ones, None, module.stride, module.padding)
        assert layer.synops is not None
        assert layer.synops.total == float(arriving.double().sum())
    assert kinds == {"real", "spikes", "counts"}


@pytest.mark.parametrize(
    ("values", "kind", "synops"),
    [
        ([0.0, 0.3, 0.3], "spikes", 2),  # one value that is not 1
        ([0.0, 0.25, 0.75], "real", None),  # grey in front of all neurons
        ([-1.0, 0.0, 1.0], "real", None),
        ([0.0, 2.0, 4.0], "counts", 6),
        ([0.0, 1.0, 1.5], "real", None),
    ],
)
def test_what_counts_as_spikes(values: list[float], kind: str, synops: float | None) -> None:
    model = frames(nn.Sequential(nn.Flatten(2), nn.Linear(3, 2)), (1, 1, 1, 3))
    (layer,) = energy(model, data(torch.tensor(values).view(1, 1, 1, 1, 3))).layers
    assert layer.kind == kind
    assert (layer.synops and layer.synops.total / 2) == (synops and pytest.approx(synops))


def test_averages_of_spikes_are_counts_behind_neurons() -> None:
    """Averages over 2x2 spikes are multiples of 1/4: each spike reaches all outputs of the layer behind."""
    body = nn.Sequential(Neurons(IF(), 2), Fold(nn.AvgPool2d(2)), nn.Flatten(2), nn.Linear(4, 5))
    x = torch.ones(1, 2, 1, 4, 4)
    x[0, 0, 0, 0, 0] = x[0, 1, 0, :2, :1] = 0
    (layer,) = energy(frames(body, (2, 1, 4, 4)), data(x)).layers
    assert (layer.kind, layer.synops) == ("real", None)  # 1/2, 3/4, 1: no window has a single spike to tell the unit
    x[0, 1, 0, 0, 1] = 0
    (layer,) = energy(frames(body, (2, 1, 4, 4)), data(x)).layers
    assert layer.kind == "counts"
    assert layer.synops is not None
    assert layer.synops.total == 28 * 5


def test_reparametrised_layers_and_subclasses_are_counted_as_what_they_are() -> None:
    class Scaled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    plain = nn.Conv2d(1, 3, 3, padding=1)
    old = nn.utils.spectral_norm(nn.Conv2d(1, 3, 3, padding=1))
    for layer in (weight_norm(nn.Conv2d(1, 3, 3, padding=1)), Scaled(1, 3, 3, padding=1), old):
        assert torch.equal(fan_out(layer, (1, 4, 5)), fan_out(plain, (1, 4, 5)))
        (found,) = energy(
            frames(nn.Sequential(Fold(layer), nn.Flatten(2)), (1, 1, 4, 5)), data(X[:2, None, :, :4, :5])
        ).layers
        assert found.macs == int(fan_out(plain, (1, 4, 5)).sum())


def test_layers_called_step_by_step_are_folded() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.layer(x[:, t].flatten(1)) for t in range(4)]).mean(0)

    x = (torch.rand(5, 4, 1, 1, 3, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    (loop,) = energy(Loop(), data(x), batch_size=2).layers
    folded = frames(nn.Sequential(nn.Flatten(2), nn.Linear(3, 2)), (4, 1, 1, 3))
    (fold,) = energy(folded, data(x)).layers
    assert (loop.synops, loop.runs, loop.macs, loop.kind) == (fold.synops, fold.runs, fold.macs, fold.kind)
    each = 2 * x.flatten(1).sum(1).double()
    assert fold.synops is not None
    assert fold.synops == Tally.over(each)
    assert fold.synops.scatter == pytest.approx(5 * float((each - each.mean()).square().sum()))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_nothing_depends_on_the_batch(batch_size: int) -> None:
    model = spiking()
    assert energy(model, (X, Y), batch_size=batch_size) == energy(model, (X, Y))


def test_random_networks_too() -> None:
    model = spiking()
    model.encoder = Poisson(3)
    found = energy(model, (X, Y), batch_size=4, seed=3)
    assert found == energy(model, (X, Y), batch_size=1, seed=3)
    assert found != energy(model, (X, Y), seed=4)


def test_activity_is_that_of_the_spikes() -> None:
    model = spiking()
    seen: list[Tensor] = []
    layer = model.body[1]
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        model(X)
    handle.remove()
    (spikes,) = seen
    activity = energy(model, (X, Y), batch_size=4).activity[0]
    flat = spikes.flatten(2)
    assert activity.rates == pytest.approx(flat.mean((1, 2)).tolist())
    assert activity.rate.mean == pytest.approx(float(flat.mean()))
    assert activity.rate.interval() is not None
    assert activity.silent.mean == pytest.approx(float((flat.sum(0) == 0).float().mean()))
    assert activity.dead == int((flat.sum((0, 1)) == 0).sum())
    assert activity.neurons == flat.shape[2]


def test_energies_are_linear_in_their_constants() -> None:
    model = spiking()
    one, two = energy(model, (X, Y), mac=1, ac=1), energy(model, (X, Y), mac=1, ac=3)
    assert two.joule.mean - one.joule.mean == pytest.approx(2 * one.synops.mean)
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["schema"] == 1
    for wrong in ({"mac": 0}, {"ac": -1}, {"ac": float("nan")}, {"batch_size": 0}):
        with pytest.raises(UserError, match=r"a finite number above 0|a whole number of at least 1"):
            energy(model, (X, Y), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="nothing to count"):
        energy(nn.Flatten(), (X, Y))


def test_the_model_is_left_as_it_was() -> None:
    model = spiking().train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    energy(model, (X, Y))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_the_record_reads_what_it_wrote_and_nothing_else(tmp_path) -> None:
    body = nn.Sequential(nn.Flatten(2), nn.Linear(4, 3), Neurons(IF(), 2), nn.Linear(3, 2))
    found = energy(Classifier(body, Direct(), (1, 2, 2)), (torch.rand(5, 1, 2, 2), torch.zeros(5, dtype=torch.long)))
    path = tmp_path / "analysis" / "energy.json"
    path.parent.mkdir()
    path.write_text(json.dumps(found.to_dict()))
    assert read(path) == found
    value = found.to_dict()
    older = {"n": 5, "total": 1.0, "squares": 1.0, "mean": 0.2, "interval": None}  # of files before the scatter
    for change, said in (
        ({"synops": older}, r"synops.scatter = None is not a finite number; analyse the run again"),
        ({"n": 6}, "one of 6 images"),
        ({"joule": value["joule"] | {"scatter": -1.0}}, "joule.scatter = -1.0 is not at least 0"),
        ({"layers": [value["layers"][0] | {"kind": "magic"}]}, r"layers\[0\].kind = 'magic' is not one of spikes"),
        ({"layers": 3}, "layers = 3 is not a list"),
    ):
        path.write_text(json.dumps(value | change))
        with pytest.raises(UserError, match=said):
            read(path)
