"""What the study found in a sentence or two per part, for the terminal."""

from __future__ import annotations

from typing import Any

from robustsnn.studies.shared.said import figure_text, percent_text


def lines(content: dict[str, Any]) -> list[str]:
    """Sentences on the content of the file."""
    return [
        f"{rule['label']:14} l1 {figure_text(rule['l1']['mean'])}, l2 {figure_text(rule['l2']['mean'])}, exact zeros "
        f"{percent_text(rule['sparsity']['mean'])}, Gini {figure_text(rule['gini']['mean'])}, "
        f"{rule['zero']} of {content['n']} gradients zero altogether"
        for rule in content["rules"]
    ]
