import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    """No test leaves a changed global generator or gradient mode to the next."""
    state = torch.random.get_rng_state()
    yield
    assert torch.is_grad_enabled()
    torch.random.set_rng_state(state)
