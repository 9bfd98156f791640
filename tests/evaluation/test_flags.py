"""A check can be written down, whatever its numbers are made of."""

import json

import numpy as np
import pytest
import torch

from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.ground.files import write_json

YES = [True, 1, np.True_, np.bool_(1), torch.tensor(True), torch.ones(1), (np.arange(3) > 1).any()]
HALF = [0.5, np.float32(0.5), np.float64(0.5), np.float16(0.5), torch.tensor(0.5), np.array(0.5)]


@pytest.mark.parametrize("raised", YES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("value", HALF, ids=lambda v: type(v).__name__)
def test_a_check_is_written_as_plain_json(raised, value, tmp_path):
    check = Check(FLAGS["ties"], raised, "one of two", value)
    write_json(tmp_path / "check.json", check.report())
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["raised"] is True
    assert found["value"] == 0.5
    assert check == Check(FLAGS["ties"], True, "one of two", 0.5)
    assert Check(FLAGS["ties"], np.False_, "none").report()["raised"] is False


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), -torch.tensor(torch.inf), None])
def test_a_value_that_json_has_no_number_for_is_left_out(value, tmp_path):
    write_json(tmp_path / "check.json", Check(FLAGS["ties"], True, "of none", value).report())
    assert json.loads((tmp_path / "check.json").read_text())["value"] is None


def test_an_answer_for_each_image_is_no_check():
    with pytest.raises(ValueError, match="ambiguous"):
        Check(FLAGS["ties"], np.array([True, False]), "two answers")  # type: ignore[arg-type]
