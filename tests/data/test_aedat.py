from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.data.aedat import read_aedat, read_npz, read_npz_events
from robustsnn.ground.errors import UserError

HEADER = (
    b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Data format is int32 address, int32 timestamp\r\n"
)


def aedat(t, x, y, p, header: bytes = HEADER) -> bytes:
    """The file as the camera's recorder writes it, of events as they are read."""
    t, x, y, p = (np.asarray(array, np.int64) for array in (t, x, y, p))
    address = (127 - x) << 8 | (127 - y) << 1 | (1 - p)
    return header + np.column_stack([address, t % 2**32]).astype(">u4").tobytes()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


PIXEL = st.integers(0, 127)
EVENTS = st.lists(st.tuples(st.integers(0, 10**7), PIXEL, PIXEL, st.integers(0, 1)), max_size=40).map(sorted)


def columns(events) -> list[np.ndarray]:
    return list(np.array(events, np.int64).reshape(-1, 4).T)


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from([HEADER, b"#!AER-DAT2.0\n", HEADER + b"#\r\n#end\n"]))
def test_aedat_round_trip(events, header: bytes) -> None:
    t, x, y, p = columns(events)
    for read in (
        read_aedat(aedat(t, x, y, p, header), "file"),
        read_npz_events(npz(t=t.astype(">u4"), x=x, y=y.astype(np.int16), p=p.astype(bool)), "file"),
    ):
        for ours, theirs in ((read.t, t), (read.x, x), (read.y, y), (read.p, p)):
            assert np.array_equal(ours, theirs)
        assert (read.size, read.name) == ((128, 128), "file")


def test_bits_of_an_address() -> None:
    """Written out by hand: polarity bit 1 is off, bits 1-7 count rows and bits 8-14 columns, both from the far end."""
    record = bytes([0, 0, 0b0000_0011, 0b0000_1011]) + bytes([0, 0, 1, 2])
    event = read_aedat(HEADER + record, "file")
    assert (event.t[0], event.x[0], event.y[0], event.p[0]) == (258, 127 - 3, 127 - 5, 0)


def test_clock_starts_again() -> None:
    t = np.array([2**32 - 5, 2**32 - 1, 2**32, 2**32 + 7, 2**33 + 1])
    t = np.insert(t, 4, np.arange(2**32 + 10**9, 2**33, 10**9))  # no gap of half the range
    read = read_aedat(aedat(t, t * 0, t * 0, t * 0), "file")
    assert np.array_equal(read.t, t)


def test_late_events_are_sorted_and_pulses_left_out() -> None:
    content = aedat([5, 30, 20, 40], [1, 2, 3, 4], [0] * 4, [1] * 4)
    pulse = np.array([0x8000, 25], ">u4").tobytes()
    read = read_aedat(content[:-8] + pulse + content[-8:], "file")
    assert read.t.tolist() == [5, 20, 30, 40]
    assert read.x.tolist() == [1, 3, 2, 4]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "AER-DAT2"),
        (b"#!AER-DAT3.1\r\n", "AER-DAT2"),
        (b"\x00" * 16, "AER-DAT2"),
        (aedat([1], [2], [3], [1])[:-1], "truncated"),
        (aedat([1], [2], [3], [1]) + b"\r\n", "truncated"),
        (b"#!AER-DAT2.0", "within its header"),
        (aedat([1], [2], [3], [1])[:20], "within its header"),
        (HEADER[:-1], "within its header"),
        (HEADER + np.array([1 << 16, 5], ">u4").tobytes(), "0x10000 is no pixel"),
        (HEADER + np.array([0xFFFF7FFF, 5], ">u4").tobytes(), "no pixel"),
        (aedat([10**6, 5], [2, 2], [3, 3], [1, 1]), "backwards by 999995 us"),
    ],
)
def test_another_file_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(UserError, match=rf"a\.aedat.*{told}"):
        read_aedat(content, "a.aedat")


def test_a_header_alone_is_a_recording_without_events() -> None:
    assert len(read_aedat(HEADER, "file")) == len(read_aedat(b"#!AER-DAT2.0\n", "file")) == 0


def at(*t: int, kind: type = np.int64) -> bytes:
    """Events of one pixel at these times."""
    return npz(t=np.array(t, kind), **{key: np.zeros(len(t), int) for key in "xyp"})


GOOD = npz(t=np.arange(5), x=np.arange(5), y=np.arange(5), p=np.ones(5, int))


def replaced(member: bytes, name: str = "t.npy") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)
        for other in "xyp":
            archive.writestr(f"{other}.npy", zipfile.ZipFile(io.BytesIO(GOOD)).read(f"{other}.npy"))
    return stream.getvalue()


def header(text: str) -> bytes:
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not a readable npz"),
        (b"PK\x03\x04" + bytes(50), "not a readable npz"),
        (npz(t=np.arange(5)), "t, x, y, p"),
        (npz(t=np.arange(5.0), x=np.arange(5), y=np.arange(5), p=np.ones(5)), "not integers"),
        (npz(t=np.arange(5), x=np.arange(4), y=np.arange(5), p=np.ones(5, int)), "not integers"),
        (npz(t=np.zeros((5, 1), int), x=np.zeros((5, 1), int), y=np.zeros((5, 1), int), p=np.ones((5, 1), int)), "not"),
        (npz(t=np.arange(2), x=np.array([0, 128]), y=np.zeros(2, int), p=np.ones(2, int)), r"0\.\.127"),
        (at(-(2**63), 2**63 - 1), r"times from -9223372036854775808 to 9223372036854775807"),
        (at(0, 2**63 - 1), r"2\^62 - 1"),
        (at(0, 2**63 + 5, kind=np.uint64), "to 9223372036854775813"),
        (npz(t=np.array([10**6, 0]), x=np.zeros(2, int), y=np.zeros(2, int), p=np.ones(2, int)), "backwards"),
        (replaced(b"no array"), "not a readable npz"),
        (replaced(header("{'descr': '<i8', 'fortran_order': False, 'shape': (2**40,), }")), "not a readable"),
        (replaced(header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }")), "not an array"),
        (
            replaced(header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"cos\nsystem."),
            "not an array",
        ),
        (replaced(header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }") + bytes(8)), "not"),
        (replaced(header("__import__('os').abort()")), "not a readable"),
        (replaced(header("{'descr': '<i8',")), "not a readable"),
    ],
)
def test_a_damaged_or_hostile_npz_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(UserError, match=rf"a\.npz.*{told}"):
        read_npz_events(content, "a.npz")


def test_a_bomb_costs_no_memory(monkeypatch) -> None:
    monkeypatch.setattr("robustsnn.data.aedat._MOST_BYTES", 1 << 20)
    bomb = replaced(bytes(1 << 25))
    assert len(bomb) < 1 << 17
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 1048576 bytes"):
        read_npz_events(bomb, "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 22


def test_arrays_in_either_order() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    a, b = read_npz(npz(a=array, b=np.asfortranarray(array)), ("a", "b"), "file")
    assert np.array_equal(a, array)
    assert np.array_equal(b, array)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_read_or_refused(data: st.DataObject) -> None:
    for good, read in ((GOOD, read_npz_events), (aedat(range(5), range(5), range(5), [1] * 5), read_aedat)):
        damaged = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(damaged)))
        for content in (bytes(damaged), good[:cut]):
            with contextlib.suppress(UserError):
                read(content, "file")
