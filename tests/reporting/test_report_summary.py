from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.records.result import Accuracy, AttackResult, CheckResult, DrawnAccuracy, Result, Results, Right, Rounded
from robustsnn.reporting.reading import Model, Run, models_of, read_runs
from robustsnn.reporting.summary import claims, summary
from robustsnn.reporting.wording import eps_text


@st.composite
def rates(draw: st.DrawFn) -> Accuracy:
    low, accuracy, high = sorted(draw(st.integers(0, 20)) / 20 for _ in range(3))
    return Accuracy(accuracy, draw(st.sampled_from([(low, high)] * 9 + [None])), 20)


def model(name: str, rate: Accuracy, suite: str = "s", **more: Any) -> Model:
    columns = {"PGD": rate, "FGSM": rate}
    result = Result(rate, suite, "Linf", 8 / 255, "pixel", columns=columns, worst_case=rate, **more)
    run = Run(Path(name), {"provenance": {"commonest": 0.1}}, [], Results({}, {}), None)
    return Model(name, 0, run, result, True)


def words(models: list[Model]) -> str:
    return " ".join(sentence for _, sentences in summary(models) for sentence in sentences)


@given(st.lists(rates(), min_size=2, max_size=9))
def test_an_order_is_claimed_only_where_intervals_are_apart(measured: list[Accuracy]) -> None:
    named = {f"m{k}": rate for k, rate in enumerate(measured)}
    apart = {
        (a, b)
        for a, b in permutations(named, 2)
        if (one := named[a].interval) and (other := named[b].interval) and one[0] > other[1]
    }
    assert set(claims(named)) == apart
    for _, sentences in summary([model(name, rate) for name, rate in named.items()])[:2]:
        said = set()
        for above, below in re.findall(r"(m\d) is above ((?:m\d(?:, | and )?)+)", " ".join(sentences)):
            said |= {(above, name) for name in re.findall(r"m\d", below)}
        assert said == apart if len(named) <= 6 else said <= apart


@given(st.lists(rates(), min_size=1, max_size=4))
def test_no_word_of_order_besides_the_claims(measured: list[Accuracy]) -> None:
    text = words([model(f"m{k}", rate) for k, rate in enumerate(measured)])
    assert not re.search(r"\b(better|best|worse|worst|beats|higher|lower than|outperforms|more than)\b", text)
    assert "upper bound" in text


def test_different_threats_are_not_compared() -> None:
    high, low = Accuracy(0.9, (0.85, 0.95), 100), Accuracy(0.1, (0.05, 0.15), 100)
    text = words([model("m0", high, "weak"), model("m1", low, "strong")])
    assert text.count("m0 is above m1") == 1  # without an attack; under attack the suites differ
    assert "only figures of the same test are compared" in text


def test_a_test_in_another_space_is_another_test() -> None:
    high, low = model("m0", Accuracy(0.9, (0.85, 0.95), 100)), model("m1", Accuracy(0.1, (0.05, 0.15), 100))
    assert low.result is not None
    assert words([high, low]).count("m0 is above m1") == 2
    text = words([high, replace(low, result=replace(low.result, space="encoded"))])
    assert text.count("m0 is above m1") == 1
    abouts = [about for about, _ in summary([high, replace(low, result=replace(low.result, space="encoded"))])]
    assert "Under attack: Linf 8/255 in pixel space, suite s" in abouts
    assert "Under attack: Linf 8/255 in encoded space, suite s" in abouts


def test_a_test_on_grey_levels_is_another_test() -> None:
    high, low = model("m0", Accuracy(0.9, (0.85, 0.95), 100)), model("m1", Accuracy(0.1, (0.05, 0.15), 100))
    assert low.result is not None
    grid = replace(low, result=replace(low.result, levels=255))
    assert words([high, grid]).count("m0 is above m1") == 1
    abouts = [about for about, _ in summary([high, grid])]
    assert "Under attack: Linf 8/255 in pixel space, suite s" in abouts
    assert "Under attack: Linf 8/255 in pixel space on 8-bit grey levels, suite s" in abouts


def test_broken_images_that_rounding_mends_are_counted() -> None:
    rate = Accuracy(0.3, None, 30)
    text = words([model("m", rate, rounded=Rounded(4, 20))])
    assert "m: 4 of the 20 broken images are classified correctly again when they are rounded to 8 bits" in text
    assert "rounded" not in words([model("m", rate, rounded=Rounded(0, 20))]) + words([model("m", rate)])


def test_a_warning_is_said_and_a_note_is_not() -> None:
    mask, note = (CheckResult(f"{kind}-name", kind == "mask") for kind in ("mask", "note"))
    rate = Accuracy(0.5, None, 10)
    both, one = words([model("m", rate, flags=(mask, note))]), words([model("m", rate, flags=(note,))])
    assert "m: 1 warning (mask-name); its accuracy under attack may be overstated." in both
    assert "note-name" not in both
    assert "warning" not in one


def test_attacks_on_survivors_are_not_ranked_as_columns() -> None:
    fell = (("a", 5), ("b", 0), ("c", 7), ("d", 2), ("e", 1))
    attacks = {name: AttackResult(0.5, label=name, column="all", broken=broken) for name, broken in fell}
    text = words([model("m", Accuracy(0.5, None, 30), survivors_only=True, attacks=attacks)])
    assert "Of m, 15 images fell: 7 to c, 5 to a and 3 to 2 other attacks; 1 attack broke no image that stood." in text
    assert "strongest" not in text


def test_random_answers_are_said_with_their_spread() -> None:
    text = words([model("m", Accuracy(0.3, None, 30), draws=DrawnAccuracy(20, 0.31, 0.01, 0.29, 0.33))])
    assert "by majority vote; 20 single draws 31.0 % ± 1.0 (29.0 to 33.0)." in text


def test_summary_says_what_was_measured(runs: list[Path]) -> None:
    text = words(models_of(read_runs(runs)))
    assert "At Linf 32/255 in pixel space, after every attack of suite paper-sr-10, vanilla keeps 5.3 % of 360" in text
    assert "SR* is above vanilla and SR" in text
    assert "Not settled, because the intervals overlap: AT and SR*." in text
    assert "Against every model the strongest column is APGD10, the weakest BB FGSM." in text
    assert "SR: 1 warning (zero-gradient); its accuracy under attack may be overstated." in text


@pytest.mark.parametrize(
    ("eps", "said"),
    [
        (0, "0"),
        (8 / 255, "8/255"),
        (0.03137255087494850, "8/255"),
        (0.0314, "0.0314"),
        (0.5, "0.5"),
        (0.5 / 255, "0.5/255"),
        (20.5 / 255, "0.08039"),
        (1.0, "1"),
    ],
)
def test_eps_is_said_in_levels_where_it_is_some(eps: float, said: str) -> None:
    assert eps_text(eps) == said


def test_a_model_that_may_be_guessing_is_said_to_be() -> None:
    near = model("near", Accuracy(0.15, (0.057, 0.298), 40))
    far = model("far", Accuracy(0.5, (0.4, 0.6), 40))
    text = words([near, far])
    assert "near, even without an attack, cannot be told from guessing the commonest class (10.0 %)" in text
    assert "far, even" not in text


def of_images(*right: int, n: int = 60, images: str = "x") -> Accuracy:
    """The share of those images, with a wide interval."""
    hits = [k in right for k in range(n)]
    share = sum(hits) / n
    return Accuracy(share, (share / 2, min(1.0, share + 0.3)), n, right=Right.of(images, hits))


def test_of_the_same_images_pairs_decide_and_not_intervals() -> None:
    """Ten images to one, p = 0.012, where the intervals overlap; and eight to three, where nothing is settled."""
    low, high = of_images(*range(20)), of_images(*range(1, 30))
    text = words([model("a", low), model("b", high)])
    assert text.count("b is above a: the exact paired test of the same images has p = 0.012.") == 2
    close = of_images(*range(3, 28))
    assert "Image by image these figures do not settle an order" in words([model("a", low), model("b", close)])
    three = words([model("a", low), model("b", high), model("c", close)])
    assert "Not settled: " in three
    assert "because the intervals overlap" not in three


def test_other_images_are_compared_by_intervals() -> None:
    low, high = of_images(*range(20)), of_images(*range(1, 30), images="y")
    assert "intervals overlap" in words([model("a", low), model("b", high)])
