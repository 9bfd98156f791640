"""Archives, weights and memory: what is too large is known from headers, before anything is unpacked."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from robustsnn.ground.archives import read_arrays
from robustsnn.ground.errors import UserError, exhausted
from robustsnn.ground.memory import available, check_fits, size
from robustsnn.ground.tensors import read_tensors


def header(shape, kind="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def packed(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_what_numpy_writes_comes_back(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "word": np.array("x"), "none": np.zeros((0, 4)), "one": np.int64(3)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_arrays(tmp_path / "a.npz")
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header((1 << 40,)), "holds other bytes"),
        (header((4,)) + b"123", "holds other bytes"),
        (header((3,)) + b"1234", "holds other bytes"),
        (header((-1,)) + b"1", "holds other bytes"),
        (b"no array", "magic"),
    ],
)
def test_an_array_that_lies_about_its_size_is_refused(tmp_path, content, said):
    with pytest.raises(ValueError, match=said):
        read_arrays(packed(tmp_path / "a.npz", a=content))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """The table of contents alone says 6 GiB: there is nothing behind it to unpack."""
    path = packed(tmp_path / "a.npz", a=header((6 << 30,)))
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02") + 24  # where the table says the size
    path.write_bytes(content[:at] + (0xFFFFFFF0).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(ValueError, match=r"it unpacks to 4\.0 GiB; at most"):
        read_arrays(path)


def test_an_encrypted_member_is_refused(tmp_path):
    path = packed(tmp_path / "a.npz", a=header((1,)) + b"1")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="encrypted"):
        read_arrays(path)


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="object"):
        read_arrays(tmp_path / "a.npz")


def test_a_million_empty_tensors_are_refused_by_their_header(tmp_path):
    entries = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(200_000)}
    text = json.dumps(entries).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(UserError, match=r"its header has \d+ bytes; at most 8388608"):
        read_tensors(tmp_path / "w.safetensors", "give another")


def test_what_does_not_fit_in_memory_is_refused_with_both_sizes():
    assert 0 < available() < 1 << 62
    check_fits(100, "it", "x", have=100)
    with pytest.raises(UserError, match=r"^it needs at least 6\.0 GiB of memory, and 2\.0 GiB are free; lower x$"):
        check_fits(6 << 30, "it", "x", have=2 << 30)
    assert (size(20 << 20), size(1.5 * (1 << 30))) == ("20 MiB", "1.5 GiB")


def test_what_ran_out_is_told_from_other_errors():
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert exhausted(caught.value) == exhausted(MemoryError()) == "there is not enough memory"
    with pytest.raises((RuntimeError, OverflowError, TypeError, ValueError)) as caught:
        torch.zeros(3)[0:1].expand(1 << 70)
    assert "too large" in exhausted(caught.value)
    assert "memory" in exhausted(ImportError("lib.so: failed to map segment from shared object"))
    assert exhausted(ImportError("no module x")) == ""
    assert "nested" in exhausted(RecursionError())
    assert "too large" in exhausted(OverflowError("x"))
    assert exhausted(RuntimeError("expected a tensor")) == exhausted(UserError("out of memory")) == ""
