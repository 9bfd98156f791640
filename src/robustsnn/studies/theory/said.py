"""What the study found in a sentence or two per part, for the terminal."""

from __future__ import annotations

from typing import Any

from robustsnn.studies.shared.said import figure_text


def lines(content: dict[str, Any]) -> list[str]:
    """Sentences on the content of the file."""
    asked = {
        "gradient signal-to-noise over T, theorem 4.2": (content["signal"], _signal),
        "shared sparsity, theorem 4.3": (content["sharing"], _sharing),
        "density bound, theorem 4.4": (content["density"], _density),
        "finite difference, spiking forward, proposition 1": (content["difference"]["spiking"], _difference),
        "finite difference, smooth forward": (content["difference"]["smooth"], _difference),
    }
    return [f"{name}: {found.get('refused') or say(found)}" for name, (found, say) in asked.items()]


def _signal(found: dict[str, Any]) -> str:
    values = [f"T = {at['steps']}: {figure_text(at['network']['sup']['snr']['value'])}" for at in found["at"]]
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
    return f"error of order {figure_text(last)} at the smallest h (1 is what the Taylor expansion promises)"
