"""What the study found in a sentence or two per part, for the terminal."""

from __future__ import annotations

from typing import Any

from robustsnn.studies.shared.said import percent_text


def lines(content: dict[str, Any]) -> list[str]:
    """Sentences on the content of the file."""
    joule = content["joule"]["mean"]
    return [
        f"firing rate {percent_text(content['rate'])}, {content['synops']['mean']:.3g} synaptic operations and "
        f"{1e6 * joule:.3g} uJ per image; the same layers without spikes {1e6 * content['ann_joule']:.3g} uJ "
        f"(MAC {1e12 * content['mac']:g} pJ, AC {1e12 * content['ac']:g} pJ), n = {content['n']}"
    ]
