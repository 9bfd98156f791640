"""What an analysis found in a sentence or two per part, for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robustsnn.ground.units import show_fraction


def findings(part: str, content: dict[str, Any]) -> list[str]:
    """Sentences on one part of `robustsnn analyze`, from its content."""
    return _PARTS[part](content)


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value + 0.0:.3g}"


def _trail(content: dict[str, Any]) -> list[str]:
    found = [f"exact zeros at the pixels {_percent(content['input']['zeros']['mean'])}, n = {content['n']}"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for operation in content["operations"]:
        kinds.setdefault(operation["kind"], []).append(operation)
    for kind, operations in kinds.items():
        zeros = sum(o["input"]["zeros"]["mean"] for o in operations) / len(operations)
        parts = [[o[origin] for origin in ("architectural", "natural", "other")] for o in operations]
        known = [sum(part["mean"] for part in one) for one in parts if None not in one]
        own = f"{_percent(sum(known) / len(known))} its own" if len(known) == len(operations) else "its own unknown"
        found.append(f"{kind:22} zeros {_percent(zeros):>8}, {own}")
    return found


def _gradients(content: dict[str, Any]) -> list[str]:
    return [
        f"{rule['label']:14} l1 {_figure(rule['l1']['mean'])}, l2 {_figure(rule['l2']['mean'])}, exact zeros "
        f"{_percent(rule['sparsity']['mean'])}, Gini {_figure(rule['gini']['mean'])}, "
        f"{rule['zero']} of {content['n']} gradients zero altogether"
        for rule in content["rules"]
    ]


def _vulnerability(content: dict[str, Any]) -> list[str]:
    found = []
    for level in content["levels"]:
        accuracy = level["accuracy"]
        found.append(
            f"Linf {show_fraction(level['eps'])}: accuracy {_percent(accuracy['random']['mean'])} under noise, "
            f"{_percent(accuracy['fgsm']['accuracy'])} under FGSM; rho_adv / rho_rand "
            f"{_figure(level['ratio']['median'])} in the median, within theorem 1's bounds for "
            f"{_percent(level['bounds']['within']['share'])} of the images, n = {content['n']}"
        )
    holds = content["first_order"]
    where = ", ".join(map(show_fraction, holds)) if holds else "none of the radii"
    return [*found, f"first order holds within a factor 2 at {where}"]


def _theory(content: dict[str, Any]) -> list[str]:
    asked = {
        "gradient signal-to-noise over T, theorem 4.2": (content["signal"], _signal),
        "shared sparsity, theorem 4.3": (content["sharing"], _sharing),
        "density bound, theorem 4.4": (content["density"], _density),
        "finite difference, spiking forward, proposition 1": (content["difference"]["spiking"], _difference),
        "finite difference, smooth forward": (content["difference"]["smooth"], _difference),
    }
    return [f"{name}: {found.get('refused') or say(found)}" for name, (found, say) in asked.items()]


def _signal(found: dict[str, Any]) -> str:
    values = [f"T = {at['steps']}: {_figure(at['network']['sup']['snr']['value'])}" for at in found["at"]]
    fell = [pair for pair in found["pairs"] if pair["held"] is False]
    ends = [pair["difference"]["interval"] for pair in fell]
    sure = sum(pair is not None and pair[1] < 0 for pair in ends)
    where = ", ".join(f"{pair['before']} to {pair['after']}" for pair in fell)
    held = {True: "falls nowhere", False: f"falls from T = {where}", None: "is not decided"}[found["held"]]
    settled = f"; the interval of {sure} of {len(fell)} falls is below 0" if fell else ""
    return f"in the sup norm it {held} ({', '.join(values)}){settled}"


def _sharing(found: dict[str, Any]) -> str:
    return {
        True: "the correlation of input and weight sparsity grows towards the input",
        False: "the correlation of input and weight sparsity does not grow towards the input",
        None: "no correlation can be formed, since one of the two does not vary",
    }[found["grows_towards_input"]]


def _density(found: dict[str, Any]) -> str:
    said = []
    for bound in found["bounds"]:
        holds = "holds" if bound["holds"] else "is violated"
        vacuous = " but is above the number of entries" if bound["vacuous"] else ""
        said.append(f"{holds}{vacuous} ({bound['left']['mean']:.3g} against {bound['right']:.3g}, {bound['reading']})")
    return "; ".join(said)


def _difference(found: dict[str, Any]) -> str:
    last = found["orders"][-1] if found["orders"] else None
    return f"error of order {_figure(last)} at the smallest h (1 is what the Taylor expansion promises)"


def _energy(content: dict[str, Any]) -> list[str]:
    joule = content["joule"]["mean"]
    return [
        f"firing rate {_percent(content['rate'])}, {content['synops']['mean']:.3g} synaptic operations and "
        f"{1e6 * joule:.3g} uJ per image; the same layers without spikes {1e6 * content['ann_joule']:.3g} uJ "
        f"(MAC {1e12 * content['mac']:g} pJ, AC {1e12 * content['ac']:g} pJ), n = {content['n']}"
    ]


_PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "trail": _trail,
    "gradients": _gradients,
    "vulnerability": _vulnerability,
    "theory": _theory,
    "energy": _energy,
}
