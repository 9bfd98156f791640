"""The planted mistakes: each is one, can be compiled, and those that matter are among them."""

import ast
from pathlib import Path

import pytest

import robustsnn
from helpers import benchmark

SOURCE = '''
def f(judged, x: int = 3) -> float:
    """Words stay."""
    if x > 1 and judged.any():
        judged.clamp(0).sort()
        raise ValueError(f"{x + 1}")
    total = 0.5
    total += x
    broken = ~(judged < 0)
    return -total if not broken else judged.max()
'''


def made(source=SOURCE):
    with benchmark("mutations") as mutations:
        return mutations.mutants(source)


def test_what_matters_is_planted():
    found = {(m.was, m.now) for m in made()}
    assert {("~(judged < 0)", "judged >= 0"), ("judged < 0", "judged > 0"), ("judged < 0", "judged <= 0")} <= found
    assert {("x > 1 and judged.any()", "x > 1 or judged.any()"), ("judged.any", "judged.all")} <= found
    assert {("total += x", "total -= x"), ("total += x", "pass"), ("0.5", "1.0"), ("3", "4")} <= found
    assert {("judged.clamp(0)", "judged"), ("judged.clamp(0).sort()", "pass"), ("-total", "total")} <= found
    assert not any("Words" in was or was == "x + 1" for was, _ in found)


def test_a_mutant_has_one_mistake_and_the_source_none():
    plain = ast.unparse(ast.parse(SOURCE))
    for mutant in made():
        assert mutant.source != plain
        compile(mutant.source, "mutant", "exec")
        before, after = plain.splitlines(), mutant.source.splitlines()
        if len(before) == len(after):
            assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
        assert mutant.was.split("(")[0] in " ".join(SOURCE.splitlines()[line - 1] for line in mutant.lines)


@pytest.mark.parametrize("name", ["evaluation/running.py", "attacks/step.py", "neurons/adaptive.py"])
def test_real_modules_have_many(name):
    found = made((Path(robustsnn.__file__).parent / name).read_text())
    assert len(found) > 100
    assert len({m.source for m in found}) > 0.95 * len(found)
