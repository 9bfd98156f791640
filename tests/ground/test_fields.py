"""What a field may be is what its annotation says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import pytest

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields, fits, words
from robustsnn.ground.ranges import Count, Radius, Share

NAN, INFINITE = float("nan"), float("inf")


class Named(Protocol):
    name: ClassVar[str]

    def call(self) -> None: ...


class Full:
    name = "full"

    def call(self) -> None: ...


class Half:
    name = "half"


GOOD_AND_BAD = {
    "int": (int, [0, -3, (1 << 63) - 1], [True, 1.0, "1", None, 1 << 63]),
    "float": (float, [0, 1, -0.5, 1e-300], [True, "1", None, NAN, INFINITE, 1e38, 1 << 70, [], {}]),
    "text": (str, ["", "x"], [None, b"x", 1]),
    "switch": (bool, [True, False], [0, 1, None, "true"]),
    "whole range": (Count, [1, 7], [0, -1, 1.0, True, "1", 1 << 40]),
    "range": (Share, [0.5, 1, 1.0], [0, -0.1, 1.1, NAN, "0.5", None]),
    "radius": (Radius, [0, 0.1, "8/255"], ["8/0", "x", -1, None, []]),
    "words": (Literal["a", "b"], ["a", "b"], ["c", "", None, 1, ["a"], {}]),
    "or": (int | None, [1, None], [1.5, "x", []]),
    "list": (Sequence[int], [[], (1, 2), [3]], [None, 3, "12", {1: 2}, [1, "x"]]),
    "pairs": (tuple[tuple[str, int], ...], [(), [("a", 1)]], ["ab", [("a",)], [("a", 1, 2)], [(1, "a")], 3]),
    "function": (Callable[[int], int], [abs, Full, lambda x: x], [None, 1, "abs"]),
    "class": (Full, [Full()], [Full, Half(), None]),
    "protocol": (Named, [Full()], [Full, Half(), None, 1, "x"]),
}


@pytest.mark.parametrize(("kind", "good", "bad"), GOOD_AND_BAD.values(), ids=GOOD_AND_BAD)
def test_what_fits(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []
    assert 4 < len(words(kind)) < 90


@dataclass(frozen=True)
class Made:
    share: Share
    form: Literal["a", "b"] = "a"
    of: Full | None = None
    anything: Any = None
    quiet: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class More(Made):
    count: Count = 1


def test_a_dataclass_says_what_it_was_given_and_what_is_allowed() -> None:
    assert More(0.5, "b", Full(), object(), 3).count == 3
    for given, said in (
        ({"share": 2}, r"^More\(share=2\): allowed is a number above 0 and at most 1$"),
        ({"form": "c"}, r"^More\(form='c'\): allowed is 'a' or 'b'$"),
        ({"of": Half}, r"^More\(of=.*Half.*\): allowed is a Full of \w+ or None$"),
        ({"count": True}, r"^More\(count=True\): allowed is a whole number from 1 to"),
    ):
        with pytest.raises(UserError, match=said):
            More(**{"share": 0.5, **given})
