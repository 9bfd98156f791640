"""Shares of yes and no: their exact intervals, and how many more there will be."""

from __future__ import annotations


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial confidence interval for a share of `hits` in `n` (Clopper and Pearson 1934)."""
    from scipy.stats import beta  # here: it takes a while to load

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def further_hits(hits: int, n: int, further: int) -> tuple[int, int]:
    """95 % prediction interval of the hits among `further` trials, after `hits` in `n` of the same chance.

    With Jeffreys' prior the chance is Beta(hits + 1/2, n - hits + 1/2) distributed, so the number is beta-binomial.
    """
    from scipy.stats import betabinom

    if not further:
        return 0, 0
    low, high = betabinom.ppf((0.025, 0.975), further, hits + 0.5, n - hits + 0.5)
    return int(low), int(high)
