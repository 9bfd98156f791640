"""What a report says first: one sentence on which model stands best, as far as that is settled."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.records.result import Accuracy, Result
from robustsnn.reporting.reading import Model
from robustsnn.reporting.summary import apart, threat
from robustsnn.reporting.wording import accuracy_text, count, listing, percent, threat_text


def verdict(models: Sequence[Model]) -> str:
    """The sentence; "" where nothing was judged. Models of different tests are not compared."""
    judged = [(m, m.result, m.result.worst_case) for m in models if m.result is not None and m.result.worst_case]
    if not judged:
        return ""
    tests = len({threat(model, result) for model, result, _ in judged})
    if tests > 1:
        return f"{count(len(judged), 'result')} of {tests} different tests: no common order, see the table."
    top = max(rate.accuracy for *_, rate in judged)
    best = next(one for one in judged if one[2].accuracy == top)
    test = f"the attacks of {best[1].suite or 'the suite'} at {threat_text(best[1])}"
    near = [one for one in judged if one is best or not apart(one[2], best[2])]
    if len(judged) == 1:
        return f"{best[0].name}: {_survive(best[2])} {test}{_clean(best[1])}.{_warned([best])}"
    if top == 0:
        return f"No image of any of the {len(judged)} models survives {test}."
    if len(near) == 1:
        start = f"{best[0].name} is the most robust of the {count(len(judged), 'model')}"
        return f"{start}: {_survive(best[2])} {test}{_clean(best[1])}.{_warned([best])}"
    shares = listing([f"{model.name} ({accuracy_text(rate)})" for model, _, rate in near])
    which = "Which" if len(near) == len(judged) else f"Which of the {len(judged)}"
    return f"{which} is the most robust is not settled by {test}: {shares}.{_warned(near)}"


def _survive(rate: Accuracy) -> str:
    of = f" of {rate.n} images" if rate.n else ""
    return f"{accuracy_text(rate)}{of} survive"


def _clean(result: Result) -> str:
    return f"; without an attack {percent(result.clean.accuracy)} are right" if result.clean else ""


def _warned(judged: Sequence[tuple[Model, Result, Accuracy]]) -> str:
    names = [model.name for model, result, _ in judged if any(flag.masking for flag in result.flags)]
    return f" There are warnings about {listing(names)}: see below." if names else ""
