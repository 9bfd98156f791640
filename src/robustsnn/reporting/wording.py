"""How numbers are said: threats, perturbation sizes, rates with their interval, lists of names."""

from __future__ import annotations

from robustsnn.draw.words import count as count
from robustsnn.draw.words import listing as listing
from robustsnn.draw.words import percent as percent
from robustsnn.ground.units import grid_words
from robustsnn.names import known
from robustsnn.records.result import Accuracy, DrawnAccuracy, Result


def eps_text(eps: float) -> str:
    """`k/255` where 255 eps is an integer k, or half of one below 10, to 1e-6 (relative above 1), else 4 digits."""
    halves = round(510 * eps)
    k = halves / 2 if halves < 20 else round(255 * eps)
    if 0 < k < 255 and abs(255 * eps - k) <= 1e-6 * k:
        return f"{k:g}/255"
    return f"{eps:.4g}"


def space_text(space: str) -> str:
    """'pixel space', 'encoded space'; says so where it was not saved."""
    return f"{space} space" if space else "a space not saved"


def threat_text(result: Result) -> str:
    """'Linf 8/255 in pixel space': norm, size, what is changed, grey levels if any; says what was not saved."""
    size = "an eps not saved" if result.eps is None else eps_text(result.eps)
    return f"{result.norm or 'eps ='} {size} in {space_text(result.space)}{grid_words(result.levels)}"


def test_text(result: Result) -> str:
    """'Linf 8/255 in pixel space, suite reliable'; another precision than float32 is named."""
    coarse = "" if result.precision.crafting in ("", "float32") else f", attacks crafted in {result.precision.crafting}"
    return threat_text(result) + (f", suite {result.suite}" if result.suite else "") + coarse


def draws_text(draws: DrawnAccuracy) -> str:
    """'majority vote; 20 single draws 31.0 % ± 1.0 (29.0 to 33.0)'."""
    mean, std, least, most = (100 * share for share in (draws.mean, draws.std, draws.least, draws.most))
    return f"majority vote; {draws.n} single draws {mean:.1f} % ± {std:.1f} ({least:.1f} to {most:.1f})"


def accuracy_text(rate: Accuracy) -> str:
    """'12.2 %', or 'at most 12.2 %' where the attacks had not converged."""
    return f"{'at most ' if rate.at_most else ''}{percent(rate.accuracy)}"


def figure(value: float | None) -> str:
    """A count or a mean: '37', '2.513', from five digits on '12 345'; a dash for None."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.4g}" if abs(value) < 9999.5 else f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


def interval_text(rate: Accuracy) -> str:
    """The 95 % interval in percent, '[9.0, 16.0]'; empty where none was saved."""
    if rate.interval is None:
        return ""
    low, high = rate.interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def rate_text(rate: Accuracy) -> str:
    """A rate with its interval: '12.2 % [9.0, 16.0]'."""
    return f"{accuracy_text(rate)} {interval_text(rate)}".rstrip()


def function_text(name: str) -> str:
    """What was differentiated, in words: 'the probability of the true class'."""
    entry = known("loss", name)
    return (entry and entry.words) or name.replace("_", " ") or "a function without a name"
