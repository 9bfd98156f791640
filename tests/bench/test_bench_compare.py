"""Two planted measurements beside each other."""

import json

import pytest

from robustsnn.bench.compare import alone, compare, differences, read
from robustsnn.cli import main
from robustsnn.ground.errors import UserError


def around(value, width=0.1):
    return {"min": value * (1 - width), "median": value, "max": value * (1 + width)}


def document(**parts):
    machine = {"cpu": "a", "cores": 2, "threads": 1, "clock": "processor", "device": "cpu", "load_before": 0.5}
    return {"command": "robustsnn bench", "torch": "2.13.0", "machine": machine, "results": parts}


OLD = document(
    step={"vgg": {"forward_ms": around(10), "regimes": {"SR": {"ms": around(100), "units": 7, "peak_mib": 500.0}}}},
    attack={"vgg": {"gradient_images_per_s": around(50), "share_of_data": around(0.5)}},
    growth={"T": {"ms_at": {"T=4": around(8)}}},
    data={"gone": {"data_ms": around(1)}},
)
NEW = document(
    step={"vgg": {"forward_ms": around(11), "regimes": {"SR": {"ms": around(50), "units": 7, "peak_mib": 250.0}}}},
    attack={"vgg": {"gradient_images_per_s": around(20), "share_of_data": around(0.25)}},
    growth={"T": {"ms_at": {"T=4": around(16)}}},
    neuron={"new": {"ms": around(1)}},
)


def rows(old, new):
    return {row.name: (row.ratio, row.verdict) for row in compare(old, new)}


def test_every_figure_of_both_has_a_ratio_and_a_verdict_where_the_ranges_part():
    assert rows(OLD, NEW) == {
        "step / vgg / forward_ms": (pytest.approx(1.1), ""),  # 9 to 11 and 9.9 to 12.1 overlap
        "step / vgg / regimes / SR / ms": (0.5, "faster"),
        "step / vgg / regimes / SR / peak_mib": (0.5, ""),  # one number has no range to judge by
        "attack / vgg / gradient_images_per_s": (0.4, "slower"),  # of a rate less is slower
        "attack / vgg / share_of_data": (0.5, "lower"),  # a share is neither
        "growth / T / ms_at / T=4": (2.0, "slower"),
    }
    assert alone(OLD, NEW) == (1, 1)


def test_the_other_way_round_every_verdict_turns():
    opposite = {"faster": "slower", "slower": "faster", "lower": "higher", "higher": "lower", "": ""}
    there, back = rows(OLD, NEW), rows(NEW, OLD)
    assert there.keys() == back.keys()
    for name, (ratio, verdict) in there.items():
        assert back[name] == (pytest.approx(1 / ratio), opposite[verdict])


def test_a_measurement_beside_itself_has_ratios_of_one_and_no_verdict():
    assert set(rows(OLD, OLD).values()) == {(1.0, "")}
    assert differences(OLD, OLD) == ""


@pytest.mark.parametrize(("old", "new", "verdict"), [(1.0, 1.2, ""), (1.0, 1.3, "slower"), (1.3, 1.0, "faster")])
def test_ranges_that_touch_overlap(old, new, verdict):
    (row,) = compare(*(document(p={"c": {"ms": around(v)}}) for v in (old, new)))
    assert row.verdict == verdict


def test_what_differs_in_the_machine_is_said_in_one_line():
    other = {**NEW, "torch": "2.14.0", "machine": {**NEW["machine"], "threads": 2, "clock": "wall", "load_before": 3}}
    assert differences(OLD, other) == "threads: 1 -> 2; clock: processor -> wall; torch: 2.13.0 -> 2.14.0"


def test_the_command_prints_what_differs_the_rows_and_what_only_one_has(tmp_path, capsys):
    other = {**NEW, "torch": "2.14.0"}
    for name, content in (("old.json", OLD), ("new.json", other)):
        (tmp_path / name).write_text(json.dumps(content))
    assert main(["bench", "--compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")]) == 0
    out = capsys.readouterr().out
    assert "torch: 2.13.0 -> 2.14.0" in out
    line = next(line for line in out.splitlines() if "SR / ms" in line)
    assert "0.5" in line
    assert "faster" in line
    assert "6 figures in both, 1 only in the old file, 1 only in the new one" in out


@pytest.mark.parametrize("content", ["{", "[]", '{"results": {}}', '{"results": [], "machine": {}}'])
def test_a_file_that_is_no_measurement_is_refused(tmp_path, content):
    (tmp_path / "some.json").write_text(content)
    with pytest.raises(UserError, match=r"some\.json"):
        read(tmp_path / "some.json")


@pytest.mark.parametrize("figure", [{"min": 1, "median": {}, "max": 2}, {"min": 1, "median": None, "max": 2}, 10**400])
def test_figures_that_are_none_are_refused_by_name(tmp_path, figure):
    (tmp_path / "new.json").write_text(json.dumps(document(step={"vgg": {"forward_ms": figure}})))
    with pytest.raises(UserError, match=r"new.json: step / vgg / forward_ms=.*allowed is a number"):
        read(tmp_path / "new.json")
