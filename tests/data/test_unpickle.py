from __future__ import annotations

import contextlib
import pickle
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustsnn.data.unpickle import unpickle
from robustsnn.ground.errors import UserError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.binary(min_size=1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def same(left, right) -> bool:
    """Equal, also of arrays and without 1 == True."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


def refused(payload: bytes) -> str:
    """The message of the refusal."""
    with pytest.raises(UserError) as caught:
        unpickle(payload, "some/file")
    message = str(caught.value)
    assert message.startswith("some/file is not")
    assert message.isprintable()  # so in one line
    assert len(message) < 400
    return message


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.binary(min_size=1) | st.text(), PLAIN), st.integers(0, 4))
def test_plain_data_survives_every_protocol(value, protocol) -> None:
    assert same(unpickle(pickle.dumps(value, protocol), "file"), value)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "i1", "?", "<i2", ">i4", "<u8", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_survive(protocol: int, dtype: str, order) -> None:
    array = np.asarray(np.arange(60).reshape(3, 4, 5), dtype=dtype, order=order)
    assert same(unpickle(pickle.dumps({b"data": array}, protocol), "file"), {b"data": array})


def test_python2_pickle_reads_as_pickle_itself_reads_it(python2_pickle) -> None:
    value = {
        b"batch_label": b"training batch 1 of 5",
        b"labels": list(range(10)) * 300,
        b"data": np.random.default_rng(0).integers(0, 256, (300, 3072), dtype=np.uint8),
        b"filenames": [b"leptodactylus_pentadactylus_s_%06d.png" % number for number in range(300)],
        b"num_vis": 3072,
    }
    payload = python2_pickle(value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer numpy deprecates what this dtype calls
        reference = pickle.loads(payload, encoding="bytes")
    assert same(reference, value)
    assert same(unpickle(payload, "file"), value)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "wrap",
    [
        lambda payload: payload,
        lambda payload: {b"data": payload},
        lambda payload: {b"labels": [1, (payload, 2)]},
        lambda payload: {b"data": np.array([payload], dtype=object)},
    ],
    ids=["bare", "value", "nested", "object array"],
)
def test_a_payload_is_refused_and_not_run(tmp_path: Path, protocol: int, wrap) -> None:
    planted = tmp_path / "planted"
    hostile = pickle.dumps(wrap(Payload(planted)), protocol)
    refused(hostile)
    assert not planted.exists()
    pickle.loads(hostile)
    assert planted.exists(), "the payload must work, or this test shows nothing"


def test_the_refused_global_is_named() -> None:
    assert "global os.system" in refused(b"cos\nsystem\n(S'true'\ntR.")
    assert "global builtins.eval" in refused(pickle.dumps(eval, protocol=4))
    assert "global a?b" in refused(b"\x80\x04\x8c\x03a\nb\x8c\x02\x1b[\x93.")  # a terminal sees no control character


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        # Other ways to a callable than GLOBAL and REDUCE.
        (b"(S'true'\nios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'true'\no.", "system"),
        (b"(cnumpy\ndtype\nS'O'\no.", "OBJ"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (b"K\x01Q.", "BINPERSID"),
        # Attributes of what is admitted.
        (b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.", "ndarray.__init__"),
        (b"\x80\x04\x8c\x05numpy\x5d\x93.", "not text"),
        (b"cnumpy\nload\n.", "numpy.load"),
        # What is admitted, with arguments that numpy never writes.
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.", "arguments"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR.", "arguments"),
        (b"cnumpy.core.multiarray\n_reconstruct\nNR.", "arguments"),
        (b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.", "dtype O8"),
        (b"cnumpy\ndtype\n(S'V100000000'\nI0\nI1\ntR.", "dtype V"),
        (b"cnumpy\ndtype\n((S'u1'\nI9\ntI0\nI1\ntR.", "arguments"),
        (b"cnumpy\nndarray\n(I1000000000000\ntR.", "numpy.ndarray"),
        (b"c_codecs\nencode\n(Vabc\nVzlib\ntR.", "_codecs.encode"),
        (b"c_codecs\nencode\n(V\\u1234\nVlatin1\ntR.", "latin-1"),
        (b"](S'true'\ntR.", "list"),
        # States.
        (b"}(S'a'\nI1\nub.", "malformed"),
        (b"}}(S'__class__'\nI1\nub.", "state"),
        (b"cnumpy\nndarray\n}b.", "state"),
        (b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\n(S'u1'\ntNNI-1\nI-1\nI0\ntb.", "state"),
        (b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'O'\nNNNI-1\nI-1\nI0\ntb.", "byte order"),
        # Values that are not data, or not where data belongs.
        (b"I1\n.", "int"),
        (b"cnumpy\ndtype\n.", "Token"),
        (b"}(S'a'\nI2\nS'b'\nu.", "dictionary"),
        (b"}(]I2\nu.", "key"),
        (b"}(cnumpy\ndtype\nI2\nu.", "key"),
        (b"}(I1\nI2\nu.", "key is a int"),
        (b"}(S'a'\nF1.5\nu.", "FLOAT"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"I1\nI2\na.", "not a list"),
        # Malformed.
        (b"", "STOP"),
        (b".", "empty"),
        (b"(.", "Token"),
        (b"\x86.", "empty"),
        (b"g5\n.", "5"),
        (b"\xff\xfe", "unknown"),
        (b"not a pickle at all", ""),
        (bytes(1000), "unknown"),
    ],
)
def test_hostile_or_malformed(payload: bytes, reason: str) -> None:
    assert reason in refused(payload)


BLANK = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
U1 = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR"


@pytest.mark.parametrize(
    "shape",
    [
        b"I5\n",
        b"I1000000000000\n",
        b"I-4\n",
        b"L100000000000000000000L\n",
        b"I0\nL100000000000000000000L\n",
        b"N",
        b"I1\n" * 70,
    ],
)
def test_array_whose_shape_does_not_fit_its_bytes(shape: bytes) -> None:
    good = b"}(S'a'\n" + BLANK + b"(I1\n(I2\nI2\nt" + U1 + b"I0\nS'abcd'\ntbu."
    assert same(unpickle(good, "file"), {b"a": np.frombuffer(b"abcd", np.uint8).reshape(2, 2)})
    assert "shape" in refused(good.replace(b"(I2\nI2\nt", b"(" + shape + b"t"))


def doubling(start: bytes, wrap: bytes) -> bytes:
    """A value that holds itself twice, forty times over: 2**40 leaves in some hundred bytes."""
    return start + b"".join(b"p%d\ng%d\n" % (level, level) + wrap for level in range(40))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x8e" + (2**60).to_bytes(8, "little") + b"abc.",  # BINBYTES8
        b"\x96" + (2**60).to_bytes(8, "little") + b"abc.",  # BYTEARRAY8
        b"\x8d" + (2**60).to_bytes(8, "little") + b"abc.",  # BINUNICODE8
        b"T\xff\xff\xff\x7fabc.",  # BINSTRING
        b"\x95" + (2**60).to_bytes(8, "little") + b".",  # FRAME
        b"K\x01r\xff\xff\xff\xff.",  # LONG_BINPUT
        b"V" + b"a" * 1000 + b"\np1\n(" + b"c_codecs\nencode\n(g1\nVlatin1\ntR" * 1000 + b"l.",
        b"}" + b"(" * 100_000 + b"t" * 100_000 + b"K\x01s.",  # a deep tuple to hash
        b"}" + doubling(b"K\x01", b"\x86") + b"K\x01s.",  # a wide one
        b"}(S'a'\n" + BLANK + b"(I1\n(" + doubling(b"K\x01", b"\x86") + b"t" + U1 + b"I0\nS'abcd'\ntbu.",
        b"\x80\x04" + doubling(b"K\x01", b"\x86") + b"\x8c\x01a\x93.",  # a wide one to print
    ],
)
def test_a_bomb_costs_neither_memory_nor_time(payload: bytes) -> None:
    refused(b"I1\n.")  # whatever is loaded on the first call
    tracemalloc.start()
    start = time.thread_time()  # of the processor, which other programs do not take, unlike time on the clock
    refused(payload)
    seconds = time.thread_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 + 300 * len(payload)
    assert seconds < 10


def test_every_truncation_is_refused(python2_pickle) -> None:
    data = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for whole in (
        python2_pickle({b"labels": [1, 2], b"data": data}),
        pickle.dumps({b"labels": [1, 2], b"data": data}, protocol=4),
    ):
        for length in range(len(whole)):
            refused(whole[:length])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_pickle_is_read_or_refused(data: st.DataObject, python2_pickle) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    damaged = bytearray(python2_pickle({b"labels": [1, 2], b"data": array, b"names": [b"a", b"b"]}))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        assert isinstance(unpickle(bytes(damaged), "file"), dict)
