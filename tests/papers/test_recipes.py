"""Recipes: every network can be built at every scale, and every exhibit is made of what is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robustsnn.attacks import Source
from robustsnn.cli import main
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.draw.plain import plain
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import silent
from robustsnn.ground.units import fraction
from robustsnn.names import installed
from robustsnn.names.config import Config, DataConfig
from robustsnn.names.parsing import parse_config, read_config
from robustsnn.names.shipped import shipped
from robustsnn.recipes import named, reproduce
from robustsnn.recipes.recipe import WORST, Found, Look, Need, Setting, Subject, merged
from robustsnn.recipes.running import _look, _train
from robustsnn.records.exhibit import Chart, Exhibit, Pictures, Table
from robustsnn.reporting.exhibits import write_exhibits
from robustsnn.runs.build import (
    build_constraints,
    build_data,
    build_model,
    build_objective,
    build_optimiser,
    check,
    suite,
)
from robustsnn_papers import measures, published
from robustsnn_papers.networks import STAND_IN, Network, radius, sweep
from robustsnn_papers.readings import CHOICES, READINGS

SCALES = ("digits", "cpu", "full")
RECIPES = {name: named(name) for name in installed("recipe")}
SETTING = Setting("digits", (1,), 6, "robustsnn reproduce")


def needs(scale: str) -> list[Need]:
    return merged([need for recipe in RECIPES.values() for need in recipe.needs(scale)])  # type: ignore[arg-type]


def fake(data: DataConfig) -> Splits:
    """Images of the shape of a data set of the papers, for networks to be built on."""
    shape = {"cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "cifar10_dvs": (data.frames.steps, 2, 48, 48)}[data.name]
    classes = tuple(map(str, range(100 if data.name == "cifar100" else 10)))
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    images[1] = 255
    part = ImageSet(images, torch.tensor([0, 1]), classes, data.name)
    return Splits(part, part, part, "fake")


def test_the_command_line_names_every_recipe():
    assert len(RECIPES) == 20
    for name, entry in installed("recipe").items():
        assert RECIPES[name].name == name
        assert entry.text.startswith(("SR paper, ", "trail paper, "))


@pytest.mark.parametrize("scale", SCALES)
def test_every_network_has_a_config_that_can_be_built_and_a_folder_of_its_own(scale):
    folders = [need.network.folder(scale, 1) for need in needs(scale)]
    assert len(set(folders)) == len(folders)
    built: dict[str, Splits] = {}
    for need in needs(scale):
        config = need.network.config(scale, 1, Path("data"))
        assert Config(**vars(config)).title() == need.network.name()
        build_objective(config.objective)
        if scale == "full" and need.network.architecture in ("VGG-11", "SEW-ResNet50"):
            continue  # large; they are those of the shipped configs, and are built there
        if scale == "cpu" and need.network.architecture.endswith(("34", "50")):
            continue  # the 18 beside them is built
        key = config.data.name
        if key not in built:
            built[key] = build_data(config.data) if scale == "digits" else fake(config.data)
        model = build_model(config.model, built[key], 1)
        build_optimiser(config.train, model)
        build_constraints(config.objective, model)


def test_full_scale_has_the_settings_of_the_papers():
    sr = Network("CIFAR-10", "WRN-16", "SR*").config("full", 0, Path("data"))
    assert (sr.objective.lam, sr.objective.options, sr.model.steps) == (0.002, {"h": 0.01}, 8)
    assert sr.objective.attack is not None
    assert (sr.objective.attack.eps, sr.objective.attack.alpha, sr.objective.attack.steps) == ("2/255", 0.01, 5)
    assert (sr.train.epochs, sr.train.batch_size, sr.train.lr, sr.train.weight_decay) == (200, 64, 0.1, 5e-4)
    assert sr.data.root == "data/cifar-10"
    assert Network("CIFAR-100", "WRN-16", "SR").config("full", 0).objective.lam == 0.002
    sew = Network("CIFAR-100", "SEW-ResNet34").config("full", 0)
    assert (sew.train.optimiser, sew.train.lr, sew.train.epochs, sew.train.batch_size) == ("adam", 1e-3, 100, 16)
    assert (sew.model.steps, sew.model.encoder.name, sew.model.options) == (10, "phase", {"pooling": "max"})
    assert radius(8, "full") == "8/255"
    assert set(STAND_IN) == {"CIFAR-10", "CIFAR-100", "CIFAR10-DVS"}


SHIPPED = {
    f"{data.lower().replace('-', '')}_{short}_{end}": Network(data, architecture, defence)
    for data, architecture, short in (
        ("CIFAR-10", "VGG-11", "vgg11"),
        ("CIFAR-10", "WRN-16", "wrn16"),
        ("CIFAR-100", "WRN-16", "wrn16"),
    )
    for defence, end in (("vanilla", "vanilla"), ("SR", "sr"), ("AT", "at"), ("SR*", "sr_at"), ("RAT", "rat"))
}
SHIPPED |= {
    "cifar10_sew18": Network("CIFAR-10", "SEW-ResNet18"),
    "cifar100_sew18": Network("CIFAR-100", "SEW-ResNet18"),
    "cifar10_spiking18": Network("CIFAR-10", "Spiking-ResNet18"),
    "cifar10_dvs_sew18": Network("CIFAR10-DVS", "SEW-ResNet18"),
}


def test_the_configs_of_the_package_are_those_of_the_recipes_at_full_scale():
    """With the squared penalty of the released code, which the published lambdas go with."""
    assert {name for name in shipped("configs") if not name.startswith("digit")} == set(SHIPPED)
    for name, network in SHIPPED.items():
        path = shipped("configs")[name]
        ours = parse_config(read_config(path), str(path))
        recipe = CHOICES["squared penalty"](network.config("full", 0), "full")
        data = replace(recipe.data, root=f"data/{ours.data.name}")
        assert replace(recipe, name=None, data=data) == replace(ours, name=None), name


@pytest.mark.parametrize("scale", SCALES)
def test_a_reading_is_another_network_in_another_folder_that_can_be_built(scale):
    for need in needs(scale):
        usual = need.network.config(scale, 1, Path("data"))
        assert need.network.read_as("ours").folder(scale, 1) == need.network.folder(scale, 1)
        folders = {need.network.read_as(reading).folder(scale, 1) for reading in READINGS}
        if need.network.choice or need.network.reading != "ours":  # it is there to compare readings
            assert len(folders) == 1
            continue
        assert len(folders) == len(READINGS)
        for reading in ("paper", "released"):
            config = need.network.read_as(reading).config(scale, 1, Path("data"))
            assert config.train.precision == "float32"
            assert config.title() == usual.title()
            check(config)


def test_cpu_scale_has_the_papers_data_and_radii_and_small_networks():
    made = Network("CIFAR-10", "VGG-11", "SR*").config("cpu", 0, Path("data"))
    assert (made.data.name, made.data.root, made.data.validation) == ("cifar10", "data/cifar-10", 26_000)
    assert made.objective.attack is not None
    assert (made.objective.attack.eps, made.objective.options) == ("2/255", {"h": 0.01})
    assert radius(8, "cpu") == "8/255"
    model = build_model(made.model, fake(made.data), 1)
    assert sum(weight.numel() for weight in model.parameters()) < 2.2e6
    for need in needs("cpu"):
        large, small = (need.network.config(scale, 1, Path("data")) for scale in ("full", "cpu"))  # type: ignore[arg-type]
        assert (small.data.name, small.objective.name) == (large.data.name, large.objective.name)
        assert small.train.epochs < large.train.epochs
    with pytest.raises(UserError, match="scale cpu needs --root"):
        reproduce(["p1-table2"], Path("nowhere"), scale="cpu")


def test_the_released_reading_is_what_the_papers_code_does():
    def released(*network, **more):
        return Network(*network, **more).read_as("released").config("full", 0)

    sr = released("CIFAR-10", "VGG-11", "SR")
    assert (sr.objective.lam, sr.objective.options["form"], sr.model.init) == (0.008, "reference-code", "released")
    digits = Network("CIFAR-10", "VGG-11", "SR").read_as("released").config("digits", 0)
    assert digits.objective.lam == pytest.approx(0.3 / 40)
    sew = released("CIFAR-10", "SEW-ResNet18", pooling="average")
    assert (sew.model.options["pooling"], sew.model.encoder.options["weighted"]) == ("average-with-padding", False)
    assert (sew.model.neuron.detach_reset, sew.train.weight_decay) == (True, 1e-3)
    assert not released("CIFAR-10", "Spiking-ResNet18").model.neuron.detach_reset
    assert released("CIFAR10-DVS", "SEW-ResNet18").train.flip


def test_the_choices_of_a_network_lead_from_ours_to_the_released_code_one_by_one():
    """Each changes the config of the network that is judged by it, no two the same part, and all of them are it."""
    for name, base in (("p1-choices", Network("CIFAR-10", "VGG-11", "SR")), ("p2-choices", SPIKING_RESNET)):
        networks = [need.network for need in RECIPES[name].needs("full")]
        assert networks[0] == base
        assert [n.reading for n in networks if not n.choice] == ["ours", "paper", "released"]
        alone = [n for n in networks if n.choice]
        usual, config = base.config("full", 1), base.read_as("paper").config("full", 1)
        for network in alone:
            assert network.config("full", 1) not in (usual, *(n.config("full", 1) for n in alone if n is not network))
            config = CHOICES[network.choice](config, "full")
        assert config == networks[-1].config("full", 1)


def test_an_unknown_reading_is_refused(tmp_path, capsys):
    assert main(["reproduce", "p1-table2", "--as", "read", "--out", str(tmp_path / "out")]) == 2
    assert "allowed are ours, paper, released" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("scale", SCALES)
def test_sweeps_use_the_networks_of_the_tables(scale):
    for data in ("CIFAR-10", "CIFAR-100"):
        networks = [network for _, network in sweep(data, scale)]  # type: ignore[arg-type]
        assert Network(data, "WRN-16") in networks  # type: ignore[arg-type]
        assert Network(data, "WRN-16", "SR") in networks  # type: ignore[arg-type]
        for lam, network in sweep(data, scale):  # type: ignore[arg-type]
            assert (network.config(scale, 0).objective.lam or 0.0) == lam  # type: ignore[arg-type]


def test_published_tables_are_as_wide_as_their_columns():
    for rows in published.SR_TABLE_1.values():
        assert all(len(row) == 1 + len(published.WHITE) + len(published.BLACK) for row in rows.values())
    for rows in published.SR_TABLE_2.values():
        assert all(len(row) == 1 + len(published.SR_TABLE_2_COLUMNS) for row in rows.values())
    # The two tables share networks, and the papers print the same figures for them.
    for data in ("CIFAR-10", "CIFAR-100"):
        for defence in ("AT", "SR*"):
            first, second = published.SR_TABLE_1[data, "WRN-16"][defence], published.SR_TABLE_2[data][defence]
            assert first[0] == second[0]
            assert first[4] == second[5]


def test_merged_keeps_each_network_once_with_all_that_is_needed():
    a, b = Network("CIFAR-10", "VGG-11"), Network("CIFAR-10", "VGG-11", "AT")
    one, two = Look("quick", 8), Look("paper-sr", 8, a)
    found = merged([Need(b, (one,), (measures.trail,)), Need(b, (two, one), (measures.cost, measures.trail))])
    assert found == [Need(b, (one, two), (measures.trail, measures.cost)), Need(a)]


SPIKING_RESNET = Network("CIFAR-10", "Spiking-ResNet18", pooling="average")
SEW, VGG = Network("CIFAR-10", "SEW-ResNet18"), Network("CIFAR-10", "VGG-11")


def trained(network: Network, folder: Path) -> Path:
    """A network of the recipes, trained for one epoch."""
    config = network.config("digits", 1)
    _train(replace(config, train=replace(config.train, epochs=1, batch_size=256)), folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(SEW, tmp_path_factory.mktemp("recipes") / "run")


@pytest.fixture(scope="module")
def measured(run, tmp_path_factory):
    """Every measure of trained networks on a few images; the cost of regimes is made up."""
    of_residual = (measures.trail, measures.pictures, measures.theorems, measures.moved_statistics)
    found = _look(Need(SEW, (), of_residual), SETTING, 1, run, {})
    small = trained(VGG, tmp_path_factory.mktemp("recipes") / "vgg")
    vulnerable = _look(Need(VGG, (), (measures.gradients, measures.vulnerability)), SETTING, 1, small, {})
    steps = {"vanilla": [1.0, 1.1], "AT": [4.4, 4.3], "RAT": [2.4, 2.3], "SR": [2.4, 2.5], "SR*": [6.0, 5.5]}
    assert {measure.__name__ for need in needs("digits") for measure in need.measures} == {
        *found.measures,
        *vulnerable.measures,
        "cost",
    }
    return found.measures | vulnerable.measures | {"cost": {"seconds_per_epoch": steps, "batch_size": 64}}


def results(measured, seeds: int):
    """Random outcomes for every network, with the columns that the suites really have."""
    made = {}
    rng = np.random.default_rng(0)
    for need in needs("digits"):
        seeds_of = []
        for _ in range(seeds):
            looks = {}
            for look in need.looks:
                sources = [] if look.source is None else [Source("source", torch.nn.Identity())]
                columns = [c for c, _ in suite(look.suite, sources)(fraction("8/255")).columns]
                looks[look.label] = {c: (rng.random(6) < 0.5).tolist() for c in (*columns, WORST)}
            seeds_of.append(Found((rng.random(20) < 0.9).tolist(), looks, measured))
        made[need.network] = seeds_of
    return made


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_exhibit_is_made_saved_and_shown(measured, tmp_path, seeds):
    found = results(measured, seeds)
    setting = replace(SETTING, seeds=tuple(range(1, seeds + 1)))
    exhibits = [recipe.exhibit(found, setting) for recipe in RECIPES.values()]
    for exhibit in exhibits:
        assert exhibit.blocks
        path = tmp_path / f"{exhibit.name}.json"
        exhibit.save(path)
        assert Exhibit.load(path).claims == exhibit.claims
        assert plain(Exhibit.load(path)) == plain(exhibit)
        assert any(isinstance(block, (Table, Chart, Pictures)) for block in exhibit.blocks)
        for table in (block for block in exhibit.blocks if isinstance(block, Table)):
            assert all(len(row.cells) == len(table.columns) for row in table.rows)
    # The figures and tables are the papers', each with its conclusions; pictures and points conclude nothing.
    assert {exhibit.name for exhibit in exhibits if not exhibit.claims} == {"p2-fig1", "p1-choices", "p2-choices"}
    page = tmp_path / "page.html"
    write_exhibits(exhibits, page)
    assert page.stat().st_size < 5_000_000


def test_what_was_measured_is_used_again_but_not_with_other_weights(run):
    need = Need(SEW, (Look("paper-trail", 8),), (measures.trail,))
    first = _look(need, SETTING, 1, run, {})
    kept = run / "recipes" / "trail-6.json"
    stamp = kept.stat().st_mtime_ns
    assert _look(need, SETTING, 1, run, {}) == first
    assert kept.stat().st_mtime_ns == stamp
    for name in ("made_with", "torch"):
        kept.write_text(kept.read_text().replace(f'"{name}": "', f'"{name}": "0'))
        changed = kept.stat().st_mtime_ns
        assert _look(need, SETTING, 1, run, {}) == first
        assert kept.stat().st_mtime_ns > changed
    assert len(first.looks["paper-trail 8"]["PGD7"]) == 6
    worst = np.array(first.looks["paper-trail 8"][WORST])
    each = [np.array(first.looks["paper-trail 8"][c]) for c in ("FGSM", "PGD7")]
    assert (worst == (each[0] & each[1])).all()


def test_wrong_requests_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=r"recipe=p1-table9: allowed are all, p1-appg"):
        reproduce(["p1-table9"], tmp_path)
    with pytest.raises(UserError, match=r"seeds=0"):
        reproduce(["p1-table1"], tmp_path, seeds=0)
    with pytest.raises(UserError, match=r"scale full needs --root"):
        reproduce(["p1-table1"], tmp_path, scale="full")
    assert not list(tmp_path.iterdir())


def test_the_cost_of_regimes_is_measured_for_each_of_them(monkeypatch):
    monkeypatch.setattr(measures, "_ROUNDS", 2)
    monkeypatch.setattr(measures, "_BATCHES", 1)
    config = VGG.config("digits", 1)
    data = build_data(config.data)
    model = build_model(config.model, data, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = measures.cost(Subject(model, data, data.test, VGG, "digits", 1, silent))
    assert set(found["seconds_per_epoch"]) == {"vanilla", "AT", "RAT", "SR", "SR*"}
    assert len({len(times) for times in found["seconds_per_epoch"].values()}) == 1
    assert all(time > 0 for times in found["seconds_per_epoch"].values() for time in times)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (found["images"], found["batch_size"]) == (len(data.train), config.train.batch_size)
