"""Units, files, seeds and progress."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.ground import progress
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_atomic, write_json
from robustsnn.ground.progress import Display, displayed, part, silent
from robustsnn.ground.seeds import derived, generator
from robustsnn.ground.units import fraction, show_fraction

few = settings(deadline=None, max_examples=100)

# Units


@few
@given(whole=st.integers(-1000, 1000))
def test_multiples_of_a_255th_are_shown_as_such_and_read_back_exactly(whole):
    shown = show_fraction(whole / 255)
    assert shown == (f"{whole}/255" if whole % 255 else f"{whole // 255}")  # counts of flips are integers
    assert fraction(shown) == whole / 255


@few
@given(value=st.floats(-1e6, 1e6))
def test_any_number_survives_being_shown_to_six_digits(value):
    assert fraction(show_fraction(value)) == pytest.approx(value, rel=1e-5, abs=1e-6)
    assert fraction(repr(value)) == fraction(value) == value


@few
@given(above=st.integers(-999, 999), below=st.integers(1, 999))
def test_any_fraction_is_read(above, below):
    for text in (f"{above}/{below}", f" {above} / {below} "):
        assert fraction(text) == above / below


@few
@given(whole=st.integers(1, 255), off=st.floats(2e-6, 1e-4), sign=st.sampled_from([-1, 1]))
def test_numbers_near_a_255th_are_not_called_one(whole, off, sign):
    assert "/" not in show_fraction(whole / 255 + sign * off)


@pytest.mark.parametrize("text", ["", " ", "eight", "8/0", "/255", "8/255/2", "8//255", "0x8", "1,5", "8/x", "8:255"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(UserError, match="not a number"):
        fraction(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "inf", "-inf", "1e999", "1/nan", "inf/2"])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(UserError, match="not a number"):
        fraction(value)


@pytest.mark.parametrize("value", [None, [1], {}, object()])
def test_other_types_are_refused(value):
    with pytest.raises(UserError, match="not a number"):
        fraction(value)


# Files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folder_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_atomic(path, "Grüße\n")
    assert path.read_bytes() == "Grüße\n".encode()
    write_atomic(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failing_write_leaves_everything_as_it_was(tmp_path, monkeypatch, error, call, existing):
    path = tmp_path / "file.txt"
    if existing:
        path.write_text("old")
    before = names(tmp_path)
    seen: list[list[str]] = []

    def fail(*arguments: object) -> None:
        seen.append(names(tmp_path))
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)) as caught:
        write_atomic(path, "new" * 1000)
    assert caught.value is error
    # The failure came while a temporary file was there, beside the untouched old one.
    assert len(seen) == 1
    assert len(seen[0]) == len(before) + 1
    assert names(tmp_path) == before
    assert not existing or path.read_text() == "old"


def test_the_content_is_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        folder = stat.S_ISDIR(found.st_mode)
        assert folder or found.st_size == 3
        calls.append("fsync of the folder" if folder else "fsync")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        assert source.read_text() == "new"
        assert source.parent == target.parent
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    write_atomic(tmp_path / "file", "new")
    assert calls == ["fsync", "replace", "fsync of the folder"]


def test_json_is_plain_and_round_trips(tmp_path):
    value = {"a": [1, 2.5, None, True], "ü": {"b": "c"}}
    write_json(tmp_path / "v.json", value)
    text = (tmp_path / "v.json").read_text()
    assert json.loads(text) == value
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_not_json(tmp_path, number):
    write_json(tmp_path / "v.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "v.json", {"loss": [0.5, number]})
    assert names(tmp_path) == ["v.json"]
    assert json.loads((tmp_path / "v.json").read_text()) == 1


# Seeds


def test_derived_seeds_are_stable():
    """Pinned: a change would silently change every run."""
    assert derived(0, 1) == 6403782323461907794
    assert derived(123, "train", 5) == 5736556376671660626


def test_derived_seeds_differ_by_seed_by_number_and_by_order():
    paths = [
        (s, *p)
        for s in range(4)
        for p in [(), (0,), (0, 0), (2**32,), ("1",), (1,), (2,), (1, 1), (1, 2), (2, 1), (1, 1, 1), (300, 7)]
    ]
    seeds = [derived(*path) for path in paths]
    assert len(set(seeds)) == len(paths)
    assert all(0 <= seed < 2**63 for seed in seeds)


@few
@given(seed=st.integers(0, 2**32 - 1), path=st.lists(st.integers(1, 2**32 - 1), max_size=3))
def test_a_generator_is_fresh_and_follows_the_derived_seed(seed, path):
    first, second = generator(seed, *path), generator(seed, *path)
    assert first is not second
    assert first.initial_seed() == derived(seed, *path)
    assert first.device.type == "cpu"
    drawn = torch.rand(3, generator=first)
    assert torch.equal(drawn, torch.rand(3, generator=second))
    assert not torch.equal(drawn, torch.rand(3, generator=generator(seed, *path, 1)))


def test_a_generator_leaves_the_global_one_alone():
    before = torch.random.get_rng_state()
    torch.rand(3, generator=generator(1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)


# Progress


@few
@given(stages=st.lists(st.tuples(st.integers(0, 5), st.floats(0.1, 10)), min_size=1, max_size=5))
def test_parts_fill_the_whole_monotonically(stages):
    told: list[tuple[int, int, str]] = []
    weights = [weight for _, weight in stages]
    for i, (total, weight) in enumerate(stages):
        tell = part(lambda *told_now: told.append(told_now), sum(weights[:i]), weight, sum(weights))
        start = len(told)
        for done in range(total + 1):
            tell(done, total, f"step {done}")
        assert told[start][0] == round(10_000 * sum(weights[:i]) / sum(weights))
        if total:
            assert told[-1][0] == round(10_000 * sum(weights[: i + 1]) / sum(weights))
        assert told[-1][2] == f"step {total}"
    done = [entry[0] for entry in told]
    assert done == sorted(done)
    assert {entry[1] for entry in told} == {10_000}
    if stages[-1][0]:
        assert done[-1] == 10_000


def test_parts_nest():
    told: list[int] = []
    half = part(lambda done, total, text: told.append(done), 1, 1, 2)
    quarter = part(half, 1, 1, 2)
    for done in range(3):
        quarter(done, 2, "")
    assert told == [7500, 8750, 10000]


class Clock:
    """Time that passes when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_away_from_a_terminal_lines_tell_percentages(clock, capsys):
    with Display(every=5) as tell:
        for done in range(11):
            tell(done, 10, f"unit {done}")
            clock.now += 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    # At 0, then no more often than every five seconds (units take two), and at the end.
    assert [line.split("%")[0].strip() for line in lines] == ["0.0", "30.0", "60.0", "90.0", "100.0"]
    assert [line.split()[-1] for line in lines] == ["0", "3", "6", "9", "10"]
    assert "estimating" in lines[0]
    # Two seconds for a unit: 7, 4, 1 and 0 units left.
    assert [line.split("left")[0].split()[-1] for line in lines[1:]] == ["0:14", "0:08", "0:02", "0:00"]


def test_work_done_before_does_not_count_for_the_time_left(clock, capsys):
    """A resumed run starts at 80 %: what is left takes as long per unit as what this process did."""
    clock.now += 60  # time to load
    tell = Display(every=0)
    clock.now += 60
    tell(80, 100, "resumed")
    clock.now += 30
    tell(81, 100, "on")
    first, second = capsys.readouterr().err.splitlines()
    assert "estimating" in first
    assert "9:30 left" in second  # 19 units of 30 seconds


def test_hours_are_shown_as_hours(clock, capsys):
    tell = Display(every=0)
    tell(0, 100, "")
    clock.now += 60
    tell(1, 100, "")
    assert "1:39:00 left" in capsys.readouterr().err


def test_nothing_to_do_is_no_division_by_zero(clock, capsys):
    Display()(0, 0, "empty")
    assert "empty" in capsys.readouterr().err


def test_on_a_terminal_a_bar_is_drawn(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Display() as tell:
        assert tell.bar is not None
        tell(1, 4, "training [epoch 1]")
        tell.bar.refresh()
        drawn = terminal.getvalue()
    assert "25 %" in drawn
    assert "training [epoch 1]" in drawn  # not taken for markup


class Broken(io.StringIO):
    """A stream that nothing can be written to: a closed pipe, a full disk."""

    def __init__(self, number, terminal):
        super().__init__()
        self.number, self.terminal = number, terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        raise OSError(self.number, "no")

    flush = fileno = lambda self: self.write("")


def ended():
    made = io.StringIO()
    made.close()
    return made


@pytest.mark.parametrize(
    "stream",
    [lambda: None, ended, *(lambda n=n, t=t: Broken(n, t) for n in (errno.EPIPE, errno.ENOSPC) for t in (False, True))],
    ids=["none", "closed", "pipe", "pipe of a terminal", "full disk", "full disk of a terminal"],
)
def test_work_goes_on_where_progress_cannot_be_shown(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    with Display(every=0) as tell:
        tell.say("a line")
        for done in range(3):
            tell(done, 2, "working")


def test_silence(capsys):
    silent(1, 2, "nobody hears")
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_where_somebody_watches_and_a_given_one_goes_first(monkeypatch, capsys):
    with displayed(None) as tell:
        assert tell is silent
    with displayed(print) as tell:
        assert tell is print
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # a notebook
    with displayed(None) as tell:
        tell(1, 1, "work")
    assert "100.0 %" in capsys.readouterr().err
    with displayed(silent) as tell:
        assert tell is silent
