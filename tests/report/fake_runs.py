"""Run folders as training and evaluation leave them, invented but plausible; no training needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

GLYPHS = {
    0: "00111000 01000100 01000110 01000110 01000110 01000110 01000100 00111000",
    1: "00011000 00111000 01011000 00011000 00011000 00011000 00011000 00111100",
    3: "00111100 01000110 00000110 00011100 00000110 00000110 01000110 00111100",
    4: "00001100 00011100 00101100 01001100 01001100 01111110 00001100 00001100",
    7: "01111110 00000110 00000100 00001100 00011000 00010000 00110000 00110000",
}
# name: (objective, clean accuracy, how fast it falls with eps)
MODELS: dict[str, tuple[dict[str, Any], float, float]] = {
    "vanilla": ({"name": "natural"}, 0.972, 17.0),
    "SR": ({"name": "sparsity", "lam": 0.002, "h": 0.01, "form": "paper", "attack": None}, 0.958, 11.0),
    "AT": ({"name": "adversarial", "attack": {"eps": "2/255", "alpha": 0.01, "steps": 5}}, 0.961, 6.4),
    "SR*": (
        {
            "name": "sparsity",
            "lam": 0.002,
            "h": 0.01,
            "form": "paper",
            "attack": {"eps": "2/255", "alpha": 0.01, "steps": 5},
        },
        0.944,
        5.4,
    ),
}


def rate(share: float, n: int) -> dict[str, Any]:
    """`share` rounded to whole images, with Wilson's interval (close to Clopper-Pearson)."""
    share = round(share * n) / n
    z = 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return {"accuracy": share, "interval": [max(0.0, middle - half), min(1.0, middle + half)], "n": n}


def write_runs(root: Path, *, colour: bool = False, names: tuple[str, ...] = tuple(MODELS)) -> list[Path]:
    """A folder per name under `root`: 8x8 digits, or 32x32 colour pictures."""
    return [write_run(root / f"run-{k}", name, colour=colour, seed=k) for k, name in enumerate(names)]


def write_run(folder: Path, name: str, *, colour: bool = False, seed: int = 0) -> Path:
    objective, clean, fall = MODELS[name]
    folder.mkdir(parents=True)
    config = _config(name, objective, colour)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    epochs = _metrics(seed, clean, objective["name"] == "sparsity")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    (folder / "results.json").write_text(json.dumps(results(name, clean, fall, 1000 if colour else 360)))
    np.savez(folder / "samples.npz", **samples(seed, colour, fall))  # pyright: ignore[reportArgumentType]
    return folder


def results(name: str, clean: float, fall: float, n: int, eps: float = 32 / 255) -> dict[str, Any]:
    def after(size: float, factor: float = 1.0) -> float:
        return clean * float(np.exp(-((fall * size * factor) ** 1.4)))

    columns = {"FGSM": 0.45, "RFGSM": 0.4, "PGD10": 0.9, "APGD10": 0.97}
    attacks, columned = {}, {}
    for column, factor in columns.items():
        left = round(clean * n)
        for rule in ("STBP(Triangle(width=1.0))", "STBP(Triangle(width=2.0))", "BPTR()"):
            standing = round(n * after(eps, factor)) + (2 - len(attacks) % 3) * 4
            one = column in ("FGSM", "RFGSM")
            attacks[f"{column.lower()}(eps=32/255, steps={1 if one else 10}, rule={rule})"] = {
                "column": column,
                "eps": eps,
                **rate(standing / n, n),
                "attacked": left,
                "broken": left - standing,
                "forwards": 1.0 if one else 11.0,
                "backwards": 1.0 if one else 10.0,
                "zero_gradients": 37 if name == "SR" and rule == "BPTR()" else 0,
                "nan_gradients": 0,
            }
            left = standing
        columned[column] = rate(left / n, n)
    message = "37 of 360 images have an input gradient that is exactly zero under BPTR(); attacks by it are blind."
    model = {
        "clean": rate(clean, n),
        "suite": "paper-sr-10",
        "norm": "Linf",
        "eps": eps,
        "columns": columned,
        "attacks": attacks,
        "worst_case": {**rate(after(eps), n), "eps": eps, "norm": "Linf"},
        "curve": [{"eps": k / 255, **rate(after(k / 255), n)} for k in (0, 2, 4, 8, 16, 24, 32, 48, 64)],
        "flags": [{"name": "zero-gradients", "message": message}] if name == "SR" else [],
        "seconds": 12.3,
    }
    return {"schema": 1, "models": {name: model}, "versions": {"robustsnn": "0.1.0", "torch": "2.13.0"}}


def samples(seed: int, colour: bool, fall: float) -> dict[str, Any]:
    picture, own = np.random.default_rng(0), np.random.default_rng(seed + 1)
    labels = np.array(list(GLYPHS), dtype=np.int64)
    if colour:
        ramp = np.linspace(0, 3, 32)
        waves = [np.sin(ramp[None, :] * (k + 1) + ramp[:, None] * (c + 1)) for k in range(5) for c in range(3)]
        image = 0.5 + 0.35 * np.array(waves).reshape(5, 3, 32, 32) + picture.normal(0, 0.03, (5, 3, 32, 32))
    else:
        bits = [[[int(bit) for bit in line] for line in glyph.split()] for glyph in GLYPHS.values()]
        image = np.array(bits, dtype=float)[:, None] * picture.uniform(0.6, 1.0, (5, 1, 8, 8))
    image = np.clip(image, 0, 1).astype(np.float32)
    eps = 8 / 255 if colour else 32 / 255
    gradient = own.normal(0, 1, image.shape) * (own.uniform(size=image.shape) < fall / 18) * 0.01
    adversarial = np.clip(image + eps * np.sign(own.normal(size=image.shape)), 0, 1)
    fooled = own.uniform(size=5) < fall / 18
    return {
        "image": image,
        "adversarial": adversarial.astype(np.float32),
        "gradient": gradient.astype(np.float32),
        "label": labels,
        "predicted": np.where(np.arange(5) == 4, (labels + seed) % 10, labels),
        "predicted_adversarial": np.where(fooled, (labels + 5) % 10, labels),
        "classes": np.array([f"{k}" for k in range(10)] if not colour else [f"class {k}" for k in range(10)]),
        "index": np.array([3, 17, 40, 41, 99]),
        "attack": np.array("pgd(eps=32/255, steps=10, rule=STBP(Triangle(width=1.0)))"),
        "eps": np.array(eps, dtype=np.float32),
    }


def _metrics(seed: int, clean: float, sparse: bool) -> list[dict[str, Any]]:
    noise = np.random.default_rng(seed)
    epochs = []
    for epoch in range(1, 31):
        loss = 2.2 * float(np.exp(-epoch / 6)) + 0.05 + 0.03 * noise.random() + (0.4 if sparse else 0)
        train = {
            "loss": loss,
            "accuracy": clean * (1 - float(np.exp(-epoch / 4)) * 0.85),
            "cross_entropy": loss,
        }
        if sparse:
            train["sparsity"] = 0.2 / epoch
        validation = {"accuracy": train["accuracy"] - 0.03 * noise.random(), "n": 240}
        epochs.append(
            {
                "epoch": epoch,
                "epochs": 30,
                "seconds": 1.2 + noise.random() / 5,
                "learning_rate": 0.1 * 0.93**epoch,
                "train": train,
                "validation": validation,
            }
        )
    return epochs


def _config(name: str, objective: dict[str, Any], colour: bool) -> dict[str, Any]:
    return {
        "name": name,
        "data": {
            "name": "cifar10" if colour else "digits",
            "root": None,
            "download": False,
            "validation": 5000,
            "seed": 0,
        },
        "model": {
            "name": "vgg-small",
            "steps": 4,
            "neuron": {"tau": 1.0, "theta": 1.0, "reset": "hard"},
            "surrogate": {"name": "triangle", "width": 1.0},
        },
        "objective": objective,
        "train": {
            "epochs": 30,
            "batch_size": 64,
            "optimiser": "sgd",
            "lr": 0.1,
            "weight_decay": 0.0005,
            "seed": 0,
            "precision": "float32",
            "select": "last",
        },
        "provenance": {
            "robustsnn": "0.1.0",
            "torch": "2.13.0",
            "python": "3.11.7",
            "numpy": "2.4.6",
            "platform": "Linux x86_64",
            "git": "4563dc0",
            "started": f"2026-01-01T10:0{len(name)}:00+00:00",
            "data_note": "1,797 digits: 1,197 train, 240 validation, 360 test, stratified, seed 0.",
            "parameters": 123456,
        },
    }
