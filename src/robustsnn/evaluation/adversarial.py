"""Adversarial images on disk: saved with what they are, read back, and judged again on any model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.attacks.sparse import Flips
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import L2, Linf, Threat, check_images, verify
from robustsnn.errors import UserError
from robustsnn.evaluation.judge import device_of, fresh_draws, judge_for
from robustsnn.models import Encoded
from robustsnn.outcome import Outcomes, rate
from robustsnn.seeds import seeded
from robustsnn.tensors import read_tensors, write_tensors

_NORMS = {"Linf": Linf, "L2": L2, "L0": Flips}


def save_images(path: Path, clean: Tensor, found: Outcomes, suite: Suite, **about: Any) -> None:
    """Write the worst image of each sample as safetensors.

    Tensors: `image` (as attacked: `[N, C, H, W]`, or `[N, T, C, H, W]` behind the encoder), `clean` (the same
    without an attack), `label`, `attack` (row of the suite that broke it first, -1 for none). The metadata name
    suite, attacks, norm, eps, range and space, and what `about` adds.
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
        **about,
    }
    tensors = {"image": torch.from_numpy(found.images), "clean": clean, "label": torch.from_numpy(found.label)}
    write_tensors(path, {**tensors, "attack": first}, metadata)


def load_images(path: Path) -> tuple[dict[str, Tensor], Threat, dict[str, Any]]:
    """Tensors, threat and metadata of a file of `save_images`.

    UserError for a file that is damaged or no such file, or whose images leave the threat that it names.
    """
    advice = "give a file written by `robustsnn evaluate ... --save_images`"
    tensors, about = read_tensors(path, advice)
    try:
        made = _NORMS[about["norm"]]
        span = {} if made is Flips else {"low": about["low"], "high": about["high"]}
        threat: Threat = made(about["eps"], **span, space=about["space"])
        image, clean, label = tensors["image"], tensors["clean"], tensors["label"]
        check_images(clean, label, threat.low, threat.high)
        verify(threat, image, clean, str(path))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} holds no adversarial images ({error} is missing or wrong); {advice}") from None
    except (RuntimeError, UserError) as error:
        raise UserError(f"{path} is not what it says: {error}") from None
    return tensors, threat, about


def rejudge(model: nn.Module, path: Path, batch_size: int = 128) -> dict[str, Any]:
    """The accuracy of a model on saved adversarial images: its own, or another's (then a transfer attack).

    Returns `clean` and `adversarial` as {"accuracy", "interval", "n"}, the threat as `norm`, `eps`, `space`, the
    `suite` that made the images, and `draws` for a model that draws random numbers.
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
    facts = {key: about.get(key) for key in ("suite", "norm", "eps", "space", "name")}
    return {**rates, **facts, "draws": draws}
