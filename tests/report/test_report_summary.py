from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.report.reading import Model, Run, models_of, read_runs
from robustsnn.report.results import Rate, Result, Results
from robustsnn.report.summary import claims, summary
from robustsnn.report.wording import eps_text


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    low, accuracy, high = sorted(draw(st.integers(0, 20)) / 20 for _ in range(3))
    return Rate(accuracy, draw(st.sampled_from([(low, high)] * 9 + [None])), 20)


def model(name: str, rate: Rate, suite: str = "s") -> Model:
    result = Result(rate, suite, "Linf", 8 / 255, {"PGD": rate, "FGSM": rate}, [], rate, [], [], None)
    run = Run(Path(name), {"data": {"name": "digits"}}, [], Results({}, {}), None)
    return Model(name, 0, run, result, True)


def words(models: list[Model]) -> str:
    return " ".join(sentence for _, sentences in summary(models) for sentence in sentences)


@given(st.lists(rates(), min_size=2, max_size=9))
def test_an_order_is_claimed_only_where_intervals_are_apart(measured: list[Rate]) -> None:
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
def test_no_word_of_order_besides_the_claims(measured: list[Rate]) -> None:
    text = words([model(f"m{k}", rate) for k, rate in enumerate(measured)])
    assert not re.search(r"\b(better|best|worse|worst|beats|higher|lower than|outperforms|more than)\b", text)
    assert "upper bound" in text


def test_different_threats_are_not_compared() -> None:
    high, low = Rate(0.9, (0.85, 0.95), 100), Rate(0.1, (0.05, 0.15), 100)
    text = words([model("m0", high, "weak"), model("m1", low, "strong")])
    assert text.count("m0 is above m1") == 1  # without an attack; under attack the suites differ
    assert "only figures of the same test are compared" in text


def test_summary_says_what_was_measured(runs: list[Path]) -> None:
    text = words(models_of(read_runs(runs)))
    assert "At eps = 32/255 (Linf), after every attack of the suite, vanilla keeps 5.3 % of 360 test images" in text
    assert "SR* is above vanilla and SR" in text
    assert "Not settled, because the intervals overlap: AT and SR*." in text
    assert "Against every model the strongest column is APGD10, the weakest RFGSM." in text
    assert "SR: 1 warning (zero-gradients)" in text


@pytest.mark.parametrize(
    ("eps", "said"),
    [
        (0, "0"),
        (8 / 255, "8/255"),
        (0.03137255087494850, "8/255"),
        (0.0314, "0.0314"),
        (0.5, "0.5"),
        (1.0, "1"),
    ],
)
def test_eps_is_said_in_levels_where_it_is_some(eps: float, said: str) -> None:
    assert eps_text(eps) == said
