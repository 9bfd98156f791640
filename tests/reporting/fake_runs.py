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
    "SR": ({"name": "sparsity", "lam": 0.002, "options": {"h": 0.01, "form": "paper"}, "attack": None}, 0.958, 11.0),
    "AT": ({"name": "adversarial", "attack": {"eps": "2/255", "alpha": 0.01, "steps": 5}}, 0.961, 6.4),
    "SR*": (
        {
            "name": "sparsity",
            "lam": 0.002,
            "options": {"h": 0.01, "form": "paper"},
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
    """As the suite of the paper leaves them: columns that start anew, each over three gradient rules."""

    def after(size: float, factor: float = 1.0) -> float:
        return clean * float(np.exp(-((fall * size * factor) ** 1.4)))

    columns = {"FGSM": 0.45, "RFGSM": 0.4, "PGD10": 0.9, "APGD10": 0.97, "BB FGSM": 0.3}
    attacks, columned = {}, {}
    for column, factor in columns.items():
        left = round(clean * n)
        for rule in ("STBP(Triangle(width=1.0))", "STBP(Triangle(width=2.0))", "BPTR()"):
            standing = round(n * after(eps, factor)) + (2 - len(attacks) % 3) * 4
            one = "FGSM" in column
            attacks[f"{column.lower()}(eps=32/255, steps={1 if one else 10}, rule={rule})"] = {
                "column": column,
                "label": f"{column.lower()}/{rule.removeprefix('STBP(').split('(')[0].lower()}-{len(attacks)}",
                "black_box": column.startswith("BB"),
                "eps": eps,
                **rate(standing / n, n),
                "attacked": left,
                "broken": left - standing,
                "forwards": 1.0 if one else 11.0,
                "backwards": (0.0 if column.startswith("BB") else 1.0) if one else 10.0,
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
        "space": "pixel",
        "survivors_only": False,
        "columns": columned,
        "attacks": attacks,
        "breaks": overlaps(list(columns), [1 - after(eps, f) / clean for f in columns.values()], round(clean * n)),
        "worst_case": {**rate(after(eps), n), "eps": eps, "norm": "Linf"},
        "curve": [{"eps": k / 255, **rate(after(k / 255), n)} for k in (0, 2, 4, 8, 16, 24, 32, 48, 64)],
        "flags": [flag("zero-gradient", message)] if name == "SR" else [],
        "checks": checks(["zero-gradient"] if name == "SR" else []),
        "draws": None,
        "cost": {
            way: round(sum(row["attacked"] * row[way] for row in attacks.values())) for way in ("forwards", "backwards")
        },
    }
    return {"schema": 2, "models": {name: model}, "versions": {"robustsnn": "0.1.0", "torch": "2.13.0"}}


def overlaps(sets: list[str], shares: list[float], n: int) -> dict[str, Any]:
    """What each set breaks of `n` images: mostly, but not only, what the weaker sets break too."""
    rng = np.random.default_rng(n)
    hardness = rng.uniform(size=n)
    broken = np.array([hardness + rng.normal(0, 0.06, n) < share for share in shares])
    counts: dict[tuple[int, ...], int] = {}
    for column in broken.T:
        members = tuple(int(k) for k in np.flatnonzero(column))
        counts[members] = counts.get(members, 0) + 1
    groups = [{"members": list(members), "count": count} for members, count in counts.items()]
    return {"what": "columns", "sets": sets, "n": n, "groups": groups}


def flag(name: str, message: str, *, masking: bool = True) -> dict[str, Any]:
    why = {
        "zero-gradient": "An attack that follows a gradient of zero stands still; what it misses still exists.",
        "single-surrogate": "The attacks saw one approximation of the gradient; another one may find more.",
    }
    todo = {
        "zero-gradient": "Attack with wider surrogates, or without gradients (suite reliable).",
        "single-surrogate": "Evaluate with a suite that tries several gradient rules.",
    }
    return {
        "name": name,
        "masking": masking,
        "message": message,
        "why": why.get(name, ""),
        "todo": todo.get(name, ""),
        "value": 0.1,
    }


def checks(raised: list[str]) -> list[dict[str, Any]]:
    made = {
        "zero-gradient": ("share of zero gradients", "above 1 %"),
        "black-box-stronger": ("black box beats white box on", "above 0 % of images"),
        "unbounded-stands": ("left at the largest eps", "above chance"),
        "single-step-stronger": ("one step beats many on", "above 5 % of images"),
    }
    return [
        {
            "name": name,
            "value": 0.1 if name in raised else 0.0,
            "masking": True,
            "message": f"{what} {10.3 if name in raised else 0.0} %",
            "raised": name in raised,
            "raised_if": limit,
        }
        for name, (what, limit) in made.items()
    ]


def reliable(model: dict[str, Any], *, attacks: int = 80) -> dict[str, Any]:
    """The entry of a model under a suite of many attacks, each on what all before it left standing."""
    clean, n = model["clean"], model["clean"]["n"]
    left = round(clean["accuracy"] * n)
    fallen = {0: left // 2, 1: left // 9, 7: 6, 11: 3, 40: 2, attacks - 9: 1}
    rules = ("triangle", "arctan", "assg-arctan", "sigmoid", "bptr")
    rows: dict[str, Any] = {}
    groups = []
    for k in range(attacks):
        broken, black = fallen.get(k, 0), k >= attacks - 12
        kind = ("square", "random-corners", "transfer")[k % 3] if black else ("apgd-ce", "apgd-dlr", "pgd")[k % 3]
        label = f"{kind}/{k}" if black else f"{kind}/{rules[k % 5]}-{k}"
        rows[f"Attack(Linf(eps=8/255), APGD(first=16/255), rule=STBP({rules[k % 5]}(width={k}.0)), steps=100)"] = {
            "column": "black box" if black else "steps",
            "label": label,
            "black_box": black,
            "eps": model["eps"],
            **rate((left - broken) / n, n),
            "attacked": left,
            "broken": broken,
            "forwards": 2000.0 if black else 101.0,
            "backwards": 0.0 if black else 100.0,
            "zero_gradients": 2 if k == 3 else 0,
            "nan_gradients": 0,
        }
        left -= broken
        groups += [{"members": [k], "count": broken}] if broken else []
    worst = rate(left / n, n)
    sets = [row["label"] for row in rows.values()]
    return model | {
        "suite": "reliable",
        "survivors_only": True,
        "attacks": rows,
        "columns": {"steps": rate((left + 1) / n, n), "black box": worst},
        "worst_case": worst,
        "cost": {way: round(sum(r["attacked"] * r[way] for r in rows.values())) for way in ("forwards", "backwards")},
        "breaks": {"what": "first broken by", "sets": sets, "n": n, "groups": groups},
        "curve": [],
    }


def write_varied(root: Path) -> list[Path]:
    """Runs that show everything at once: two suites, two spaces, a stochastic model, flags of both kinds."""
    runs = write_runs(root)
    note = flag("single-surrogate", "All gradients came from one surrogate.", masking=False)
    for run, name in zip(runs, MODELS, strict=True):
        path = run / "results.json"
        content = json.loads(path.read_text())
        model = content["models"][name]
        if name in ("AT", "SR*"):
            model = reliable(model, attacks=80)
        if name == "SR*":
            model |= {"draws": {"n": 20, "mean": 0.31, "std": 0.01, "least": 0.29, "most": 0.33}}
        models = {name: model}
        if name == "vanilla":
            model["flags"] = [note]
            encoded = {"space": "encoded", "suite": "paper-trail", "breaks": None, "checks": []}
            models = {f"{name} (paper-sr, pixel)": model, f"{name} (paper-trail, encoded)": model | encoded}
        path.write_text(json.dumps(content | {"models": models}))
    return runs


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
        "space": np.array("pixel"),
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
