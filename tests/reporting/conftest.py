from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import write_runs


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Four models on 8x8 digits: vanilla, SR, AT, SR*."""
    return write_runs(tmp_path / "runs")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "page" / "report.html"
