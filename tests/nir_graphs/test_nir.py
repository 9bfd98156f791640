"""Graphs of NIR: a step of time by hand, round trips through ourselves and others, and what is refused."""

from __future__ import annotations

import contextlib
import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from robustsnn.attacks import pgd
from robustsnn.encoders import Direct
from robustsnn.ground.errors import UserError
from robustsnn.interop.nir import read_nir, write_nir
from robustsnn.interop.nir.euler import DT, Synapse
from robustsnn.models import Classifier, vgg
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import IF, LIF, Neurons, neuron_layers

nir = pytest.importorskip("nir")
pytest.importorskip("h5py")

STEPS = 6
NEURONS = [IF(), IF(theta=0.3), LIF(0.5), LIF(0.9, theta=0.7), LIF(0.75, theta=0.4, decay_input=True), LIF(1 - 1 / 3)]
X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(neuron: LIF, norm: bool = True) -> Classifier:
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 6, 3, padding=1, bias=not norm), *([nn.BatchNorm2d(6)] if norm else [])]
    hidden, last = nn.Linear(96, 20), nn.Linear(20, 4)
    spikes = [Neurons(neuron, STEPS) for _ in range(2)]
    body = Layers(Fold(*first), spikes[0], Fold(nn.AvgPool2d(2)), nn.Flatten(2), hidden, spikes[1], last)
    model = Classifier(body, Direct(), (1, 8, 8), (0.5,), (0.25,)).train()
    with torch.no_grad():
        hidden.weight.mul_(6)
        last.weight.mul_(4)
        for _ in range(10):
            model(X)
        assert float(model.eval()(X).std(0).mean()) > 0.1  # all layers are active
    return model


def equal(a: torch.Tensor, b: torch.Tensor) -> float:
    """Share of images whose logits are equal but for rounding: one spike more moves them by a hundredth."""
    return float(((a - b).abs().amax(1) < 1e-4).float().mean())


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_ours_comes_back_as_it_was(neuron, tmp_path):
    model = network(neuron, norm=False)
    write_nir(tmp_path / "a.nir", model)
    found = read_nir(tmp_path / "a.nir", STEPS)
    for layer in neuron_layers(found):
        assert (layer.neuron.reset, layer.neuron.decay_input) == ("hard", neuron.decay_input)
        assert np.float32(layer.neuron.tau) == np.float32(neuron.tau)
        assert layer.neuron.theta == neuron.theta
    assert torch.equal(found(X), model(X))
    attack = pgd(0.1, 3)
    y = model(X).argmax(1)
    assert torch.equal(attack(found, X, y), attack(model, X, y))


def test_a_batch_norm_is_folded_and_a_whole_vgg_is_written(tmp_path):
    model = network(IF())
    write_nir(tmp_path / "a.nir", model)
    assert equal(read_nir(tmp_path / "a.nir", STEPS)(X), model(X)) > 0.9
    whole = vgg("vgg_small", image=(1, 8, 8), classes=4, neuron=LIF(0.5), steps=STEPS).eval()
    write_nir(tmp_path / "b.nir", whole)
    assert equal(read_nir(tmp_path / "b.nir", STEPS)(X), whole(X)) > 0.9


def chain(*nodes, shape=(2,)):
    names = [str(i) for i in range(len(nodes) + 2)]
    last = nodes[-1].output_type["output"]
    every = [nir.Input({"input": np.array(shape)}), *nodes, nir.Output({"output": np.array(last)})]
    return nir.NIRGraph(dict(zip(names, every, strict=True)), list(pairwise(names)), type_check=False)


def ones(value: float, n: int = 2) -> np.ndarray:
    return np.full(n, float(value))


def spikes_by_hand(current, steps, tau_mem, r, threshold, tau_syn=None, w_in=1.0):
    """The explicit Euler rule in float64, for a constant current."""
    i = v = 0.0
    found = []
    for _ in range(steps):
        i = current if tau_syn is None else i + DT / tau_syn * (-i + w_in * current)
        v = v + (DT * r * i if tau_mem is None else DT / tau_mem * (-v + r * i))
        found.append(float(v >= threshold))
        v = 0.0 if found[-1] else v
    return found


@pytest.mark.parametrize("r", [1.0, 4.0, 1.7])
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF"])
def test_a_node_fires_as_its_equations_say(kind, r):
    tau, slow = 4 * DT, 3 * DT
    nodes = {
        "IF": lambda: nir.IF(ones(r / DT), ones(0.9)),
        "LIF": lambda: nir.LIF(ones(tau), ones(r), ones(0), ones(0.31)),
        "CubaLIF": lambda: nir.CubaLIF(ones(slow), ones(tau), ones(r), ones(0), ones(0.31), w_in=ones(1.3)),
    }
    weight = np.array([[0.37, 0.0], [0.0, 0.83]], np.float32)
    graph = chain(
        nir.Flatten({"input": np.array([1, 1, 2])}, 0, -1), nir.Linear(weight), nodes[kind](), shape=(1, 1, 2)
    )
    model = read_nir(graph, 25)
    model.body.append(Kept())
    model(torch.ones(1, 1, 1, 2))
    for neuron, current in enumerate((0.37, 0.83)):
        values = {"IF": (None, r / DT, 0.9), "LIF": (tau, r, 0.31), "CubaLIF": (tau, r, 0.31, slow, 1.3)}[kind]
        expected = spikes_by_hand(current, 25, *values)
        assert model.body[-1].seen[:, 0, neuron].tolist() == expected
        assert neuron == 0 or sum(expected) > 0


class Kept(nn.Module):
    """Keeps what passes."""

    def forward(self, x):
        self.seen = x
        return x


def test_the_synapse_is_its_recursion():
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([[0.5 * 0.8 ** (t - k) if t >= k else 0.0 for k in range(5)] for t in range(5)])
    assert torch.allclose(Synapse(0.8, 0.5, 5)(x), weight @ x)
    assert torch.allclose(Synapse(0.8, 0.5, 5)(x[:1]), weight @ x[:1].expand(5, 3))


def test_pools_are_sums_and_means():
    for kind, scale in ((nir.SumPool2d, 4), (nir.AvgPool2d, 1)):
        pool = kind(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
        graph = chain(pool, nir.Flatten({"input": np.array([1, 4, 4])}, 0, -1), shape=(1, 8, 8))
        expected = scale * nn.functional.avg_pool2d(X, 2).flatten(1)
        assert torch.allclose(read_nir(graph, 2)(X), expected)


REFUSED = {
    "node '1' is a Threshold": lambda: chain(nir.Threshold(ones(1)), shape=(1, 1, 2)),
    "v_threshold takes 2 values": lambda: chain(nir.IF(ones(1 / DT), np.array([1.0, 2.0])), shape=(1, 1, 2)),
    "v_leak=0.5": lambda: chain(nir.LIF(ones(4 * DT), ones(1), ones(0.5), ones(1)), shape=(1, 1, 2)),
    "v_reset=-1": lambda: chain(nir.IF(ones(1 / DT), ones(1), ones(-1)), shape=(1, 1, 2)),
    "1, LIF: .*tau": lambda: chain(nir.LIF(ones(DT / 2), ones(1), ones(0), ones(1)), shape=(1, 1, 2)),
    "padding": lambda: chain(nir.AvgPool2d(*np.array([[2, 2], [2, 2], [1, 1]])), shape=(1, 8, 8)),
    r"Input has shape \(2,\)": lambda: chain(nir.IF(ones(1 / DT), ones(1))),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_ours_cannot_be_is_refused_by_name(said):
    with pytest.raises(UserError, match=said.replace("1, LIF", "'1', LIF")):
        read_nir(REFUSED[said](), STEPS)


def test_graphs_that_are_no_chain_are_refused():
    model = chain(nir.IF(ones(1 / DT), ones(1)), shape=(1, 1, 2))
    model.edges.append(("1", "1"))
    with pytest.raises(UserError, match="only chains"):
        read_nir(model, STEPS)


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), nn.ReLU()])
def test_layers_without_a_node_are_refused_by_name(layer):
    model = Classifier(Layers(Fold(layer), nn.Flatten(2)), Direct(), (1, 8, 8))
    with pytest.raises(UserError, match=f"{type(layer).__name__}.* has no node of NIR"):
        write_nir("unused.nir", model)
    soft = Classifier(Layers(Neurons(LIF(0.5, reset="soft"), 3), nn.Flatten(2)), Direct(), (1, 8, 8))
    with pytest.raises(UserError, match=r"soft.* has no node"):
        write_nir("unused.nir", soft)


def test_damaged_files_links_and_other_files_are_refused(tmp_path):
    import h5py

    path = tmp_path / "a.nir"
    write_nir(path, network(IF()))
    whole = path.read_bytes()
    (tmp_path / "cut.nir").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nir").write_text("no graph")
    with h5py.File(tmp_path / "link.nir", "w") as file:
        file["node"] = h5py.ExternalLink(str(path), "node")
    for name in ("cut", "text", "link", "missing"):
        with pytest.raises(UserError, match=f"{name}.nir is no NIR graph"):
            read_nir(tmp_path / f"{name}.nir", STEPS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_spikingjelly_reads_the_same_spikes_and_writes_them_back(neuron, tmp_path):
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    model = network(neuron)
    write_nir(tmp_path / "a.nir", model)
    ours = read_nir(tmp_path / "a.nir", STEPS)
    theirs = exchange.import_from_nir(tmp_path / "a.nir", step_mode="m")
    shown = ((X - 0.5) / 0.25)[None].expand(STEPS, *X.shape)
    with torch.no_grad():
        assert equal(theirs(shown)[0].mean(0), ours(X)) >= 0.95


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_spikingjelly_is_read_with_its_spikes():
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    from spikingjelly.activation_based import functional, layer
    from spikingjelly.activation_based import neuron as nodes

    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Conv2d(1, 6, 3, padding=1),
        nodes.LIFNode(tau=2.0, decay_input=False, v_threshold=0.5),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(96, 4),
        nodes.IFNode(v_threshold=0.3),
    )
    with torch.no_grad():
        net[4].weight.mul_(4)
    functional.set_step_mode(net, "m")
    shown = X[None].repeat(STEPS, 1, 1, 1, 1)
    graph = exchange.export_to_nir(net, shown)
    functional.reset_net(net)
    with torch.no_grad():
        rates = net(shown).mean(0)
        assert float(rates.std(0).mean()) > 0.02
        assert equal(read_nir(graph, STEPS)(X), rates) >= 0.95


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("neuron", [n for n in NEURONS if n.tau < 1], ids=repr)
def test_snntorch_reads_the_same_spikes(neuron):
    importer = pytest.importorskip("snntorch.import_nir")
    from robustsnn.interop.nir.writing import graph_of

    model = network(neuron)
    graph = graph_of(model)
    ours = read_nir(graph, STEPS)(X[:8])
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = importer.import_from_nir(graph)
    for image, logits in zip((X[:8] - 0.5) / 0.25, ours, strict=True):
        for module in theirs.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()
        state, total = None, 0
        for _ in range(STEPS):
            out, state = theirs(image, state) if state is not None else theirs(image)
            total = total + out
        assert torch.allclose(total / STEPS, logits, atol=1e-4)
