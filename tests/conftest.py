import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from markupsafe import Markup

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores, and so do the processes that tests start
    os.environ["OMP_NUM_THREADS"] = "1"
import torch

sys.path.insert(0, str(Path(__file__).parent))

# Properties are tried on the same examples each time, so that a change is judged by what it changed;
# HYPOTHESIS_PROFILE=default draws new ones, which the workflow does beside it.
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    """No test leaves a changed global generator or gradient mode to the next."""
    state = torch.random.get_rng_state()
    yield
    assert torch.is_grad_enabled()
    torch.random.set_rng_state(state)


@pytest.fixture
def unchecked(monkeypatch):
    """Evaluations in this process make no checks for masking, which are most of the time of so small ones."""
    monkeypatch.setattr("robustsnn.evaluation.measure.checks", lambda *_: [])


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without the lines of their figures, whose drawing is most of the time of a small page."""
    monkeypatch.setattr("robustsnn.draw.sheet.Sheet.svg", lambda *_: Markup("<svg></svg>"))
    monkeypatch.setattr("robustsnn.draw.sheet.Sheet.pdf", lambda *_: b"")


def pytest_collection_finish():
    """What was imported and collected stays; the collector of garbage need not look through it again and again."""
    gc.collect()
    gc.freeze()
