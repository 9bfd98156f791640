from __future__ import annotations

import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from robustsnn.records.exhibit import Bars
from robustsnn.records.result import FIRST, Breaks, Group, Result, Results
from robustsnn.reporting.reading import Model, Run
from robustsnn.reporting.results import MOST, breaks

SETS = [f"attack {k}" for k in range(5)]
MEMBERS = st.frozensets(st.integers(0, 4), min_size=1)
GROUPS = st.dictionaries(MEMBERS, st.integers(1, 50))


def breaking(what: str, sets: list[str], n: int, groups: dict[frozenset[int], int]) -> Breaks:
    return Breaks(what, tuple(sets), n, tuple(Group(tuple(sorted(each)), size) for each, size in groups.items()))


def picture(found: Breaks) -> Bars:
    run = Run(Path("m"), {}, [], Results(), None)
    (drawn,) = breaks([Model("m", 0, run, Result(breaks=found), True)])
    assert isinstance(drawn, Bars)
    return drawn


@given(GROUPS, st.integers(0, 30))
def test_every_image_is_drawn_or_counted_in_words(groups: dict[frozenset[int], int], standing: int) -> None:
    n = sum(groups.values()) + standing
    drawn = picture(breaking("columns", SETS, n, groups))
    counts = [int(re.match(r"(\d+) images? broken by (?:only )?attack", row.tip)[1]) for row in drawn.rows]  # type: ignore[index]
    assert counts == sorted(groups.values(), reverse=True)[:MOST]
    assert f"{n - standing} of {n} image" in drawn.caption
    left = sum(groups.values()) - sum(counts)
    rest = re.search(r"(\d+) other combinations?: (\d+) images?, not drawn", drawn.caption)
    assert (rest is not None) == (left > 0)
    if rest is not None:
        assert (int(rest[1]), int(rest[2])) == (len(groups) - MOST, left)


@given(GROUPS)
def test_dots_are_the_members_and_bars_as_long_as_the_counts(groups: dict[frozenset[int], int]) -> None:
    drawn = picture(breaking("columns", SETS, 5000, groups))
    assert len(drawn.rows) == min(len(groups), MOST)
    for row in drawn.rows:
        assert row.parts == (groups[frozenset(row.members)],)
    if len(groups) > 1:
        sizes = [int(name.rpartition(": ")[2]) for name in drawn.sets]
        assert sizes == [sum(size for members, size in groups.items() if k in members) for k in range(5)]


@given(st.dictionaries(st.integers(0, 39), st.integers(1, 50), min_size=1))
@example(dict.fromkeys(range(40), 1))
def test_first_broken_by_is_drawn_as_bars_in_the_order_of_execution(fell: dict[int, int]) -> None:
    sets = [f"a{k}." for k in range(40)]
    n = sum(fell.values()) + 3
    drawn = picture(breaking(FIRST, sets, n, {frozenset([k]): size for k, size in fell.items()}))
    assert drawn.sets == ()
    said = [re.fullmatch(r"a(\d+)\. broke (\d+) of \d+ images first", row.tip).groups() for row in drawn.rows]  # type: ignore[union-attr]
    order = [int(k) for k, _ in said]
    assert order == sorted(order)
    assert all(fell[int(k)] == int(size) for k, size in said)
    assert sorted(int(size) for _, size in said) == sorted(fell.values())[-MOST:]
    idle = 40 - len(fell)
    assert (f"{idle} of 40 attacks broke none" in drawn.caption) == (idle > 0)
    assert ("broke none" in drawn.caption) == (idle > 0)


@given(GROUPS)
def test_sizes_count_the_images_of_every_group_that_a_set_is_in(groups: dict[frozenset[int], int]) -> None:
    images = [members for members, count in groups.items() for _ in range(count)]
    found = breaking("columns", SETS, len(images), groups)
    assert found.sizes() == [sum(k in members for members in images) for k in range(5)]
    assert sum(group.count for group in found.largest()) == len(images)


def test_nothing_broken_is_said_and_not_drawn() -> None:
    drawn = picture(breaking("columns", ["FGSM"], 4, {frozenset(): 4}))
    assert drawn.rows == ()
    assert drawn.caption.startswith("Columns: 0 of 4 images broken.")
