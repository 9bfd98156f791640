"""The summary in words. It orders two models only where that is settled.

Of the same images, known one by one, an exact paired test decides (McNemar, p < 0.05); of others, or where a file does
not say which images stand, 95 % intervals that do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

from robustsnn.records.result import Accuracy, Result
from robustsnn.reporting.reading import Model
from robustsnn.reporting.strength import by_attack
from robustsnn.reporting.wording import (
    accuracy_text,
    count,
    draws_text,
    eps_text,
    listing,
    percent,
    rate_text,
    test_text,
    threat_text,
)

Key = TypeVar("Key")
LEVEL = 0.05
_FEW = 6  # of more models only the highest is compared in words
_BOUND = (
    "An accuracy under attack is an upper bound on the true robust accuracy: a stronger attack can only "
    "lower it. Intervals are 95 % (Clopper-Pearson) for the sampling of the test images; they say nothing "
    "about another training seed."
)
_AT_MOST = (
    "Where a figure is given as at most, the attacks were still breaking images when they ended. More effort would "
    "lower it, and may change an order that it is part of."
)


def summary(models: Sequence[Model]) -> list[tuple[str, list[str]]]:
    """Parts as (what it is about, paragraphs), from the figures of `models` alone."""
    evaluated = [(model, model.result) for model in models if model.result is not None]
    parts: list[tuple[str, list[str]]] = []
    by_data = _groups(evaluated, lambda model, _: data_name(model))
    for data, group in by_data.items():
        rates = {model.name: result.clean for model, result in group if result.clean is not None}
        if rates:
            where = f" ({data})" if len(by_data) > 1 else ""
            parts.append(("Without attack", _rates(rates, f"Without an attack{where}", "gets", "right")))
    by_threat = _groups(evaluated, threat)
    alone = len(by_threat) == 1
    for group in by_threat.values():
        figures, strong = _under_attack(group, alone, len(by_data) > 1), by_attack(group, everyone=alone)
        split = [("Under attack", figures), ("By attack", strong)]
        if not alone:
            split = [(f"Under attack: {test_text(group[0][1])}", figures + strong)]
        parts += [(about, sentences) for about, sentences in split if sentences]
    if any(result.worst_case or result.columns for _, result in evaluated):
        falling = any(result.worst_case and result.worst_case.at_most for _, result in evaluated)
        parts.append(("How to read this", [_BOUND, _AT_MOST] if falling else [_BOUND]))
    cautions = _cautions(models, len(by_threat), len(by_data))
    return [*parts, ("Caution", cautions)] if cautions else parts


def claims(rates: Mapping[str, Accuracy]) -> list[tuple[str, str]]:
    """Every pair (higher, lower) whose order is settled."""
    return [
        (a, b)
        for a in sorted(rates, key=lambda name: -rates[name].accuracy)
        for b in rates
        if apart(rates[a], rates[b]) and rates[a].accuracy > rates[b].accuracy
    ]


def apart(one: Accuracy, other: Accuracy) -> bool:
    """Whether the order of two shares is settled: by the test of their pairs, else by intervals that share no point."""
    if (p := paired(one, other)) is not None:
        return p < LEVEL
    if one.interval is None or other.interval is None:
        return False
    return one.interval[0] > other.interval[1] or other.interval[0] > one.interval[1]


def paired(one: Accuracy, other: Accuracy) -> float | None:
    """p-value of the exact paired test; None where it is not known image by image, or the images are others."""
    return None if one.right is None or other.right is None else one.right.against(other.right)


def threat(model: Model, result: Result) -> tuple[str, ...]:
    """What two accuracies under attack must have in common to be compared: images, threat, suite, crafting."""
    eps = "" if result.eps is None else eps_text(result.eps)
    images = "" if result.worst_case is None else str(result.worst_case.n)
    return (
        data_name(model),
        str(model.run.setting("data", "seed")),
        images,
        result.norm,
        eps,
        result.space,
        str(result.levels),
        result.suite,
        result.precision.crafting or "float32",  # which was the only one when it was not saved yet
    )


def data_name(model: Model) -> str:
    """The name of the data set the model's run was configured with."""
    return str(model.run.setting("data", "name") or "unnamed data")


def _groups(
    evaluated: Sequence[tuple[Model, Result]], key: Callable[[Model, Result], Key]
) -> dict[Key, list[tuple[Model, Result]]]:
    groups: dict[Key, list[tuple[Model, Result]]] = {}
    for model, result in evaluated:
        groups.setdefault(key(model, result), []).append((model, result))
    return groups


def _rates(rates: Mapping[str, Accuracy], start: str, verb: str, adverb: str) -> list[str]:
    numbers = {rate.n for rate in rates.values() if rate.n is not None}
    images = f"{numbers.pop()} test images" if len(numbers) == 1 else "its test images"
    ending = f" {adverb}" if adverb else ""
    if len(rates) > _FEW:
        shares = sorted(rate.accuracy for rate in rates.values())
        span = f"between {percent(shares[0])} and {percent(shares[-1])}"
        return [f"{start} each of {len(rates)} models {verb} {span} of {images}{ending}.", _order(rates)]
    parts = []
    for position, (name, rate) in enumerate(rates.items()):
        of = f" of {images}" if position == 0 else ""
        word = f" {verb}" if position == 0 else ""
        parts.append(f"{name}{word} {accuracy_text(rate)}{of}{ending if position == 0 else ''} {_range(rate)}")
    figures = f"{start} {'; '.join(part.rstrip() for part in parts)}."
    return [text for text in (figures, _order(rates)) if text]


def _range(rate: Accuracy) -> str:
    return rate_text(rate).removeprefix(accuracy_text(rate)).strip()


def _order(rates: Mapping[str, Accuracy]) -> str:
    rates = {name: rate for name, rate in rates.items() if rate.interval is not None}
    if len(rates) < 2:
        return ""
    ordered = claims(rates)
    tests = {frozenset(pair): paired(*(rates[name] for name in pair)) for pair in combinations(rates, 2)}
    if not ordered:
        if known := [p for p in tests.values() if p is not None]:
            return f"Image by image these figures do not settle an order (exact paired tests, p from {min(known):.2g})."
        which = "The two intervals" if len(rates) == 2 else "Every two of these intervals"
        return f"{which} overlap: these figures do not settle an order."
    subjects = list(rates) if len(rates) <= _FEW else [max(rates, key=lambda name: rates[name].accuracy)]
    above: dict[str, list[str]] = {}
    for a, b in ordered:
        above.setdefault(a, []).append(b)
    unsettled: dict[str, list[str]] = {}
    for a, b in combinations(sorted(rates, key=lambda name: name not in subjects), 2):
        if not apart(rates[a], rates[b]):
            unsettled.setdefault(a, []).append(b)
    clauses = [f"{a} is above {listing(others)}" for a, others in above.items() if a in subjects]
    pairs = [f"{a} and {listing(others)}" for a, others in unsettled.items() if a in subjects]
    said = [p for a, b in ordered if a in subjects and (p := tests[frozenset((a, b))]) is not None]
    why = f"{'the' if len(ordered) == 1 else 'these'} intervals do not overlap"
    if said:
        which = "the exact paired test of the same images has p =" if len(said) == 1 else "exact paired tests have p <="
        why = f"{which} {max(said):.2g}"
    text = [f"{'; '.join(clauses)}: {why}."] if clauses else []
    because = "" if any(p is not None for p in tests.values()) else ", because the intervals overlap"
    text += [f"Not settled{because}: {'; '.join(pairs)}."] if pairs else []
    text += ["The figures of the others are in the table."] if len(rates) > _FEW else []
    return " ".join(text)


def _under_attack(group: Sequence[tuple[Model, Result]], say_test: bool, say_data: bool) -> list[str]:
    model, result = group[0]
    rates = {model.name: result.worst_case for model, result in group if result.worst_case is not None}
    if not rates:
        return []
    where = f" of {data_name(model)}" if say_data else ""
    suite = f"suite {result.suite}" if result.suite else "the suite"
    start = f"At {threat_text(result)}{where}, after every attack of {suite},"
    if not say_test:
        start = f"After every attack{where},"
    return _rates(rates, start, "keeps", "") + _draws(group) + _rounded(group)


def _rounded(group: Sequence[tuple[Model, Result]]) -> list[str]:
    """A sentence per model some of whose broken images are not broken as files of 8 bits."""
    return [
        f"{model.name}: {result.rounded.standing} of the {result.rounded.of} broken images are classified correctly "
        f"again when they are rounded to 8 bits; a suite NAME-8bit searches there."
        for model, result in group
        if result.rounded is not None and result.rounded.standing
    ]


def _draws(group: Sequence[tuple[Model, Result]]) -> list[str]:
    """A sentence per model whose answers are random."""
    return [
        f"{model.name} answers at random: what stands here is by {draws_text(result.draws)}."
        for model, result in group
        if result.draws is not None
    ]


def _cautions(models: Sequence[Model], threats: int, data_sets: int) -> list[str]:
    sentences = []
    if threats > 1:
        what = "on different data sets" if data_sets > 1 else "with different suites, norms, eps, spaces or test images"
        sentences.append(f"The models were attacked {what}; only figures of the same test are compared.")
    for model in models:
        if model.result is None:
            sentences.append(f"{model.name} is trained but not evaluated yet; robustsnn evaluate does that.")
            continue
        sentences += _guessing(model, model.result)
        if masking := [flag for flag in model.result.flags if flag.masking]:
            names = listing(list(dict.fromkeys(flag.name for flag in masking)))
            raised = count(len(masking), "warning")
            sentences.append(f"{model.name}: {raised} ({names}); its accuracy under attack may be overstated.")
    return sentences


def _guessing(model: Model, result: Result) -> list[str]:
    """A sentence where the interval of the clean accuracy holds that of guessing the commonest class of training."""
    share, clean = model.run.setting("provenance", "commonest"), result.clean
    if not isinstance(share, float) or clean is None or clean.interval is None or not clean.interval[0] <= share <= 1:
        return []
    return [
        f"{model.name}, even without an attack, cannot be told from guessing the commonest class "
        f"({percent(share)}); what it keeps under attack is no sign of robustness."
    ]
