"""Networks of the real frameworks, where they are installed: replaced and recorded forwards are theirs, bit by bit, and
gradients under their own surrogate are their own autograd's."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustsnn.attacks import quick
from robustsnn.evaluation.consistency import consistency
from robustsnn.evaluation.fitting import fit_to, judge_of
from robustsnn.evaluation.obedience import obedience
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.modes import frozen
from robustsnn.interop import unreached, wrap
from robustsnn.interop.frameworks import framework_of
from robustsnn.neurons import ASSG, BPTR, HART, PDSG, RGA, Neurons, gradient_rule, neuron_layers

pytestmark = pytest.mark.filterwarnings("ignore")
RULES = [ASSG(), BPTR(), HART(), PDSG(), RGA()]


def needed(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


class Reading(nn.Module):
    """Convolution, neurons, linear layer, neurons, linear layer: a loop over single steps inside, spikes read out."""

    def __init__(self, kind, steps, reset) -> None:
        super().__init__()
        self.conv, self.first, self.fc, self.second = nn.Conv2d(1, 4, 3), kind(), nn.Linear(64, 12), kind()
        self.out, self.steps, self.forget = nn.Linear(12, 3), steps, reset

    def forward(self, x):
        self.forget(self)
        states, out = {}, []
        for _ in range(self.steps):
            h = self.layer(self.first, 3 * self.conv(x), states)
            out.append(self.out(self.layer(self.second, 3 * self.fc(h.flatten(1)), states)))
        return torch.stack(out).mean(0)

    def layer(self, layer, current, states):
        given = layer(current, *states.get(layer, ()))
        if isinstance(given, torch.Tensor):
            return given
        # snnTorch's recurrent neurons take their spikes back, Norse hands on one state
        recurrent = type(layer).__name__ in ("RLeaky", "RSynaptic")
        states[layer] = given if recurrent else given[1:]
        return given[0]


class Sequence(nn.Module):
    """The same with layers that take sequences `[T, B, ...]`, or `[B, T, ...]` where `first` is the batch."""

    def __init__(self, kind, steps, reset, first="T") -> None:
        super().__init__()
        self.conv, self.first, self.fc, self.second = nn.Conv2d(1, 4, 3), kind(), nn.Linear(64, 12), kind()
        self.out, self.steps, self.forget, self.time = nn.Linear(12, 3), steps, reset, 0 if first == "T" else 1

    def forward(self, x):
        self.forget(self)
        current = 3 * self.conv(x)
        s = self.fired(self.first, torch.stack([current] * self.steps, self.time))
        s = self.fired(self.second, 3 * self.fc(s.flatten(2)))
        return self.out(s).mean(self.time)

    def fired(self, layer, current):
        given = layer(current)
        return given[0] if isinstance(given, tuple) else given


def spikingjelly(name, **options):
    def build(steps):
        neuron = needed("spikingjelly.activation_based.neuron")
        functional = needed("spikingjelly.activation_based.functional")
        multi = options.get("step_mode") == "m" or "PSN" in name
        if "PSN" in name:
            options["T"] = steps
        return (Sequence if multi else Reading)(
            lambda: getattr(neuron, name)(**options), steps, lambda net: functional.reset_net(net)
        )

    return build


def snntorch(name, **options):
    def build(steps):
        snn, utils = needed("snntorch"), needed("snntorch.utils")
        if name.startswith("R"):
            options["all_to_all"] = False
        surrogate = needed("snntorch.surrogate").fast_sigmoid(25)
        return Reading(lambda: getattr(snn, name)(spike_grad=surrogate, **options), steps, lambda net: utils.reset(net))

    return build


def sinabs(name, **options):
    def build(steps):
        layers, reset = needed("sinabs.layers"), needed("sinabs").reset_states
        made = {key: torch.tensor(value) for key, value in options.items() if key not in ("single", "zero")}
        if options.get("single"):
            made |= {"spike_fn": needed("sinabs.activation").SingleSpike}
        if options.get("zero"):
            made |= {"reset_fn": needed("sinabs.activation").MembraneReset()}
        return Sequence(lambda: getattr(layers, name)(**made), steps, lambda net: reset(net), "B")

    return build


def norse(name, parameters, v_th=0.05):
    def build(steps):
        torch_, p = needed("norse.torch"), {"v_th": torch.tensor(v_th)}
        kind = lambda: getattr(torch_, name)(getattr(torch_, parameters)(**p))  # noqa: E731
        return (Reading if name.endswith("Cell") else Sequence)(kind, steps, lambda net: None)

    return build


NETWORKS = {
    "IFNode": spikingjelly("IFNode"),
    "IFNode m": spikingjelly("IFNode", step_mode="m"),
    "IFNode m soft detached": spikingjelly("IFNode", step_mode="m", v_reset=None, detach_reset=True),
    "LIFNode": spikingjelly("LIFNode", v_threshold=0.5, tau=1.7),
    "LIFNode m": spikingjelly("LIFNode", step_mode="m", v_threshold=0.5),
    "LIFNode m, tau 1.7": spikingjelly("LIFNode", step_mode="m", tau=1.7, decay_input=False),
    "LIFNode m, reset -0.1": spikingjelly("LIFNode", step_mode="m", v_reset=-0.1),
    "ParametricLIFNode m": spikingjelly("ParametricLIFNode", step_mode="m", v_threshold=0.5),
    "KLIFNode": spikingjelly("KLIFNode"),
    "QIFNode": spikingjelly("QIFNode", v_threshold=0.6),
    "EIFNode": spikingjelly("EIFNode", v_threshold=0.6),
    "IzhikevichNode": spikingjelly("IzhikevichNode", v_threshold=0.6),
    "PSN": spikingjelly("PSN"),
    "MaskedPSN": spikingjelly("MaskedPSN", k=2, step_mode="m"),
    "Leaky": snntorch("Leaky", beta=0.9),
    "Leaky, zero": snntorch("Leaky", beta=0.9, reset_mechanism="zero", learn_beta=True, learn_threshold=True),
    "Leaky, at once": snntorch("Leaky", beta=0.9, reset_delay=False),
    "Leaky, hidden": snntorch("Leaky", beta=0.9, init_hidden=True),
    "Leaky, no reset": snntorch("Leaky", beta=0.9, reset_mechanism="none"),
    "Synaptic": snntorch("Synaptic", alpha=0.8, beta=0.9),
    "Lapicque": snntorch("Lapicque", beta=0.9, threshold=0.05),
    "Alpha": snntorch("Alpha", alpha=0.9, beta=0.8, threshold=0.1),
    "RLeaky": snntorch("RLeaky", beta=0.9),
    "RSynaptic": snntorch("RSynaptic", alpha=0.8, beta=0.9),
    "IAF": sinabs("IAF"),
    "LIF": sinabs("LIF", tau_mem=5.0, spike_threshold=0.3),
    "LIF, synapse, one spike": sinabs("LIF", tau_mem=5.0, tau_syn=3.0, spike_threshold=0.3, single=True),
    "IAF, to zero": sinabs("IAF", zero=True),
    "ALIF": sinabs("ALIF", tau_mem=5.0, tau_adapt=3.0, spike_threshold=0.3),
    "IAFCell": norse("IAFCell", "IAFParameters", 1.0),
    "LIFCell": norse("LIFCell", "LIFParameters"),
    "LIFBoxCell": norse("LIFBoxCell", "LIFBoxParameters", 0.2),
    "LIF m": norse("LIF", "LIFParameters"),
    "LSNNCell": norse("LSNNCell", "LSNNParameters"),
}


def logits_and_gradient(model, x):
    with frozen(model):
        leaf = x.clone().requires_grad_()
        logits = model(leaf)
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
        return logits.detach(), torch.autograd.grad((logits * weights).sum(), leaf)[0]


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**20), steps=st.integers(3, 6), n=st.integers(3, 6))
def test_spikes_logits_and_own_gradients_are_those_of_the_framework(build, seed, steps, n):
    torch.manual_seed(seed)
    net = build(steps).eval()
    x = torch.rand(n, 1, 6, 6)
    logits, own = logits_and_gradient(net, x)
    model = wrap(net, x=x)
    assert unreached(model) == {}
    assert len(neuron_layers(model)) == 2
    with torch.no_grad():
        assert torch.equal(model(x), logits)
    found, gradient = logits_and_gradient(model, x)
    assert torch.equal(found, logits)
    assert (gradient - own).norm() <= 1e-6 * own.norm()
    for rule in RULES:
        with gradient_rule(model, rule):
            found, gradient = logits_and_gradient(model, x)
        assert torch.equal(found, logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["IFNode m", "IFNode m soft detached", "LIFNode m"])
def test_multi_step_nodes_of_spikingjelly_become_ours(name):
    torch.manual_seed(0)
    model = wrap(NETWORKS[name](4).eval(), x=torch.rand(6, 1, 6, 6))
    assert [type(layer) for layer in neuron_layers(model)] == [Neurons, Neurons]
    assert "replaced" in " ".join(model.how)


@pytest.mark.parametrize("backend", ["cupy", "triton", "inductor"])
@pytest.mark.parametrize(("v_reset", "kind"), [(0.0, "Neurons"), (-0.1, "Recorded")])
def test_backends_of_spikingjelly_give_way(backend, v_reset, kind):
    torch.manual_seed(0)
    net, x = spikingjelly("LIFNode", step_mode="m", v_reset=v_reset, v_threshold=0.5)(4).eval(), torch.rand(6, 1, 6, 6)
    plain = net(x)
    net.first.backend = net.second.backend = backend
    model = wrap(net, x=x)
    assert [type(layer).__name__ for layer in neuron_layers(model)] == [kind, kind]
    assert torch.equal(model(x), plain)
    assert logits_and_gradient(model, x)[1].any()


def test_unequal_spikes_are_tolerated_as_far_as_the_user_says():
    torch.manual_seed(1)
    net, x = NETWORKS["LIFNode m, tau 1.7"](6).eval(), torch.rand(16, 1, 6, 6)
    model = wrap(net, x=x)
    (told,) = [text for text in model.how if "not replaced" in text] or [""]
    assert [type(layer) for layer in neuron_layers(model)] != [Neurons, Neurons] or not told
    model = wrap(net, x=x, tolerance=0.02)
    assert [type(layer) for layer in neuron_layers(model)] == [Neurons, Neurons]


@pytest.mark.parametrize("name", ["IFNode", "Leaky", "IAF", "LIFCell"])
def test_an_evaluation_finds_no_fault_with_how_it_is_recorded(name):
    torch.manual_seed(0)
    x = torch.rand(8, 1, 6, 6)
    model, suite = wrap(NETWORKS[name](4).eval(), x=x), quick(4 / 255)
    y, judge = model(x).argmax(1), judge_of(model, x, suite)
    probe = Probe(model, x, y, np.ones(len(x), bool), fit_to(model, suite, x, judge), judge, 0)
    made = [*consistency(probe), *obedience(probe)]
    assert {check.flag.name for check in made} == {"call-dependent", "unsteady-gradient", "rules-without-effect"}
    assert not [check.message for check in made if check.raised]


PAGES = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.mark.parametrize("name", ["spikingjelly", "snntorch", "sinabs", "norse"])
def test_the_page_s_scripts_run(name, tmp_path, monkeypatch):
    needed(name)
    (block,) = re.findall(
        r"^```python3\n(.*?)^```", (PAGES / f"judge-{name}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names = {}
    for long, short in (("epochs = 5", "epochs = 1"), ("take(200)", "take(6)"), ('"reliable"', '"paper-trail"')):
        assert long in block
        block = block.replace(long, short)
    monkeypatch.chdir(tmp_path)
    exec(block, names)
    assert unreached(names["model"]) == {}
    assert names["result"].worst_case.n == 6


# ------------------------------------------------------------------------------------- what a fresh eye found


def own_gradient(net: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad((net(leaf) * weights).sum(), leaf)[0]


def test_a_gradient_that_is_not_the_networks_own_is_left_alone() -> None:
    """Sinabs' recurrent layer: whichever way it is reached, a rule acts on its own gradient or not at all."""
    layers, sinabs = needed("sinabs.layers"), needed("sinabs")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n, self.fc = layers.LIFRecurrent(tau_mem=5.0, rec_connect=nn.Linear(64, 64)), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.n(3 * x.flatten(1).unsqueeze(1).repeat(1, 4, 1))).mean(1)

    torch.manual_seed(0)
    net, x, weights = Net().eval(), torch.rand(6, 1, 8, 8), torch.randn(6, 10)
    model = wrap(net, x=x)
    sinabs.reset_states(net)
    gap = (own_gradient(model, x, weights) - own_gradient(net, x, weights)).norm()
    assert bool(model.left_alone) or gap < 1e-4


def test_a_layer_under_two_names_is_replaced_in_both() -> None:
    layer, neuron = (needed(f"spikingjelly.activation_based.{part}") for part in ("layer", "neuron"))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = neuron.IFNode(step_mode="m")
            convolution = layer.Conv2d(1, 4, 3, padding=1, step_mode="m")
            self.layers = nn.Sequential(convolution, self.lif, layer.Flatten(step_mode="m"), layer.Linear(256, 10))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x.expand(4, *x.shape)).mean(0)

    torch.manual_seed(0)
    net, x = Net().eval(), torch.rand(6, 1, 8, 8)
    model = wrap(net, x=x)
    assert any("replaced" in line for line in model.how)
    assert isinstance(model.net.lif, Neurons)
    assert model.net.lif is model.net.layers[1]


def test_a_state_that_begins_anew_midway_is_followed_on_images_not_seen_before() -> None:
    snntorch = needed("snntorch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.fc = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Linear(256, 10)
            self.l1, self.l2 = snntorch.Leaky(0.9), snntorch.Leaky(0.9)

        def forward(self, x: Tensor) -> Tensor:
            m1, m2, out = self.l1.reset_mem(), self.l2.reset_mem(), []
            for t in range(5):
                if t % 2 == 0:
                    m1 = self.l1.reset_mem()
                a, m1 = self.l1(3 * self.c(x), m1)
                b, m2 = self.l2(4 * self.fc(a.flatten(1)), m2)
                out.append(b)
            return torch.stack(out).mean(0)

    torch.manual_seed(0)
    net = Net().eval()
    model = wrap(net, x=torch.full((6, 1, 8, 8), 0.02))  # too dark to fire
    x = torch.rand(8, 1, 8, 8)
    assert torch.equal(model(x), net(x))


def test_neurons_in_a_plain_list_are_named() -> None:
    snntorch = needed("snntorch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.cells = nn.Linear(64, 10), [snntorch.Leaky(0.9)]

        def forward(self, x: Tensor) -> Tensor:
            mem = self.cells[0].reset_mem()
            return self.cells[0](self.fc(x.flatten(1)), mem)[0]

    model = wrap(Net().eval(), x=torch.rand(4, 1, 8, 8))
    assert "nn.ModuleList" in model.left_alone["cells"]


def test_neurons_of_norse_that_are_not_known_are_named_and_integrators_are_not() -> None:
    norse = needed("norse.torch")

    class Net(nn.Module):
        def __init__(self, cell: nn.Module) -> None:
            super().__init__()
            self.cell, self.fc = cell, nn.Linear(20, 10)

        def forward(self, x: Tensor) -> Tensor:
            state, out = None, []
            for _ in range(4):
                z, state = self.cell(20 * x.flatten(1)[:, :20], state)
                out.append(self.fc(z))
            return torch.stack(out).mean(0)

    x = torch.rand(4, 1, 8, 8)
    assert "not known" in wrap(Net(norse.LIFRefracCell()), x=x).left_alone["cell"]
    assert "cell" not in wrap(Net(norse.LICell()), x=x).left_alone


class OneLayer(nn.Module):
    """Linear, neurons, linear; six steps inside, as the kind of layer takes them."""

    def __init__(self, layer: nn.Module, whole: bool) -> None:
        super().__init__()
        self.fc, self.layer, self.out, self.whole = nn.Linear(36, 20), layer, nn.Linear(20, 3), whole

    def forward(self, x: Tensor) -> Tensor:
        current, state, out = 3 * self.fc(x.flatten(1)), None, []
        if self.whole:
            return self.out(self.layer(current.expand(6, *current.shape))[0]).mean(0)
        for _ in range(6):
            spikes, state = self.layer(current, state)
            out.append(self.out(spikes))
        return torch.stack(out).mean(0)


@pytest.mark.parametrize("name", ["LIFRecurrentCell", "LIFRecurrent", "LSNNRecurrentCell", "LIFAdExCell"])
def test_recurrent_and_adaptive_neurons_of_norse(name: str) -> None:
    norse, whole = needed("norse.torch"), name == "LIFRecurrent"
    threshold, sizes = torch.tensor(0.05), (20, 20) if "Recurrent" in name else ()
    kind = name.removesuffix("Cell").removesuffix("Recurrent") + "Parameters"
    torch.manual_seed(0)
    net = OneLayer(getattr(norse, name)(*sizes, getattr(norse, kind)(v_th=threshold)), whole).eval()
    x = torch.rand(6, 1, 6, 6)
    model = wrap(net, x=x)
    assert [layer.name for layer in model.recorded] == ["layer"]
    (logits, own), (found, gradient) = logits_and_gradient(net, x), logits_and_gradient(model, x)
    assert torch.equal(found, logits)
    assert (gradient - own).norm() <= 1e-6 * own.norm()
    assert own.any()


def test_a_leaky_read_out_of_sinabs_is_no_layer_of_neurons() -> None:
    layers, sinabs_ = needed("sinabs.layers"), needed("sinabs")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.iaf, self.out = nn.Linear(36, 20), layers.IAF(), nn.Linear(20, 3)
            self.leak = layers.ExpLeak(tau_mem=5.0)

        def forward(self, x: Tensor) -> Tensor:
            sinabs_.reset_states(self)
            return self.leak(self.out(self.iaf(3 * self.fc(x.flatten(1)).unsqueeze(1).expand(-1, 6, -1))))

    torch.manual_seed(0)
    net, x = Net().eval(), torch.rand(6, 1, 6, 6)
    model = wrap(net, x=x, readout="last")
    assert [layer.name for layer in model.recorded] == ["iaf"]
    assert model.left_alone == {}
    assert torch.equal(model(x), net(x)[:, -1])


def test_neurons_of_spikingjelly_that_fire_without_their_surrogate_in_eval_mode() -> None:
    """One is reached all the same; those of online learning, and those without a surrogate, are named."""
    neuron, functional = (needed(f"spikingjelly.activation_based.{part}") for part in ("neuron", "functional"))

    class Net(nn.Module):
        def __init__(self, node: nn.Module) -> None:
            super().__init__()
            self.fc, self.node, self.out = nn.Linear(36, 20), node, nn.Linear(20, 3)

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            current = 3 * self.fc(x.flatten(1))
            if self.node.step_mode == "m":
                return self.out(self.node(current.expand(6, *current.shape))).mean(0)
            return torch.stack([self.out(self.node(current)) for _ in range(6)]).mean(0)

    torch.manual_seed(0)
    x = torch.rand(6, 1, 6, 6)
    net = Net(neuron.ComplementaryLIFNode()).eval()
    model = wrap(net, x=x)
    assert model.left_alone == {}
    found, gradient = logits_and_gradient(model, x)
    logits, own = logits_and_gradient(Awake(net), x)
    assert torch.equal(found, logits)
    assert (gradient - own).norm() <= 1e-6 * own.norm()
    assert "else than its surrogate" in wrap(Net(neuron.OTTTLIFNode()).eval(), x=x).left_alone["node"]
    assert "not known" in wrap(Net(neuron.DSRIFNode(T=6, step_mode="m")).eval(), x=x).left_alone["node"]


class Awake(nn.Module):
    """Its node stays in train mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        self.net.node.training = True
        return self.net(x)


def test_parallel_neurons_of_snntorch_are_named() -> None:
    snntorch = needed("snntorch")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaky, self.out = snntorch.LeakyParallel(36, 20, beta=0.9), nn.Linear(20, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.leaky(x.flatten(1).expand(4, -1, -1))).mean(0)

    assert "LeakyParallel are not known" in wrap(Net().eval(), x=torch.rand(5, 1, 6, 6)).left_alone["leaky"]


class Distances:
    """Hears the first v = u - theta of a layer."""

    def __init__(self) -> None:
        self.first: Tensor | None = None

    def fire(self, distance: Tensor, own):
        self.first = distance.detach() if self.first is None else self.first
        return own(distance)


GAINS = [
    "IFNode",
    "LIFNode",
    "KLIFNode",
    "QIFNode",
    "EIFNode",
    "IzhikevichNode",
    "Leaky",
    "Synaptic",
    "Lapicque",
    "IAF",
]


@pytest.mark.parametrize("name", [*GAINS, "LIF", "IAFCell"])
def test_rate_rules_are_told_the_gain_and_the_threshold_of_a_neuron(name: str) -> None:
    """What RGA knows of a neuron: how far from its threshold a current brings it in its first step."""
    layer = NETWORKS[name](2).eval().first
    framework = framework_of(layer)
    told, heard = framework.nominal(layer), []
    for current in (0.1, 0.2):
        shown = torch.full((1, 2, 4), current)
        framework.reset(layer)
        with torch.no_grad(), framework.listen(layer, listener := Distances()):
            layer(shown if name in ("IAF", "LIF") else shown[0])
        heard.append(float(listener.first.flatten()[0]))
    by_current = (heard[1] - heard[0]) / 0.1
    distance_at_rest = by_current * 0.1 - heard[0]
    # A third for EIFNode, which an exponential current brings nearer by itself.
    assert told.gain / told.theta == pytest.approx(by_current / distance_at_rest, rel=0.33)
