"""Files of tensors: equal contents are equal bytes, and digests see the tensors alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import tensors_digest
from robustsnn.ground.tensors import read_tensors, write_tensors

METADATA = {f"key{i}": {"value": [i, None, 0.1 * i], "text": "x" * i} for i in range(12)}


def tensors():
    made = torch.arange(60, dtype=torch.float32)
    return {"a.weight": made.view(3, 20), "b": made[:7].double(), "steps": torch.tensor(5), "half": made.bfloat16()}


def test_what_is_written_is_read(tmp_path):
    write_tensors(tmp_path / "file", tensors(), METADATA)
    found, metadata = read_tensors(tmp_path / "file", "no advice")
    assert metadata == METADATA
    assert found.keys() == tensors().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors().items())


def test_equal_contents_are_equal_bytes_in_every_process(tmp_path):
    """Hash maps are seeded anew in each process: with one metadata entry for each value half of the files differed."""
    script = (
        "import sys, torch\n"
        "from robustsnn.ground.tensors import write_tensors\n"
        "write_tensors(sys.argv[1], {'b': torch.ones(3), 'a': torch.zeros(2)}, {k: k for k in 'qwertzuiop'})"
    )
    for i in range(2):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / str(i))], check=True)
    write_tensors(tmp_path / "2", {"b": torch.ones(3), "a": torch.zeros(2)}, {k: k for k in "qwertzuiop"})
    assert len({(tmp_path / str(i)).read_bytes() for i in range(3)}) == 1


def test_digests_do_not_see_metadata_and_order_but_every_value_name_shape_and_kind(tmp_path):
    base = tensors()
    write_tensors(tmp_path / "base", base, METADATA)
    digest = tensors_digest(tmp_path / "base")
    write_tensors(tmp_path / "same", dict(reversed(base.items())), {"other": 1})
    assert tensors_digest(tmp_path / "same") == digest
    changed = [
        base | {"a.weight": base["a.weight"].clone().index_fill_(0, torch.tensor(1), 7.0)},
        base | {"a.weight": base["a.weight"].view(20, 3)},
        base | {"a.weight": base["a.weight"].view(torch.int32)},
        {name.replace("b", "c", 1): tensor for name, tensor in base.items()},
        {name: tensor for name, tensor in base.items() if name != "half"},
    ]
    for i, other in enumerate(changed):
        write_tensors(tmp_path / str(i), other, METADATA)
    assert len({tensors_digest(tmp_path / str(i)) for i in range(len(changed))} | {digest}) == len(changed) + 1


@pytest.mark.parametrize("content", [b"", b"weights", b"\xff" * 40, (9).to_bytes(8, "little") + b'{"a": [1]}'])
def test_files_of_another_kind_have_the_digest_of_their_bytes(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content + b" ")
    assert tensors_digest(tmp_path / "a") != tensors_digest(tmp_path / "b")


def test_files_with_an_entry_for_each_value_are_still_read(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "old", {"epoch": "3", "data": '"abc"'})
    assert read_tensors(tmp_path / "old", "no advice")[1] == {"epoch": 3, "data": "abc"}


@pytest.mark.parametrize("entry", ["[1]", "3", "null", '"text"'])
def test_metadata_of_another_kind_are_refused(tmp_path, entry):
    save_file({"a": torch.ones(2)}, tmp_path / "bad", {"robustsnn": entry})
    with pytest.raises(UserError, match="metadata are"):
        read_tensors(tmp_path / "bad", "no advice")
