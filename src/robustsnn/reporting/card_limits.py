"""What the figures of a run do not say, as far as its files show it."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.records.result import Result
from robustsnn.reporting.reading import Run
from robustsnn.reporting.wording import count, listing, threat_text


def limits(run: Run, results: Sequence[Result]) -> list[str]:
    """A sentence or two per limit, the most general first."""
    said = ["The figures are of one training run with one seed; intervals do not cover other seeds."]
    said += [text] if (text := run.entry("data", "data.name").limits) else []
    if not results:
        return ["Robustness was not evaluated: nothing is known of this model under attack.", *said]
    said = [
        "An accuracy under attack is an upper bound on the true robust accuracy: a stronger attack can only lower it.",
        *said,
    ]
    threats = list(dict.fromkeys(threat_text(result) for result in results))
    said.append(
        f"Tested was {listing(threats)}. Other norms, and sizes and changes of an image that are not listed, were not."
    )
    masking = sum(flag.masking for result in results for flag in result.flags)
    if masking:
        said.append(f"{count(masking, 'warning')} above: the accuracy under attack may be overstated.")
    if not any(result.checks for result in results):
        said.append("No check for masked gradients was saved.")
    if any(result.attacks and not any(attack.black_box for attack in result.attacks.values()) for result in results):
        said.append("A suite had no black-box attack; where gradients mislead, that matters.")
    if any(result.space == "encoded" for result in results):
        said.append("In encoded space the attacker changes what the encoder gives the network; no image need show it.")
    if any(result.draws is not None for result in results):
        said.append("The model answers at random: an outcome is by majority of several passes.")
    if run.setting("train", "select") not in (None, "last"):
        said.append("The epoch was selected on validation images, so accuracy on these is favourable.")
    return said
