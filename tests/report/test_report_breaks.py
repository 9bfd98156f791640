from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from robustsnn.reporting.breaks import FIRST, Breaks, read_breaks
from robustsnn.reporting.reading import Model, Run
from robustsnn.reporting.results import Result, Results
from robustsnn.reporting.upset import MOST, Picture, pictures_of_breaks

SETS = [f"attack {k}" for k in range(5)]
MEMBERS = st.frozensets(st.integers(0, 4), min_size=1)
GROUPS = st.dictionaries(MEMBERS, st.integers(1, 50))


def picture(breaks: Breaks) -> Picture:
    run = Run(Path("m"), {}, [], Results({}, {}), None)
    (drawn,) = pictures_of_breaks([Model("m", 0, run, Result(breaks=breaks), True)])
    return drawn


@given(GROUPS, st.integers(0, 30))
def test_every_image_is_drawn_or_counted_in_words(groups: dict[frozenset[int], int], standing: int) -> None:
    n = sum(groups.values()) + standing
    drawn = picture(Breaks("columns", SETS, n, groups))
    svg = unescape(str(drawn.svg))
    counts = [int(size) for size in re.findall(r"<title>(\d+) images? broken by (?:only )?attack", svg)]
    assert counts == sorted(groups.values(), reverse=True)[:MOST]
    assert f"{n - standing} of {n} image" in drawn.note
    left = sum(groups.values()) - sum(counts)
    rest = re.search(r"(\d+) other combinations?: (\d+) images?, not drawn", drawn.note)
    assert (rest is not None) == (left > 0)
    if rest is not None:
        assert (int(rest[1]), int(rest[2])) == (len(groups) - MOST, left)


@given(GROUPS)
def test_dots_are_the_members_and_bars_as_high_as_the_counts(groups: dict[frozenset[int], int]) -> None:
    svg = str(picture(Breaks("columns", SETS, 5000, groups)).svg)
    columns = re.findall(r'<g class="at"><title>\d+ images? broken by.*?</g>', svg)
    assert len(columns) == min(len(groups), MOST)
    rows = sorted({float(y) for y in re.findall(r'<circle class="dot" cx="[^"]*" cy="([^"]*)"', svg)})
    largest = max(groups.values(), default=1)
    for column in columns:
        lit = {rows.index(float(y)) for y in re.findall(r'<circle class="dot in" cx="[^"]*" cy="([^"]*)"', column)}
        (size,) = (int(number) for number in re.findall(r"<title>(\d+)", column))
        assert groups[frozenset(lit)] == size
        (height,) = (float(h) for h in re.findall(r'<rect class="bar".*? height="([^"]*)"', column))
        assert abs(height - max(1.5, 82 * size / largest)) <= 0.06


@given(st.dictionaries(st.integers(0, 39), st.integers(1, 50), min_size=1))
@example(dict.fromkeys(range(40), 1))
def test_first_broken_by_is_drawn_as_bars_in_the_order_of_execution(fell: dict[int, int]) -> None:
    sets = [f"a{k}." for k in range(40)]
    n = sum(fell.values()) + 3
    drawn = picture(Breaks(FIRST, sets, n, {frozenset([k]): size for k, size in fell.items()}))
    svg = str(drawn.svg)
    assert 'class="dot' not in svg
    said = re.findall(r"<title>a(\d+)\. broke (\d+) of \d+ images first</title>", svg)
    order = [int(k) for k, _ in said]
    assert order == sorted(order)
    assert all(fell[int(k)] == int(size) for k, size in said)
    assert sorted(int(size) for _, size in said) == sorted(fell.values())[-MOST:]
    idle = 40 - len(fell)
    assert (f"{idle} of 40 attacks broke none" in drawn.note) == (idle > 0)
    assert ("broke none" in drawn.note) == (idle > 0)


@given(GROUPS)
def test_sizes_count_the_images_of_every_group_that_a_set_is_in(groups: dict[frozenset[int], int]) -> None:
    images = [members for members, count in groups.items() for _ in range(count)]
    breaks = Breaks("columns", SETS, len(images), groups)
    assert breaks.sizes() == [sum(k in members for members in images) for k in range(5)]
    assert breaks.broken() == len(images)


def test_nothing_broken_is_said_and_not_drawn() -> None:
    entry = {"what": "columns", "sets": ["FGSM"], "n": 4, "groups": [{"members": [], "count": 4}]}
    breaks = read_breaks(entry, "here")
    assert breaks is not None
    drawn = picture(breaks)
    assert drawn.svg == ""
    assert drawn.note == "Columns: 0 of 4 images broken."
