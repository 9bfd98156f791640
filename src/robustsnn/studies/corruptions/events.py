"""Six faults of event recordings, as event frames `[T, 2, H, W]` show them. Kinds and strengths are our own."""

from __future__ import annotations

import numpy as np

from robustsnn.studies.corruptions.kinds import Image, Kind


def missing(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Each entry is lost with chance a."""
    return x * (rng.random(x.shape) >= a)


def background(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Each entry has, with chance a, at least as many events as the least of those that have some (or 1)."""
    least = x[x > 0].min(initial=1)
    return np.maximum(x, least * (rng.random(x.shape) < a))


def hot(x: Image, a: float, rng: np.random.Generator) -> Image:
    """A share a of the pixels fires at every step, in both polarities, as much as the busiest entry."""
    return np.maximum(x, x.max() * (rng.random(x.shape[-2:]) < a))


def dead(x: Image, a: float, rng: np.random.Generator) -> Image:
    """A share a of the pixels never fires."""
    return x * (rng.random(x.shape[-2:]) >= a)


def jitter(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Each pixel is, with chance a, a step early or late, what leaves the recording coming in at its other end."""
    drawn = rng.random(x.shape[-2:])
    return np.where(drawn < a / 2, np.roll(x, -1, 0), np.where(drawn >= 1 - a / 2, np.roll(x, 1, 0), x))


def flipped(x: Image, a: float, rng: np.random.Generator) -> Image:
    """Each pixel and step has, with chance a, its polarities swapped."""
    return np.where(rng.random((len(x), 1, *x.shape[-2:])) < a, x[:, ::-1], x)


EVENTS = (
    Kind("missing events", "events", missing, (0.1, 0.2, 0.35, 0.5, 0.7), "share of entries"),
    Kind("background events", "events", background, (0.005, 0.01, 0.02, 0.05, 0.1), "share of entries"),
    Kind("hot pixels", "sensor", hot, (0.005, 0.01, 0.02, 0.03, 0.05), "share of pixels"),
    Kind("dead pixels", "sensor", dead, (0.05, 0.1, 0.2, 0.3, 0.5), "share of pixels"),
    Kind("time jitter", "events", jitter, (0.1, 0.25, 0.5, 0.75, 1.0), "share of pixels"),
    Kind("flipped polarity", "events", flipped, (0.05, 0.1, 0.2, 0.35, 0.5), "share of pixels and steps"),
)
"""Of event frames, with our scale of strengths."""
