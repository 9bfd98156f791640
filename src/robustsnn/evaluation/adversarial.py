"""Adversarial images on disk: saved with what they are, read back, and judged again on any model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.attacks.binary import Flips
from robustsnn.attacks.grey import EIGHT_BITS, shade, shades
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import L2, Linf, Threat, check_images, tolerance, verify
from robustsnn.evaluation.judge import device_of, fresh_draws, judge_for
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import seeded
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.models import Encoded
from robustsnn.records.outcome import Outcomes, rate

_NORMS = {"Linf": Linf, "L2": L2, "L0": Flips}
_ADVICE = "give a file written by `robustsnn evaluate ... --save_images`"


def save_images(path: Path, clean: Tensor, found: Outcomes, suite: Suite, **about: Any) -> None:
    """Write the worst image of each sample as safetensors.

    Tensors: `image` (as attacked: `[N, C, H, W]`, or `[N, T, C, H, W]` behind the encoder), `clean` (the same
    without an attack), both float32, or uint8 where the threat is on grey levels of 8 bits; `label` and `attack` (row
    of the suite that broke it first, -1 for none), int64 `[N]`. The metadata name suite, attacks, norm, eps, range,
    space and levels, and what `about` adds.
    """
    if found.images is None:
        raise ValueError("the outcomes hold no images; run the suite with keep_images=True")
    broke = torch.from_numpy(found.broken)
    first = torch.where(broke.any(0), broke.int().argmax(0), -1)
    threat = suite.threat
    metadata = {
        "suite": suite.name,
        "attacks": [repr(attack) for _, attack in suite.members()],
        "norm": threat.norm,
        "eps": threat.eps,
        "low": threat.low,
        "high": threat.high,
        "space": threat.space,
        "levels": threat.levels,
        **about,
    }
    image, label = torch.from_numpy(found.images), torch.from_numpy(found.label)
    clean = clean.float()
    if threat.levels == EIGHT_BITS:
        image, clean = (shade(values, EIGHT_BITS).to(torch.uint8) for values in (image, clean))
    write_tensors(path, {"image": image, "clean": clean, "label": label, "attack": first}, metadata)


def load_images(path: Path) -> tuple[dict[str, Tensor], Threat, dict[str, Any]]:
    """Tensors (images as float32), threat and metadata of a file of `save_images`.

    UserError for a file that is damaged or no such file, or whose images leave the threat that it names.
    """
    tensors, about = read_tensors(path, _ADVICE)
    missing = [name for name in ("image", "clean", "label", "attack") if name not in tensors]
    missing += [name for name in ("attacks", "norm", "eps", "low", "high", "space") if name not in about]
    if missing:
        raise UserError(f"{path} holds no adversarial images: it lacks {', '.join(missing)}; {_ADVICE}")
    try:
        threat = _threat(about)
        if threat.levels == EIGHT_BITS:
            tensors |= {name: _floats(name, tensors[name]) for name in ("image", "clean")}
        _check_shapes(tensors, about)
        check_images(tensors["clean"], tensors["label"], threat.low, threat.high, threat.levels)
        verify(threat, tensors["image"], tensors["clean"], "image", slack=tolerance(threat))
    except (RuntimeError, UserError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is not what it says: {reason}; {_ADVICE}") from None
    return tensors, threat, about


def _threat(about: dict[str, Any]) -> Threat:
    """The threat that the metadata name."""
    norm = about["norm"]
    if not isinstance(norm, str) or norm not in _NORMS:
        raise UserError(f"norm={norm!r}: allowed are {', '.join(_NORMS)}")
    for name in ("eps", "low", "high"):
        value = about[name]
        # Written so that NaN fails too, and integers beyond all floats.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise UserError(f"{name}={value!r}: a finite number is needed")
    made = _NORMS[norm]
    span = {} if made is Flips else {"low": about["low"], "high": about["high"]}
    if about.get("levels") is not None:
        if made is not Linf:
            raise UserError(f"levels={about['levels']!r} for {norm}: that is for Linf")
        span["levels"] = about["levels"]
    return made(about["eps"], **span, space=about["space"])


def _floats(name: str, values: Tensor) -> Tensor:
    """Grey values of 8 bits as a network sees them."""
    if values.dtype != torch.uint8:
        raise UserError(f"{name} of {values.dtype} where levels={EIGHT_BITS}: needed is uint8")
    return shades(values, EIGHT_BITS, torch.empty(0))


def _check_shapes(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """UserError unless the tensors are those that `save_images` names."""
    image, clean, label, first = (tensors[name] for name in ("image", "clean", "label", "attack"))
    for name, values in (("image", image), ("clean", clean)):
        if values.dtype != torch.float32 or values.ndim < 2 or not values.numel():
            raise UserError(
                f"{name} of shape {tuple(values.shape)}, {values.dtype}: needed is float32 [N, ...], N >= 1"
            )
    if image.shape != clean.shape:
        raise UserError(
            f"image of shape {tuple(image.shape)} beside clean of shape {tuple(clean.shape)}: needed is one"
        )
    for name, values in (("label", label), ("attack", first)):
        if values.dtype != torch.int64 or values.shape != image.shape[:1]:
            shape = tuple(values.shape)
            raise UserError(f"{name}s of shape {shape}, {values.dtype}: needed is int64 [{len(image)}], one per image")
    if not isinstance(about["attacks"], list):
        raise UserError("attacks is no list of names")
    if bool((label < 0).any()):
        raise UserError(f"label {label.min().item()}: labels count from 0")
    if not bool(((first >= -1) & (first < len(about["attacks"]))).all()):
        span = f"{first.min().item()} to {first.max().item()}"
        raise UserError(f"attacks {span} where {len(about['attacks'])} are named: rows from 0, -1 for none")


def rejudge(model: nn.Module, path: Path, batch_size: int = 128) -> dict[str, Any]:
    """The accuracy of a model on saved adversarial images: its own, or another's (then a transfer attack).

    Returns `clean` and `adversarial` as {"accuracy", "interval", "n"}, the threat as `norm`, `eps`, `space`, `levels`,
    the `suite` that made the images, and `draws` for a model that draws random numbers.
    """
    tensors, threat, about = load_images(path)
    view = Encoded(model) if threat.space == "encoded" else model
    image, clean, label = tensors["image"], tensors["clean"], tensors["label"]
    device = device_of(model, image)
    judge = judge_for(view, clean[:64].to(device))
    rates = {}
    for name, shown in (("clean", clean), ("adversarial", image)):
        margins = []
        for i in range(0, len(label), batch_size):
            with seeded(0, "rejudge", name, i):
                xb, yb = shown[i : i + batch_size].to(device), label[i : i + batch_size].to(device)
                margins.append(judge(view, xb, yb)[0].cpu())
        rates[name] = rate((torch.cat(margins) < 0).numpy())
    draws = fresh_draws(view, image, label, batch_size=batch_size) if judge.votes > 1 else None
    facts = {key: about.get(key) for key in ("suite", "norm", "eps", "space", "levels", "name")}
    return {**rates, **facts, "draws": draws}
