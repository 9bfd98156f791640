"""What a field may be is what its annotation says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import pytest

from robustsnn.ground.annotations import fits, words
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Count, Radius, Seed, Share
from robustsnn.names.values import allowed, fitted

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
    "seed": (Seed, [0, (1 << 63) - 1], [-1, 1 << 63]),
    "range": (Share, [0.5, 1, 1.0], [0, -0.1, 1.1, NAN, "0.5", None]),
    "radius": (Radius, [0, 0.1, "8/255"], ["8/0", "x", -1, None, []]),
    "words": (Literal["a", "b"], ["a", "b"], ["c", "", None, 1, ["a"], {}]),
    "or": (int | None, [1, None], [1.5, "x", []]),
    "list": (Sequence[int], [[], (1, 2), [3]], [None, 3, "12", {1: 2}, [1, "x"]]),
    "pairs": (tuple[tuple[str, int], ...], [(), [("a", 1)]], ["ab", [("a",)], [("a", 1, 2)], [(1, "a")], 3]),
    "mapping": (Mapping[str, int], [{}, {"a": 1}], [None, [], {"a": "x"}, {1: 1}]),
    "function": (Callable[[int], int], [abs, Full, lambda x: x], [None, 1, "abs"]),
    "class": (Full, [Full()], [Full, Half(), None]),
    "protocol": (Named, [Full()], [Full, Half(), None, 1, "x"]),
}


@pytest.mark.parametrize(("kind", "good", "bad"), GOOD_AND_BAD.values(), ids=GOOD_AND_BAD)
def test_what_fits(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []
    assert 4 < len(words(kind)) < 90


SAID = {"float": [True, None, NAN, INFINITE, 1e38, [], {}], "range": [0, -0.1, 1.1, NAN, None]}
"""Of numbers that are no whole ones: what does not fit in YAML either, where a text may say one."""


@pytest.mark.parametrize(
    "name", ["int", "float", "text", "switch", "whole range", "seed", "range", "radius", "words", "or"]
)
def test_an_option_takes_what_a_field_takes(name: str) -> None:
    kind, good, bad = GOOD_AND_BAD[name]
    for value in good:
        if value != 1e-300:  # which only a field may be, not what is computed from a config
            assert fitted(value, kind) == value
    for value in SAID.get(name, bad):
        with pytest.raises(ValueError, match=re.escape(allowed(kind))):
            fitted(value, kind)


def test_a_text_may_say_a_number_in_yaml_and_a_number_is_of_a_size_that_float32_holds() -> None:
    assert (fitted("1e-3", float), fitted("1e-3", Share | None), fitted(1, Share)) == (0.001, 0.001, 1.0)
    assert fitted("1e-3", float | str) == 0.001
    assert (fitted("8/255", Radius), fitted("x", float | str), fitted(3, int | float)) == ("8/255", "x", 3)
    for value in (1e-300, "1e-300", "1e400", 10**400):
        with pytest.raises(ValueError, match="is not a number"):
            fitted(value, Share | None)
    assert allowed(Share | None, "1e-300") == "a number above 0 and at most 1, of a size from 1e-37 to 1e+37 or null"
    assert "of a size" not in allowed(Share | None, 2)


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
