"""What a config is told before anything is trained."""

from __future__ import annotations

import pytest

from robustsnn.names.config import Config, DataConfig, ObjectiveConfig
from robustsnn.runs.build import weak_lambda


@pytest.mark.parametrize("name", ["sparsity", "sr"])
def test_a_published_lambda_with_the_form_that_it_was_not_used_with_is_told(name: str) -> None:
    def told(data: str, lam: float, **options: str) -> str | None:
        return weak_lambda(Config(data=DataConfig(data), objective=ObjectiveConfig(name, lam, dict(options))))

    said = told("cifar10", 0.008)
    assert said is not None
    assert "reference-code" in said
    assert told("cifar100", 0.001, form="paper") is not None
    assert told("cifar10", 0.008, form="reference-code") is None
    assert told("cifar10", 0.1) is None
    assert told("cifar100", 0.008) is None
    assert told("digits", 0.008) is None


def test_other_objectives_are_not_told() -> None:
    assert weak_lambda(Config(data=DataConfig("cifar10"), objective=ObjectiveConfig("gradient", 0.008))) is None
