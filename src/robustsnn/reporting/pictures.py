"""Saved samples as pictures: clean, adversarial, perturbation, input gradient, spikes, model beside model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robustsnn.draw.png import png_address
from robustsnn.records.samples import Samples
from robustsnn.reporting import panels
from robustsnn.reporting.reading import Model
from robustsnn.reporting.spikes import Layer, layer
from robustsnn.reporting.wording import count, eps_text, space_text

NEAR_ZERO = 0.01
MOST_SHOTS = 40  # of an image by a model; keeps the page small
CLASSES = 3  # so many of the likeliest are shown


@dataclass(frozen=True)
class ClassShare:
    """A class and its softmax probability; `true`: it is the label."""

    name: str
    share: float
    true: bool


@dataclass(frozen=True)
class Shot:
    """One model on one image: the addresses of three pictures, what to say below them, the spikes of layers.

    `before`, `after`: the likeliest classes of the clean and of the attacked image; empty if not saved.
    """

    model: Model
    adversarial: str
    perturbation: str
    gradient: str
    predicted: str
    predicted_adversarial: str
    outcome: str
    sparsity: str
    attack: str
    before: list[ClassShare]
    after: list[ClassShare]
    layers: list[Layer]


@dataclass(frozen=True)
class Image:
    """One test image with the shots of every model that saved it, and how many of these models stand."""

    index: int
    label: str
    clean: str
    tally: str
    shots: list[Shot]


@dataclass(frozen=True)
class Gallery:
    """The images shown; `shared` says whether every model with samples is shown on the same ones.

    `reduced`: large ones have lines left out; `frames`: they are event frames; `spikes`: layers are shown.
    """

    images: list[Image]
    shared: bool
    models: list[Model]
    reduced: bool
    frames: bool
    spikes: bool


def gallery(models: Sequence[Model], most: int = 6) -> Gallery | None:
    """The first `most` images that all runs saved (fewer for many models); None where none has samples."""
    saved = [(m, m.run.samples) for m in models if m.trained_here and m.run.samples is not None]
    saved = [(model, samples) for model, samples in saved if len(samples.index) > 0]
    if not saved:
        return None
    most = max(1, min(most, MOST_SHOTS // len(saved)))
    first = saved[0][1]
    common = [k for k in range(len(first.index)) if all(_row(s, first, k) is not None for _, s in saved)]
    images = []
    for k in common[:most]:
        images.append(_image(first, k, [_shot(m, s, _row(s, first, k) or 0) for m, s in saved]))
    if not common:
        for model, s in saved:
            images += [_image(s, k, [_shot(model, s, k)]) for k in range(min(most, len(s.index)))]
    reduced = any(panels.is_reduced(samples.image[0]) for _, samples in saved)
    frames = any(panels.has_frames(samples.image[0]) for _, samples in saved)
    spikes = any(shot.layers for image in images for shot in image.shots)
    return Gallery(images, bool(common) and len(saved) > 1, [model for model, _ in saved], reduced, frames, spikes)


def _image(samples: Samples, k: int, shots: list[Shot]) -> Image:
    label = samples.class_name(int(samples.label[k]))
    standing = sum(shot.outcome == "stands" for shot in shots)
    tally = f"{standing} of {count(len(shots), 'model')} stand" if len(shots) > 1 else shots[0].outcome
    return Image(int(samples.index[k]), label, png_address(panels.shown(samples.image[k])), tally, shots)


def _row(samples: Samples, other: Samples, k: int) -> int | None:
    """Where `samples` holds the image that is row k of `other`: same index, label and pixels."""
    for row in np.flatnonzero(samples.index == other.index[k]):
        if samples.label[row] == other.label[k] and np.array_equal(samples.image[row], other.image[k]):
            return int(row)
    return None


def _shot(model: Model, samples: Samples, k: int) -> Shot:
    clean, adversarial, gradient = samples.image[k], samples.adversarial[k], samples.gradient[k]
    label, before, after = (int(part[k]) for part in (samples.label, samples.predicted, samples.predicted_adversarial))
    outcome = "stands" if after == label else "fooled"
    if before != label:
        outcome = "already wrong"
    size = "" if samples.eps is None or "eps=" in samples.attack else f"eps = {eps_text(samples.eps)}"
    space = f"in {space_text(samples.space)}" if samples.space else ""
    if samples.space == "encoded" and not panels.has_frames(clean):
        space += ", shown as the mean change over time"
    threat = " ".join(part for part in (size, space) if part)
    return Shot(
        model=model,
        adversarial=png_address(panels.shown(adversarial)),
        perturbation=png_address(panels.change(adversarial, clean)),
        gradient=png_address(panels.diverging(gradient)),
        predicted=samples.class_name(before),
        predicted_adversarial=samples.class_name(after),
        outcome=outcome,
        sparsity=_sparsity(gradient),
        attack=", ".join(part for part in (samples.attack, threat) if part),
        before=_likeliest(samples, samples.probability, k),
        after=_likeliest(samples, samples.probability_adversarial, k),
        layers=[layer(spikes, k) for spikes in samples.layers],
    )


def _likeliest(samples: Samples, probability: np.ndarray | None, k: int) -> list[ClassShare]:
    if probability is None:
        return []
    shares = np.nan_to_num(probability[k].astype(np.float64))
    order = np.argsort(-shares, kind="stable")[:CLASSES]
    return [ClassShare(samples.class_name(int(c)), float(shares[c]), int(c) == int(samples.label[k])) for c in order]


def _sparsity(gradient: np.ndarray) -> str:
    size = np.abs(gradient.astype(np.float64))
    if not np.isfinite(size).all():
        return f"{int((~np.isfinite(size)).sum())} gradient entries are not finite"
    if size.max() == 0:
        return "every entry is exactly 0"
    near = float((size < NEAR_ZERO * size.max()).mean())
    return f"{100 * near:.0f} % near zero; max |g| {size.max():.2g}"
