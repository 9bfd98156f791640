"""Every part on sizes that take milliseconds: what it reports is there and consistent, whatever the times are."""

import json
import math

import pytest
import torch

from robustsnn.bench import neuron, running, spikingjelly
from robustsnn.bench.attack import watched
from robustsnn.bench.compare import compare, differences, read
from robustsnn.bench.memory import peak
from robustsnn.bench.network import drawings, network, noise, settle
from robustsnn.bench.options import PARTS, Options
from robustsnn.bench.running import MEASURES, bench
from robustsnn.bench.trainee import REGIMES, UNITS, Trainee
from robustsnn.cli import main
from robustsnn.ground.errors import UserError
from robustsnn.neurons import IF, LIF
from robustsnn.runs.build import suite

CPU = torch.device("cpu")
SIZES = {
    "networks": "vgg_small",
    "precisions": "float32",
    "image": "1x8x8",
    "steps": 2,
    "batch": 2,
    "rounds": 1,
    "memory": False,
    "neurons": "LIF",
    "neuron_shapes": "2x8",
    "neuron_steps": "3",
    "neuron_rounds": 1,
    "compiled": False,
    "pgd_steps": 2,
    "images": 3,
    "growth_steps": "2,4",
    "growth_batches": "2,3",
}
TINY = Options(**SIZES)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """All parts, written to a file."""
    path = tmp_path_factory.mktemp("bench") / "out.json"
    found = bench(TINY, out=path)
    assert json.loads(path.read_text()) == found  # plain values: nothing is lost on the way
    assert read(path) == found
    return found


def figures(node):
    """All numbers of a document, through ranges too."""
    for value in node.values():
        if isinstance(value, dict):
            yield from figures(value)
        elif isinstance(value, int | float):
            yield value


def test_the_document_says_where_it_comes_from(document):
    assert list(document["results"]) == list(PARTS) == list(MEASURES)
    assert {"command", "torch", "git", "started", "spikingjelly", "machine"} <= document.keys()
    assert {"cpu", "cores", "threads", "clock", "device", "load_before"} == document["machine"].keys()
    assert document["options"] == {**SIZES, **{k: v for k, v in vars(TINY).items() if k not in SIZES}}
    assert all(math.isfinite(value) for value in figures(document["results"]))


def test_a_measurement_can_be_compared_with_itself(document):
    rows = compare(document, document)
    assert len(rows) > 30
    assert {(row.ratio, row.verdict) for row in rows} == {(1.0, "")}
    assert differences(document, document) == ""


def test_neurons_are_measured_beside_a_copy(document):
    ((title, case),) = document["results"]["neuron"].items()
    assert title == "LIF float32 T=3 2x8"
    assert case["ours_is"] == "eager"  # small layers are
    assert {"ours", "copy of the same bytes"} <= case["ways"].keys()
    assert case["ways"]["ours"]["over_ours"] == case["ways"]["copy of the same bytes"]["of_copy_bandwidth"]
    assert case["ways"]["ours"]["spikes_equal"] == 1
    # 5 tensors of 48 floats
    moved = case["ways"]["ours"]["ms"]["max"] * case["ways"]["ours"]["bytes_gb_per_s"]["min"] * 1e6
    assert moved == pytest.approx(5 * 48 * 4, rel=1e-2)


def test_steps_are_measured_against_vanilla_and_the_floor(document):
    ((title, case),) = document["results"]["step"].items()
    assert title == "vgg_small float32 T=2 B=2 1x8x8"
    assert {name: row["units"] for name, row in case["regimes"].items()} == UNITS
    assert case["regimes"]["vanilla"]["over_vanilla"] == {"min": 1, "median": 1, "max": 1}
    for row in case["regimes"].values():
        assert row["images_per_s"]["median"] * row["ms"]["median"] / 1e3 == pytest.approx(2, rel=0.5)
        assert row["epoch_s"]["median"] == pytest.approx(row["ms"]["median"] * 25, rel=1e-2)  # 50,000 / 2 / 1000


def test_attacks_are_measured_alone_and_in_a_suite(document):
    ((_, case),) = document["results"]["attack"].items()
    quick = case["quick"]
    assert quick["images"] == 3
    assert quick["standing"] == 3  # so the cost is that of an image which no attack breaks
    members = suite("quick")("2/255").without_smoothing().members()
    assert quick["gradients_per_image"] == sum(getattr(attack, "steps", 0) for _, attack in members)
    assert 0 < quick["share_in_gradients"] + quick["share_in_forwards"] < 1
    assert quick["gradients_per_s"] == pytest.approx(quick["gradients_per_image"] * quick["images_per_s"], rel=1e-2)


def test_growth_is_measured_in_both_directions(document):
    found = document["results"]["growth"]
    assert [title.split(",")[0] for title in found] == ["vanilla over T", "SR over T", "vanilla over B", "SR over B"]
    assert [list(row["ms_at"]) for row in found.values()] == [["T=2", "T=4"]] * 2 + [["B=2", "B=3"]] * 2


def test_the_share_of_data_is_a_share(document):
    ((_, case),) = document["results"]["data"].items()
    assert 0 < case["share_of_data"]["min"] <= case["share_of_data"]["max"] < 1


def test_peak_memory_of_a_step_is_above_what_was_there():
    used = peak(TINY, ("vgg_small", "float32", 2, 2, "SR"), "cpu")
    assert used["peak_mib"] >= used["before_mib"] > 1


def test_the_command_prints_a_table_of_each_part_and_writes_the_file(tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = [f"--{name}={str(value).lower() if value is False else value}" for name, value in SIZES.items()]
    assert main(["bench", "--parts=data,neuron", *arguments, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "data pipeline" in printed
    assert "copy of the same bytes" in printed
    assert list(read(out)["results"]) == ["neuron", "data"]  # in the order of the parts


def test_an_interrupt_keeps_and_shows_the_parts_that_are_done(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(running.MEASURES, "data", interrupted)
    out = tmp_path / "out.json"
    arguments = [f"--{name}={str(value).lower() if value is False else value}" for name, value in SIZES.items()]
    assert main(["bench", "--parts=neuron,data", *arguments, "--json", str(out)]) == 130
    assert list(read(out)["results"]) == ["neuron"]
    assert "copy of the same bytes" in capsys.readouterr().out


# What is timed is what it is said to be


@pytest.mark.parametrize("regime", REGIMES)
def test_a_step_moves_every_weight(regime):
    trainee = Trainee("vgg_small", "float32", (1, 8, 8), 4, 4, 0, CPU)
    settle(trainee.model, trainee.x)
    before = [parameter.detach().clone() for parameter in trainee.model.parameters()]
    trainee.step(regime)
    assert trainee.model.training
    assert all(not torch.equal(a, b) for a, b in zip(before, trainee.model.parameters(), strict=True))


def test_networks_and_images_depend_on_the_seed_alone():
    data = noise((1, 8, 8), 4, 3)
    assert data.fingerprint() == noise((1, 8, 8), 4, 3).fingerprint() != noise((1, 8, 8), 4, 4).fingerprint()
    assert drawings((3, 32, 32), 5, 0).name == "procedural"
    one, other = (network("vgg_small", data, 2, 7, CPU).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_settled_batch_norm_has_the_statistics_of_the_batch_and_its_momentum_again():
    x = noise((1, 8, 8), 8, 0).floats()[0]
    model = network("vgg_small", noise((1, 8, 8), 8, 0), 2, 0, CPU)
    settle(model, x)
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.momentum == 0.1
    once = norm.running_mean.clone()
    settle(model, x)
    assert torch.equal(norm.running_mean, once)


def test_a_stopwatch_tells_gradients_from_plain_passes(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("robustsnn.bench.attack.now", lambda device: float(next(ticks)))
    model = torch.nn.Linear(3, 1)
    x = torch.ones(2, 3)
    with watched(model, CPU) as watch:
        with torch.no_grad():
            model(x)  # from 0 to 1
        torch.autograd.grad(model(x.clone().requires_grad_()).sum(), [*model.parameters()])  # no input gradient
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(model(leaf).sum(), leaf)  # one begins, and ends where the gradient arrives
    assert (watch.forward, watch.gradient) == (1.0, 1.0)
    model(x)
    assert (watch.forward, watch.gradient) == (1.0, 1.0)  # nothing is watched any more


# Neurons that disagree are refused before anything is timed


def planted(monkeypatch, layer):
    monkeypatch.setattr(spikingjelly, "layers", lambda *_, **__: {spikingjelly.MODULE: layer})

    def never(*_, **__):
        raise AssertionError("it was timed")

    monkeypatch.setattr(neuron, "paired", never)


def test_neurons_with_other_spikes_are_refused(monkeypatch):
    planted(monkeypatch, neuron.ours(LIF(tau=0.5, theta=1.0625)))
    with pytest.raises(UserError, match=r"of the spikes differ from the reference; not timed"):
        neuron.measure(TINY, CPU)


def test_neurons_with_other_gradients_are_refused(monkeypatch):
    exact = neuron.ours(LIF(tau=0.5))
    planted(monkeypatch, lambda current: exact(current.detach()) + 0 * current)
    with pytest.raises(UserError, match=r"gradients differ from the reference; not timed"):
        neuron.measure(TINY, CPU)


def test_a_membrane_of_their_own_may_differ_in_bfloat16_alone():
    current, upstream = neuron.currents((3, 2, 8), 0, CPU)
    found, other = (neuron.passes(neuron.ours(n), current, upstream)() for n in (IF(), LIF(tau=0.5)))
    assert neuron.check("same", found, found, torch.float32) == 1
    share = neuron.check("theirs", found, other, torch.bfloat16, own_membrane=True)
    assert 0 < share < 1
    with pytest.raises(UserError, match="not timed"):
        neuron.check("theirs", found, other, torch.float32, own_membrane=True)


@pytest.mark.parametrize("name", neuron.NEURONS)
def test_their_layers_give_our_spikes_and_gradients(name):
    if not spikingjelly.installed():
        pytest.skip("SpikingJelly is not installed")
    current, upstream = neuron.currents((4, 3, 16), 1, CPU)
    mine = neuron.passes(neuron.ours(neuron.NEURONS[name]), current, upstream)()
    for way, layer in spikingjelly.layers(neuron.NEURONS[name], torch.float32, CPU).items():
        neuron.check(way, neuron.passes(layer, current, upstream)(), mine, torch.float32)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda, but torch sees no GPU"):
        bench(Options(device="cuda"))
